"""Snapshots and backups in a store that is named."""

from __future__ import annotations

import argparse
from typing import Any

from osc_lib import exceptions
from osc_lib.cli import format_columns
from osc_lib.cli import parseractions

from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import follow

_COLUMNS = ('id', 'name', 'server_id', 'status', 'size', 'stores')


class _Create(base.ServerCommand):
    """What both have in common."""

    action: str

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--store',
            metavar='<store>',
            required=True,
            help='Store of Glance that takes the image',
        )
        parser.add_argument(
            '--name',
            metavar='<name>',
            help="Name of the image (default: the server's)",
        )
        parser.add_argument(
            '--wait',
            action='store_true',
            help='Wait until the image is active, and see where it lies',
        )
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return what the action has beside a name and a store."""
        raise NotImplementedError

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        server = self.cloud.server(parsed_args.server)
        entity = {
            'name': parsed_args.name or server['name'],
            'store': parsed_args.store,
            **self.entity(parsed_args),
        }
        image_id = self.cloud.create_image(server['id'], self.action, entity)
        if parsed_args.wait:
            image = follow.server_image(
                self.cloud, server['id'], image_id, self.app.stderr
            )
            _check(image, parsed_args.store)
        else:
            image = self.cloud.image(image_id) or {'id': image_id}
        shown = {
            **image,
            'server_id': server['id'],
            'stores': format_columns.ListColumn(list(stores.of_image(image))),
        }
        return _COLUMNS, tuple(shown.get(column) for column in _COLUMNS)


def _check(image: dict[str, Any], store: str) -> None:
    """See that the image lies where it was to.

    :raises osc_lib.exceptions.CommandError: it does not
    """
    found = stores.of_image(image)
    if store not in found:
        raise exceptions.CommandError(
            f'image {image["id"]} lies in {", ".join(found) or "no store"}, '
            f"not in {store}; the reason is in nova-compute's log, unless "
            'that runs without nova-multistore'
        )


class CreateSnapshot(_Create):
    """Create a snapshot of a server in a store of Glance"""

    action = 'createImage'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--property',
            metavar='<key=value>',
            action=parseractions.KeyValueAction,
            default={},
            help='Property of the image (repeat for several)',
        )
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {'metadata': parsed_args.property}


class CreateBackup(_Create):
    """Create a backup of a server in a store of Glance"""

    action = 'createBackup'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--type',
            metavar='<type>',
            required=True,
            help='Which of the backups it is one of, such as daily',
        )
        parser.add_argument(
            '--rotate',
            metavar='<count>',
            required=True,
            type=base.positive,
            help='How many backups of the type to keep, this one included',
        )
        return parser

    def entity(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        return {
            'backup_type': parsed_args.type,
            'rotation': parsed_args.rotate,
        }
