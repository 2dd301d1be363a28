"""``multistore snapshot create`` and ``backup create``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions
from osc_lib.cli import format_columns

from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from typing import TextIO

    from nova_multistore.osc.cloud import Cloud

#: How long to wait before Nova and Glance are asked again about a server's
#: image, in seconds.
PAUSE = 1.0
#: How long Nova may need to begin to send the image of a server that was
#: deleted, in seconds.
PATIENCE = 30.0

_COLUMNS = ('id', 'name', 'server_id', 'status', 'size', 'stores')


class _Create(base.ServerCommand):
    """What ``snapshot create`` and ``backup create`` have in common."""

    action: str
    #: What to do with a volume-backed server.
    instead: str

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--store',
            metavar='<store>',
            required=True,
            help='Glance store to put the image in',
        )
        parser.add_argument(
            '--name',
            metavar='<name>',
            help="Name of the image (default: the server's)",
        )
        base.add_wait(parser, 'until the image is active, and see where it is')
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return what the request has beside a name and a store."""
        raise NotImplementedError

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        base.check_writable(self.cloud.catalogue(), parsed_args.store)
        server = self.cloud.server(parsed_args.server)
        if not server['image']:
            raise exceptions.CommandError(
                f'server {server["id"]} is volume-backed: its image would '
                f'hold no data; {self.instead}'
            )
        entity = {
            'name': parsed_args.name or server['name'],
            'store': parsed_args.store,
            **self.entity(parsed_args),
        }
        image_id = self.cloud.create_image(server['id'], self.action, entity)
        if parsed_args.wait:
            with self.interrupt_says(_look_again(image_id)):
                image = self._wait(server['id'], image_id, parsed_args)
        else:
            image = self.cloud.image(image_id) or {'id': image_id}
        shown = {
            **image,
            'server_id': server['id'],
            'stores': format_columns.ListColumn(list(stores.of_image(image))),
        }
        return _COLUMNS, tuple(shown.get(column) for column in _COLUMNS)

    def _wait(
        self, server_id: str, image_id: str, parsed_args: argparse.Namespace
    ) -> dict[str, Any]:
        """Wait until the image is active, and see where it is.

        :returns: the image, as Glance's API has it
        :raises osc_lib.exceptions.CommandError: Nova has given the image up,
            or it is in another store
        """
        timeout = parsed_args.timeout
        image = wait(self.cloud, server_id, image_id, timeout, self.app.stderr)
        if image['status'] == 'active':
            _check(image, parsed_args.store)
        else:
            self.fall_short(
                base.Outcome.PARTLY,
                f'image {image_id} is {image["status"]} after {timeout} '
                f'seconds; {_look_again(image_id)}',
            )
        return image


def _look_again(image_id: str) -> str:
    """Return a sentence that says how to watch what Nova does."""
    return (
        'Nova goes on; look again with: openstack multistore image show '
        f'{image_id}'
    )


def wait(
    cloud: Cloud, server_id: str, image_id: str, timeout: float, stream: TextIO
) -> dict[str, Any]:
    """Wait until the snapshot or backup of a server is active.

    :param cloud: the cloud
    :param server_id: id of the server
    :param image_id: id of the image
    :param timeout: how long to wait at most, in seconds
    :param stream: where to show the progress
    :returns: the image, as Glance's API has it; it is not active if the time
        was not enough
    :raises osc_lib.exceptions.CommandError: Nova has given the image up
    """
    deadline = time.monotonic() + timeout
    deleted: float | None = None
    with progress.start(stream) as said:
        while True:
            # In this order, as Nova is done with the image before the server.
            server = cloud.server_now(server_id)
            image = cloud.image(image_id)
            task = server and server.get('OS-EXT-STS:task_state')
            status = image['status'] if image else 'gone'
            doing = 'deleted' if server is None else task or 'idle'
            state = f'{status}, server {doing}'
            said.show([progress.Item('image', state, moving=True)])
            if image and status == 'active':
                return image
            if not image or status not in statuses.UNDER_WAY:
                break
            now = time.monotonic()
            if server is None:
                deleted = deleted or now
            waited = deleted is None or now - deleted >= PATIENCE
            # What is being sent is not stopped by what becomes of the server.
            if status != 'saving' and not task and waited:
                break
            if now >= deadline:
                return image
            time.sleep(PAUSE)
    why = 'Nova is done with the server'
    if server is None:
        why = 'its server was deleted'
    raise exceptions.CommandError(
        f'image {image_id} was not made: it is {status}, and {why}; the '
        "reason is in nova-compute's log"
    )


def _check(image: dict[str, Any], store: str) -> None:
    """Make sure that the image is in the store that was named.

    :raises osc_lib.exceptions.CommandError: it does not
    """
    found = stores.of_image(image)
    if store not in found:
        raise exceptions.CommandError(
            f'image {image["id"]} is in {", ".join(found) or "no store"}, '
            f"not in {store}; the reason is in nova-compute's log, unless "
            'nova-compute runs without nova-multistore'
        )


class CreateSnapshot(_Create):
    """Create a snapshot of a server in a store of Glance"""

    action = 'createImage'
    instead = base.INSTEAD_OF_A_SNAPSHOT

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_property(parser)
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {'metadata': parsed_args.property}


class CreateBackup(_Create):
    """Create a backup of a server in a store of Glance"""

    action = 'createBackup'
    instead = base.INSTEAD_OF_A_BACKUP

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--type',
            metavar='<type>',
            default='',
            help='Type of the backup, such as daily (default: empty)',
        )
        parser.add_argument(
            '--rotate',
            metavar='<count>',
            default=1,
            type=base.positive,
            help='How many backups of this type to keep, including this one '
            '(default: 1)',
        )
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {
            'backup_type': parsed_args.type,
            'rotation': parsed_args.rotate,
        }
