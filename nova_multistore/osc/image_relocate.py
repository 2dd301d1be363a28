"""``multistore image relocate``: takes an image to another store."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import image_copy
from nova_multistore.osc import in_use

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection


class RelocateImage(base.ListCommand):
    """Copy an image to a store, then delete it from others

    Nothing is deleted before it is proven that the store has the image whole:
    by the hash that Glance had of the only copy, or by reading the copies and
    comparing them, for which Glance needs the package's filter. If the
    command was stopped, run it again.

    If a copy in Ceph is deleted while somebody reads it, the reader gets zeros
    from then on, unless the filter is in Glance's pipeline, or Glance deletes
    later ([DEFAULT] delayed_delete).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_image(parser)
        parser.add_argument(
            '--to',
            metavar='<store>',
            required=True,
            help='Store to relocate the image to',
        )
        parser.add_argument(
            '--from',
            metavar='<store>',
            action='append',
            dest='sources',
            help='Store to delete the image from (repeat for several; '
            'default: all others that can be written to, and in which no '
            'copy is wanted)',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='Only show what would be done',
        )
        in_use.add_option(parser)
        base.add_timeout(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        catalogue = self.cloud.catalogue()
        target, sources = parsed_args.to, parsed_args.sources
        base.check_writable(catalogue, target, *(sources or ()))
        if target in (sources or ()):
            raise base.UsageError(f'--to and --from both name store {target}')
        images = self.cloud.images
        image_id = self.cloud.find_image(parsed_args.image)
        before = images.show(image_id)
        image_copy.check_readable(before, catalogue)
        users = in_use.InUse(self.cloud, catalogue, parsed_args.even_in_use)
        leaving = relocation.Sources(catalogue, users.why, sources)
        if parsed_args.dry_run:
            return copy_rows.COLUMNS, _plan(before, target, leaving)
        found = image_copy.wait(self, image_id, [target], parsed_args.timeout)
        rows = copy_rows.of_copies(image_id, found)
        if self.outcome is base.Outcome.DONE:
            try:
                proof = relocation.prove(images, before, target, leaving)
                left = relocation.leave(images, proof, leaving)
            except exception.NotWhole as exc:
                raise exceptions.CommandError(str(exc)) from exc
            self._judge(image_id, left)
            rows += copy_rows.of_departure(image_id, left.reasons)
            gone = [s for s, why in left.reasons.items() if not why]
            note(images, before, target, gone)
        return copy_rows.COLUMNS, rows

    def _judge(self, image_id: str, left: relocation.Departure) -> None:
        if left.refused:
            where = ', '.join(left.refused)
            why = '; '.join(
                dict.fromkeys(str(left.reasons[s]) for s in left.refused)
            )
            self.fall_short(
                base.Outcome.PARTLY,
                f'image {image_id} is still in {where}: {why}',
            )


def note(
    images: image_api.Images,
    image: dict[str, Any],
    target: str,
    left: Collection[str],
) -> None:
    """Write on an image that it is no longer in the store of its record.

    :param images: Glance's image API
    :param image: the image, as Glance's API had it before
    :param target: id of the store that has it now
    :param left: ids of the stores that no longer have it
    :raises osc_lib.exceptions.CommandError: Glance does not take it
    """
    written = record.read(image)
    kept = [s for s in stores.of_image(image) if s not in left]
    if written is None or written.store in (None, target, *kept):
        return
    try:
        images.set_property(
            image['id'], record.DIFFERENCE, f'it was relocated to {target}'
        )
    except exception.MultistoreError as exc:
        raise exceptions.CommandError(
            f'image {image["id"]} was relocated, but its property '
            f'{record.DIFFERENCE} was not written: {exc}'
        ) from exc


def _plan(
    image: dict[str, Any],
    target: str,
    sources: relocation.Sources,
) -> list[copy_rows.Row]:
    """Return a row for each store: what would be done there."""
    state = 'done' if target in stores.of_image(image) else 'to be copied'
    reasons = sources.reasons(image, target)
    return [
        copy_rows.Row(image['id'], target, state, ''),
        *copy_rows.of_departure(image['id'], reasons, 'to be deleted'),
    ]
