"""``multistore image relocate``: an image moves to another store."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import image_copy
from nova_multistore.osc import report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from collections.abc import Sequence

# Attributes that identify the data of an image.
_DIGESTS = ('size', 'checksum', 'os_hash_algo', 'os_hash_value')


class RelocateImage(base.ListCommand):
    """Copy an image to a store, then delete it from others

    Nothing is deleted before Glance has the image in that store, with the
    same hash. If the command was stopped, run it again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_image(parser)
        parser.add_argument(
            '--to',
            metavar='<store>',
            required=True,
            help='Store to move the image to',
        )
        parser.add_argument(
            '--from',
            metavar='<store>',
            action='append',
            dest='sources',
            help='Store to delete the image from (repeat for several; '
            'default: all others that can be written to and are not to '
            'have a copy)',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='Only show what would be done',
        )
        base.add_timeout(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> report.Listing:
        catalogue = self.cloud.catalogue()
        target, sources = parsed_args.to, parsed_args.sources
        base.check_writable(catalogue, target, *(sources or ()))
        if target in (sources or ()):
            raise base.UsageError(f'--to and --from both name store {target}')
        images = self.cloud.images
        image_id = self.cloud.find_image(parsed_args.image)
        before = images.show(image_id)
        if parsed_args.dry_run:
            return report.COLUMNS, _plan(before, target, sources, catalogue)
        try:
            found = image_copy.wait(
                self, image_id, [target], parsed_args.timeout
            )
        except exception.GlanceRefused as exc:
            raise exceptions.CommandError(image_copy.refusal(exc)) from exc
        rows = report.of_copies(image_id, found)
        if self.outcome is base.Outcome.DONE:
            after = images.show(image_id)
            _verify(before, after, target)
            rows += self._delete_from_others(after, target, sources, catalogue)
            _note(images, after, target)
        return report.COLUMNS, rows

    def _delete_from_others(
        self,
        image: dict[str, Any],
        target: str,
        sources: Sequence[str] | None,
        catalogue: stores.Catalogue,
    ) -> list[tuple[Any, ...]]:
        """Delete an image from the other stores.

        :returns: a row for each of them
        """
        image_id = image['id']
        reasons = _others(image, target, sources, catalogue)
        refused = {
            store: reason
            for store, kept in reasons.items()
            if not kept
            and (reason := _delete(self.cloud.images, image_id, store))
        }
        if refused:
            where = ', '.join(refused)
            why = '; '.join(dict.fromkeys(refused.values()))
            self.fall_short(
                base.Outcome.PARTLY,
                f'image {image_id} is still in {where}: {why}',
            )
        reasons.update(refused)
        return _rows(image_id, reasons, 'deleted')


def _verify(
    before: dict[str, Any], after: dict[str, Any], target: str
) -> None:
    """Make sure that an image is whole in the store that is to keep it.

    :param before: the image before it was copied
    :param after: the image now
    :param target: id of the store
    :raises osc_lib.exceptions.CommandError: that is not certain
    """
    problems = [
        f'its {name} is {after.get(name)}, and was {before.get(name)}'
        for name in _DIGESTS
        # An image that was cloned into its store had no hash.
        if after.get(name) is None
        or before.get(name) not in (None, after.get(name))
    ]
    if after['status'] != 'active':
        problems.append(f'it is {after["status"]}')
    if copies.is_held(after):
        problems.append('another import has begun')
    if target not in stores.of_image(after):
        problems.append(f'it is no longer in {target}')
    if problems:
        raise exceptions.CommandError(
            f'image {after["id"]} was not deleted anywhere: '
            f'{"; ".join(problems)}'
        )


def _note(
    images: image_api.Images, image: dict[str, Any], target: str
) -> None:
    """Write on an image with a record that it was moved from where that says.

    :raises osc_lib.exceptions.CommandError: Glance does not take it
    """
    written = record.read(image)
    if written is None or written.store in (None, target):
        return
    try:
        images.set_property(
            image['id'], record.DIFFERENCE, f'it was moved to {target}'
        )
    except exception.MultistoreError as exc:
        raise exceptions.CommandError(
            f'image {image["id"]} was moved, but its property '
            f'{record.DIFFERENCE} was not written: {exc}'
        ) from exc


def _plan(
    image: dict[str, Any],
    target: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> list[tuple[Any, ...]]:
    """Return a row for each store: what would be done there."""
    state = 'done' if target in stores.of_image(image) else 'to be copied'
    reasons = _others(image, target, sources, catalogue)
    return [
        (image['id'], target, state, ''),
        *_rows(image['id'], reasons, 'to be deleted'),
    ]


def _others(
    image: dict[str, Any],
    target: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> dict[str, str | None]:
    """Return the other stores of an image, and why each keeps it."""
    return {
        store: _why_kept(image, store, sources, catalogue)
        for store in stores.of_image(image)
        if store != target
    }


def _rows(
    image_id: str, reasons: Mapping[str, str | None], deleted: str
) -> list[tuple[Any, ...]]:
    """Return a row for each store.

    :param reasons: why each store keeps the image, None if it does not
    :param deleted: the state of a store that does not
    """
    return [
        (image_id, store, 'kept' if reason else deleted, reason or '')
        for store, reason in reasons.items()
    ]


def _why_kept(
    image: dict[str, Any],
    store: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> str | None:
    """Return why a store keeps an image, None if it does not."""
    try:
        catalogue.check_writable(store)
    except exception.ReadOnlyStore:
        return 'read-only'
    except exception.UnknownStore:
        return "not one of this Glance's stores"
    if sources is not None:
        return None if store in sources else 'not in --from'
    if store in copies.split(image.get(copies.PROPERTY)):
        return 'a copy is wanted there'
    return None


def _delete(images: image_api.Images, image_id: str, store: str) -> str | None:
    """Delete an image from a store.

    :returns: why the store still has it, None if it does not
    """
    try:
        images.delete_from(image_id, store)
    except exception.GlanceRefused as exc:
        # Another request was quicker.
        return None if exc.status == 404 else str(exc)
    except exception.LookupFailed as exc:
        return str(exc)
    return None
