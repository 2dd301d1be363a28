"""``multistore image copy``: copies of an image in further stores."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


class CopyImage(base.ListCommand):
    """Copy an image to further stores"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_image(parser)
        base.add_stores(parser)
        base.add_wait(
            parser,
            'until the stores have the image; a copy that fails is retried',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        catalogue = self.cloud.catalogue()
        wanted = base.chosen(parsed_args, catalogue)
        image_id = self.cloud.find_image(parsed_args.image)
        try:
            check_readable(self.cloud.images.show(image_id), catalogue)
            if parsed_args.wait:
                found = wait(self, image_id, wanted, parsed_args.timeout)
            else:
                found = _ask(self.cloud.images, image_id, wanted)
        except exception.CopyInterrupted as exc:
            raise exceptions.CommandError(f'{image_id}: {exc}') from exc
        return copy_rows.COLUMNS, copy_rows.of_copies(image_id, found)


def check_readable(image: dict[str, Any], catalogue: stores.Catalogue) -> None:
    """Make sure that this Glance has a store from which it can copy an image.

    An image that an import holds may soon be in such a store.

    :param image: the image, as Glance's API has it
    :param catalogue: Glance's stores
    :raises osc_lib.exceptions.CommandError: it has none
    """
    reason = catalogue.unreadable(image)
    if reason and not copies.is_held(image):
        raise exceptions.CommandError(
            f'image {image["id"]} cannot be read here: {reason}; it has '
            f'{", ".join(catalogue.ids)}'
        )


def wait(
    command: base.ListCommand,
    image_id: str,
    wanted: Sequence[str],
    timeout: float,
) -> tuple[copies.Copy, ...]:
    """Copy an image, and wait until the stores have it.

    This also sets the outcome of the command.

    :param command: the command
    :param image_id: the image's id
    :param wanted: store ids
    :param timeout: how long to wait at most, in seconds
    :returns: the state in each of the stores
    :raises LookupFailed: Glance did not answer in all of that time
    :raises GlanceRefused: Glance will not copy the image
    :raises CopyInterrupted: one of these errors, while Glance makes copies
    """
    image: dict[str, Any] = {}

    def show(now: dict[str, Any], found: tuple[copies.Copy, ...]) -> None:
        nonlocal image
        image = now
        said.show(progress.items(image, found))

    with command.waiting(image_id) as said:
        found = copies.copy(
            command.cloud.images, image_id, wanted, timeout, show
        )
    outcome = copy_rows.outcome(found)
    if outcome is not base.Outcome.DONE:
        command.fall_short(outcome, copy_rows.shortfall(image, found))
    return found


def _ask(
    images: image_api.Images, image_id: str, wanted: Sequence[str]
) -> tuple[copies.Copy, ...]:
    """Ask for the copies that are missing, without waiting for them.

    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: Glance will not copy the image
    """
    image = images.show(image_id)
    present = stores.of_image(image)
    lacking = [store for store in wanted if store not in present]
    if lacking:
        copies.request(images, image, lacking)
    found = copies.Follower(images, image_id, wanted).look()
    return tuple(copy for copy in found if copy.store in wanted)
