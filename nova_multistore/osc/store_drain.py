"""``multistore store drain``: all images leave a store."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import relocation
from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import image_relocate
from nova_multistore.osc import in_use
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator
    from collections.abc import Iterator

    from nova_multistore.osc.cloud import Cloud

_COLUMNS = ('id', 'name', 'project_id', 'status', 'size', 'stores', 'reason')
# Statuses of images of which a store may have a part of the data already.
_ARRIVING = ('saving', 'importing')
# How many images leave at a time.
_PARALLEL = 8


class DrainStore(base.TotalsCommand):
    """Have all images leave a store, for administrators

    An image that no other store has is copied first. Nothing is deleted before
    it is proven that another store has the image whole: by the hash that
    Glance had of the only copy, or by reading the copies and comparing them,
    for which Glance needs the package's filter. The images that stay are
    listed, with the reason. If the command was stopped, run it again. The exit
    code is 0 if no image is left, 1 if none left the store, 3 if some did.

    If a copy in Ceph is deleted while somebody reads it, the reader gets zeros
    from then on, unless the filter is in Glance's pipeline, or Glance deletes
    later ([DEFAULT] delayed_delete).
    """

    detailed = ('project_id',)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'store', metavar='<store>', help='Store that is to be empty'
        )
        parser.add_argument(
            '--to',
            metavar='<store>',
            help='Store to which images are copied that no other store has '
            "(default: Glance's default store)",
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='Only list the images that would stay, as far as Glance says '
            'that beforehand, and count the others',
        )
        in_use.add_option(parser)
        base.add_timeout(parser, 'for each image: ')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        catalogue = self.cloud.catalogue()
        store = parsed_args.store
        target = parsed_args.to or catalogue.default
        base.check_writable(catalogue, store, *filter(None, [target]))
        if target in (None, store):
            raise base.UsageError(
                f'images that {store} alone has need another store: name it '
                f"with --to, as Glance's default store is {catalogue.default}"
            )
        image_pages.check_administrator(self.cloud, 'to drain a store')
        self._drain = _Drain(self, catalogue, store, target, parsed_args)
        return _COLUMNS, self.until_error(self._drain.rows())

    def end(self) -> int:
        return self._drain.end()


class _Drain:
    """One drain, from the first image to the exit code.

    :param store: id of the store that images leave
    :param target: id of the store for images that no other one has
    """

    def __init__(
        self,
        command: DrainStore,
        catalogue: stores.Catalogue,
        store: str,
        target: str,
        parsed_args: argparse.Namespace,
    ) -> None:
        self._cloud: Cloud = command.cloud
        self._stderr = command.app.stderr
        self._catalogue = catalogue
        self._store = store
        self._target = target
        self._args = parsed_args
        users = in_use.InUse(command.cloud, catalogue, parsed_args.even_in_use)
        self._sources = relocation.Sources(catalogue, users.why, [store])
        # Numbers and sizes: of images that have left, of those among them that
        # were copied before, and of those that have stayed.
        self._left = self._left_size = 0
        self._copied = self._copied_size = 0
        self._kept: set[str] = set()
        # Ids of all images that were in the store.
        self._seen: set[str] = set()
        # Images whose data may be on the way there, and why, in the last pass.
        self._arriving: list[tuple[dict[str, Any], str]] = []

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return a row for each image that stays."""
        with progress.start(self._stderr) as said:
            # Images may arrive meanwhile.
            while (yield from self._pass(said)):
                pass
            for image, reason in self._arriving:
                self._kept.add(image['id'])
                yield self._row(image, reason)

    def _pass(
        self, said: progress.Progress
    ) -> Generator[tuple[Any, ...], None, bool]:
        """Go through all images once.

        :returns: whether there was one that had not been seen before
        """
        found = False
        for image, reason in self._departures(said):
            found = found or image['id'] not in self._seen
            if image['id'] in self._seen:
                reason = reason or 'Glance lists it there still'
            self._seen.add(image['id'])
            if reason:
                self._kept.add(image['id'])
                yield self._row(image, reason)
            else:
                self._count(image)
            said.show([self._item()])
        return found and not self._args.dry_run

    def _departures(
        self, said: progress.Progress
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Have images leave, a few at a time.

        :returns: each image, and why it stays
        """
        images = (
            image
            for page in image_pages.pages(
                self._cloud,
                self._catalogue,
                {},
                (None,),
                lambda items: said.show([*items, self._item()]),
            )
            for image in page
            if image['id'] not in self._kept and self._may_have(image)
        )
        self._arriving = []
        return timed_calls.each(self._leave, images, _PARALLEL)

    def _may_have(self, image: dict[str, Any]) -> bool:
        """Tell whether the store has an image, or may have it.

        One whose data may come is remembered.
        """
        present = stores.of_image(image)
        if self._store in present:
            return True
        coming = any(
            copy.store == self._store and not copy.settled
            for copy in copies.read(image)
        )
        if coming:
            self._arriving.append((image, 'Glance is copying it there'))
        elif not present and (
            image['status'] in _ARRIVING or copies.is_held(image)
        ):
            status = f'it is {image["status"]}'
            self._arriving.append(
                (image, f'{status}, and {image_pages.UNTOLD}')
            )
        return not present and image['status'] in statuses.WITH_DATA

    def _leave(self, image: dict[str, Any]) -> str:
        """Have an image leave.

        :returns: why it stays, empty if it does not
        """
        images = self._cloud.images
        known = bool(stores.of_image(image))
        if image['status'] != 'active':
            status = f'it is {image["status"]}'
            return status if known else f'{status}, and {image_pages.UNTOLD}'
        if not known:
            return image_pages.UNTOLD
        target = self._keeper(image)
        reason = self._sources.reasons(image, target).get(self._store)
        if reason or self._args.dry_run:
            return reason or relocation.foreseen(images, image, target) or ''
        try:
            # What a list says of an image may be old.
            image = images.show(image['id'])
            [copy] = copies.copy(
                images, image['id'], [target], self._args.timeout
            )
            if copy.failure:
                return copy.failure
            proof = relocation.prove(images, image, target, self._sources)
            reason = relocation.leave(
                images, proof, self._sources
            ).reasons.get(self._store)
            if not reason:
                image_relocate.note(images, image, target, [self._store])
        except exception.GlanceRefused as exc:
            # It was deleted meanwhile.
            return '' if exc.is_gone else str(exc)
        except (exception.MultistoreError, exceptions.CommandError) as exc:
            return str(exc)
        return reason or ''

    def _keeper(self, image: dict[str, Any]) -> str:
        """Return the store that is to have an image, or has it."""
        others = [
            store
            for store in stores.of_image(image)
            if store != self._store and store in self._catalogue.writable
        ]
        return others[0] if others else self._target

    def _count(self, image: dict[str, Any]) -> None:
        size = image.get('size') or 0
        self._left += 1
        self._left_size += size
        if self._keeper(image) not in stores.of_image(image):
            self._copied += 1
            self._copied_size += size

    def _item(self) -> progress.Item:
        done = 'would leave' if self._args.dry_run else 'left'
        return progress.Item(
            self._store,
            f'{sizes.count(self._left, "image")} {done}, '
            f'{len(self._kept)} stay',
            moving=True,
            done=self._left_size,
            counts=True,
        )

    def _row(self, image: dict[str, Any], reason: str) -> tuple[Any, ...]:
        return (
            image['id'],
            image.get('name'),
            image['owner'],
            image['status'],
            sizes.SizeColumn(image.get('size')),
            ', '.join(stores.of_image(image)),
            reason,
        )

    def _say_what_ceph_keeps(self) -> None:
        """Say that images of Glance are not all that a pool may have."""
        place = self._catalogue.named(self._store).place
        if place is None or place.type == 'rbd':
            pool = (place and place.pool) or 'POOL'
            where = '' if place else f'If {self._store} is in Ceph: '
            self._stderr.write(
                f'{where}Ceph keeps in the trash of the pool what disks '
                'still need. Before the pool is removed, these must list '
                f'nothing: rbd trash ls {pool}; rbd ls {pool}\n'
            )

    def end(self) -> int:
        """Print the totals.

        :returns: the exit code
        """
        dry = self._args.dry_run
        self._stderr.write(
            f'{sizes.count(self._left, "image")} '
            f'({sizes.words(self._left_size)}) '
            f'{"would leave" if dry else "left"} {self._store}; '
            f'{self._copied} ({sizes.words(self._copied_size)}) '
            f'{"would be" if dry else "were"} copied to {self._target} '
            f'first; {len(self._kept)} stay\n'
        )
        if not dry:
            self._say_what_ceph_keeps()
        if not self._kept:
            return base.Outcome.DONE
        return base.Outcome.PARTLY if self._left else base.Outcome.FAILED
