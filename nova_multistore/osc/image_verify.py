"""``multistore image verify``: copies of images are read and compared."""

from __future__ import annotations

import collections
import random
import threading
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import relocation
from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import in_use
from nova_multistore.osc import progress
from nova_multistore.osc import sizes
from nova_multistore.osc import verification
from nova_multistore.osc.verification import State

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    from nova_multistore.osc.cloud import Cloud

_COLUMNS = ('image_id', 'name', 'store', 'state', 'reason')
# How many images are read at a time.
_PARALLEL = 4
# States of copies that are not listed unless their image was named.
_UNLISTED = {State.GOOD, State.GONE}


class VerifyImages(base.TotalsCommand):
    """Read copies of images, and compare them with Glance's hash

    Each copy is read from its own store. If Glance has no hash of an image,
    its copies are compared with each other. With --fix, a copy that is damaged
    or missing is deleted, and made again from a good one; the only copy of an
    image is never deleted. Glance needs the package's filter.

    If images are named, all their copies are listed, otherwise only copies
    that are not good. The exit code is 0 if all copies are good, 1 if one is
    damaged, missing or another than the others, 3 if one could not be judged.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'images',
            metavar='<image>',
            nargs='*',
            help='Image (name or ID; repeat for several)',
        )
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            '--all',
            action='store_true',
            help='Verify all images of the project',
        )
        image_pages.add_all_projects(group, 'Verify')
        parser.add_argument(
            '--store',
            metavar='<store>',
            help='Only the copies in this store; without an image, of all '
            'images there',
        )
        parser.add_argument(
            '--sample',
            metavar='<number>',
            type=base.positive,
            help='Only so many of the images, chosen at random',
        )
        parser.add_argument(
            '--fix',
            action='store_true',
            help='Make damaged and missing copies again',
        )
        in_use.add_option(parser)
        base.add_timeout(parser, 'with --fix, for each image: ')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        named, everyone = parsed_args.images, parsed_args.all_projects
        if named and (parsed_args.all or everyone):
            raise base.UsageError('name images, or ask for all, not both')
        if not (named or parsed_args.all or everyone or parsed_args.store):
            raise base.UsageError(
                'nothing to verify: name an image, a store with --store, or '
                '--all'
            )
        catalogue = self.cloud.catalogue()
        if parsed_args.store:
            base.check_known(catalogue, parsed_args.store)
        _check_filter(self.cloud)
        self._verification = _Verification(self, catalogue, parsed_args)
        if named:
            found = _named(self.cloud, named, parsed_args.store)
            rows = self._verification.rows(lambda: found)
        else:
            filters = image_pages.owner(self.cloud, everyone)
            rows = self._verification.rows(
                lambda: _listed(
                    self.cloud,
                    catalogue,
                    filters,
                    parsed_args.store,
                    self._verification.show_looks,
                )
            )
        return _COLUMNS, self.until_error(rows)

    def end(self) -> int:
        return self._verification.end()


def _check_filter(cloud: Cloud) -> None:
    """Make sure that Glance reads single copies.

    :raises UsageError: it does not
    :raises LookupFailed: it did not answer
    """
    if not cloud.images.reads_copies():
        raise base.UsageError(
            f'{relocation.NO_FILTER}, and without the filter one copy '
            'cannot be told from another'
        )


def _is_meant(image: dict[str, Any], store: str | None) -> bool:
    """Tell whether an image has a copy, or may have one, in a store or at all.

    Glance does not always say where the copies are.
    """
    present = stores.of_image(image)
    return image['status'] in statuses.WITH_DATA and (
        not present or store in (None, *present)
    )


def _named(
    cloud: Cloud, names: Iterable[str], store: str | None
) -> list[dict[str, Any]]:
    """Return the images that the user names.

    :raises UsageError: one has no copy, or none in that store
    :raises LookupFailed: Glance did not answer
    :raises openstack.exceptions.SDKException: there is no such one, or more
        than one
    """
    found = [cloud.images.show(cloud.find_image(name)) for name in names]
    for image in found:
        if not _is_meant(image, store):
            raise base.UsageError(
                f'image {image["id"]} ({image["status"]}) has no copy'
                + (f' in {store}' if store else '')
            )
    return found


def _listed(
    cloud: Cloud,
    catalogue: stores.Catalogue,
    filters: dict[str, str],
    store: str | None,
    show: progress.Show = progress.nothing,
) -> Iterator[dict[str, Any]]:
    """Return all images that have a copy."""
    return (
        image
        for page in image_pages.pages(cloud, catalogue, filters, (None,), show)
        for image in page
        if _is_meant(image, store)
    )


def sample(
    images: Iterable[dict[str, Any]], size: int
) -> Iterator[dict[str, Any]]:
    """Choose some images at random, each with the same probability.

    :param images: all images; they are looked at once and not kept
    :param size: how many to choose
    """
    chosen: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        place = random.randint(0, number)
        if number < size:
            chosen.append(image)
        elif place < size:
            chosen[place] = image
    return iter(chosen)


class _Verification:
    """One run, from the first image to the exit code."""

    def __init__(
        self,
        command: VerifyImages,
        catalogue: stores.Catalogue,
        parsed_args: argparse.Namespace,
    ) -> None:
        self._stderr = command.app.stderr
        self._args = parsed_args
        self._said = progress.start(self._stderr)
        self._lock = threading.Lock()
        self._looks: tuple[progress.Item, ...] = ()
        # Bytes that were read, and images; and how many there are in all.
        self._read = self._images = 0
        self._to_read = self._number = 0
        self._copies: collections.Counter[State] = collections.Counter()
        self._verifier = verification.Verifier(
            command.cloud.images,
            catalogue,
            in_use.InUse(
                command.cloud, catalogue, parsed_args.even_in_use
            ).why,
            lambda store: (
                image
                for image in _listed(command.cloud, catalogue, {}, store)
                if stores.of_image(image)
            ),
            self._show,
        )

    def rows(
        self, listed: Callable[[], Iterable[dict[str, Any]]]
    ) -> Iterator[tuple[Any, ...]]:
        """Return a row for each copy that is to be listed.

        :param listed: returns the images. It is called twice, so that it is
            known how much there is to read, and not all need to be kept.
        """
        unlisted = {State.GONE} if self._args.images else _UNLISTED
        with self._said:
            images = listed()
            if self._args.sample:
                images = list(sample(images, self._args.sample))
            self._expect(images)
            if not self._args.sample:
                images = listed()
            for image, found in timed_calls.each(
                self._verify, images, _PARALLEL
            ):
                self._images += 1
                self._copies.update(f.state for f in found.values())
                self._show()
                for store, finding in found.items():
                    if finding.state not in unlisted:
                        yield (
                            image['id'],
                            image.get('name'),
                            store,
                            finding.state.value,
                            finding.reason,
                        )

    def _expect(self, images: Iterable[dict[str, Any]]) -> None:
        """Count how much there is to read."""
        for image in images:
            self._number += 1
            copies_to_read = self._verifier.to_read(image, self._args.store)
            self._to_read += len(copies_to_read) * (image.get('size') or 0)

    def _verify(
        self, image: dict[str, Any]
    ) -> dict[str, verification.Finding]:
        if not stores.of_image(image):
            unread = verification.Finding(State.UNREADABLE, image_pages.UNTOLD)
            return {'': unread}
        found = self._verifier.verify(image, self._args.store)
        if self._args.fix:
            mended = self._verifier.mend(image, found, self._args.timeout)
            found.update(mended)
        return found

    def _show(self, received: int = 0) -> None:
        with self._lock:
            self._read += received
            # Images may have come meanwhile, and --fix reads some twice.
            number = max(self._images, self._number)
            read = progress.Item(
                'read',
                f'{self._images} of {sizes.count(number, "image")}',
                moving=True,
                done=self._read,
                total=max(self._read, self._to_read),
                counts=True,
            )
            self._said.show([*self._looks, read])

    def show_looks(self, items: Sequence[progress.Item]) -> None:
        """Show how far the looks at images are that are to be read."""
        self._looks = tuple(items)
        self._show()

    def end(self) -> int:
        """Print the totals.

        :returns: the exit code
        """
        del self._copies[State.GONE]
        counts = ', '.join(
            f'{self._copies[state]} {state.value}'
            for state in State
            if self._copies[state]
        )
        self._stderr.write(
            f'{sizes.count(self._images, "image")}, {sizes.words(self._read)} '
            f'read; copies: {counts or "none"}\n'
        )
        if any(self._copies[state] for state in verification.WRONG):
            return base.Outcome.FAILED
        if any(self._copies[state] for state in verification.OPEN):
            return base.Outcome.PARTLY
        return base.Outcome.DONE
