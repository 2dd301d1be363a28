"""Copies of an image in further stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import choice
from nova_multistore.osc import follow
from nova_multistore.osc import listing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


class CopyImage(base.ListCommand):
    """Copy an image to further stores"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        choice.add_image(parser)
        choice.add_stores(parser)
        choice.add_wait(parser, 'until it lies there; what fails is retried')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> listing.Listing:
        wanted = choice.chosen(parsed_args, self.cloud.catalogue())
        image_id = self.cloud.find_image(parsed_args.image)
        try:
            if parsed_args.wait:
                found = wait(self, image_id, wanted, parsed_args.timeout)
            else:
                found = _ask(self.cloud.images, image_id, wanted)
        except exception.GlanceRefused as exc:
            raise exceptions.CommandError(words(exc)) from exc
        except exception.CopyInterrupted as exc:
            raise exceptions.CommandError(f'{image_id}: {exc}') from exc
        return listing.of_copies(image_id, found)


def words(exc: exception.GlanceRefused) -> str:
    """Say why Glance does not copy an image.

    :param exc: its refusal
    """
    if exc.status == 403:
        return (
            f"{exc}; Glance's policy copy_image is for administrators unless "
            'it has been changed'
        )
    return str(exc)


def wait(
    command: base.ListCommand,
    image_id: str,
    wanted: Sequence[str],
    timeout: float,
) -> tuple[copies.Copy, ...]:
    """Copy an image, and wait for it.

    The outcome of the command says how it went.

    :param command: what is being done
    :param image_id: the image's id
    :param wanted: store ids
    :param timeout: how long to wait at most, in seconds
    :returns: how far it is in each of the stores
    :raises LookupFailed: Glance did not answer, for all of that time
    :raises GlanceRefused: it will not copy the image
    :raises CopyInterrupted: either, while Glance makes copies
    """
    images = command.cloud.images
    image = images.show(image_id)
    with command.waiting(image_id) as said:
        found = copies.copy(
            images,
            image_id,
            wanted,
            timeout,
            lambda found: said.show(follow.items(image, found)),
        )
    outcome = listing.outcome(found)
    if outcome is not base.Outcome.DONE:
        command.fall_short(outcome, listing.shortfall(image_id, found))
    return found


def _ask(
    images: image_api.Images, image_id: str, wanted: Sequence[str]
) -> tuple[copies.Copy, ...]:
    """Ask for the copies that are missing.

    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: it will not
    """
    present = stores.of_image(images.show(image_id))
    lacking = [store for store in wanted if store not in present]
    if lacking:
        images.import_data(image_id, lacking, name='copy-image')
    found = copies.Follower(images, image_id, wanted).look()
    return tuple(copy for copy in found if copy.store in wanted)
