"""``multistore placement apply``: images are copied to where they belong."""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING
from typing import Any

from oslo_utils import strutils

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import relocation
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import image_pages
from nova_multistore.osc import in_use
from nova_multistore.osc import progress
from nova_multistore.osc import sizes
from nova_multistore.osc.placement import planner

if TYPE_CHECKING:
    from collections.abc import Iterator

# How many images change at a time.
_PARALLEL = 8


class ApplyPlacements(base.TotalsCommand):
    """Copy images to the stores where a file says that they belong

    Images with the fewest copies come first, then images that servers use.
    With --prune, an image also leaves stores, once it is proven that another
    store has the image whole. "image relocate --help" says what is a proof,
    and what becomes of downloads that are under way. If the command was
    stopped, run it again: it does what is left to do.

    The exit code is 0 if all is done, 1 if nothing could be done, 3 if a part
    was, or if a placement means no image.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        planner.add_arguments(parser)
        parser.add_argument(
            '--max-size',
            metavar='<size>',
            type=_size,
            help='Copy so much at most, such as 500GiB; another run does the '
            'rest',
        )
        in_use.add_option(parser)
        base.add_timeout(parser, 'for each image: ')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[copy_rows.Row]]:
        plan, _, catalogue = planner.read(self, parsed_args.file)
        image_pages.check_administrator(self.cloud, 'to apply placements')
        changes = [
            change
            for change in plan.changes(parsed_args.prune)
            if change.copy_to or change.delete_from
        ]
        self._application = _Application(self, catalogue, changes, parsed_args)
        self._met = planner.check_met(self, plan)
        return copy_rows.COLUMNS, self._application.rows()

    def end(self) -> int:
        return self._application.end() or self._met


def _size(text: str) -> int:
    """Read a size, for argparse.

    :raises argparse.ArgumentTypeError: it is something else
    """
    try:
        return int(strutils.string_to_bytes(text, 'mixed', return_int=True))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size such as 500GiB'
        ) from exc


class _Application:
    """One run, from the first image to the exit code."""

    def __init__(
        self,
        command: ApplyPlacements,
        catalogue: stores.Catalogue,
        changes: list[planner.Change],
        parsed_args: argparse.Namespace,
    ) -> None:
        self._images = command.cloud.images
        self._stderr = command.app.stderr
        self._catalogue = catalogue
        self._in_use = in_use.InUse(
            command.cloud, catalogue, parsed_args.even_in_use
        )
        self._timeout = parsed_args.timeout
        self._changes = sorted(changes, key=lambda change: change.urgency)
        self._left = 0
        if parsed_args.max_size is not None:
            self._limit(parsed_args.max_size)
        self._total = sum(map(_to_copy, self._changes))
        # Images and bytes that are done, and images that are not.
        self._done = self._copied = self._failed = 0

    def _limit(self, most: int) -> None:
        """Leave out what is beyond a size, in bytes."""
        chosen = []
        for change in self._changes:
            most -= _to_copy(change)
            if most < 0:
                break
            chosen.append(change)
        self._left = len(self._changes) - len(chosen)
        self._changes = chosen

    def rows(self) -> Iterator[copy_rows.Row]:
        """Return a row for each copy that was made or deleted, or was not."""
        with progress.start(self._stderr) as said:
            for change, rows in timed_calls.each(
                self._apply, self._changes, _PARALLEL
            ):
                failed = any(
                    row.state not in ('done', 'deleted') for row in rows
                )
                self._failed += failed
                self._done += not failed
                self._copied += 0 if failed else _to_copy(change)
                yield from rows
                said.show([self._item()])

    def _apply(self, change: planner.Change) -> list[copy_rows.Row]:
        """Do what has to be done for one image.

        :returns: a row for each store
        """
        image_id = change.image['id']
        failed = functools.partial(_failed, change)
        rows: list[copy_rows.Row] = []
        if change.obstacle:
            return failed(rows, change.obstacle)
        try:
            # What a list says of an image may be old.
            before = self._images.show(image_id)
            if change.copy_to:
                rows = copy_rows.of_copies(
                    image_id,
                    copies.copy(
                        self._images, image_id, change.copy_to, self._timeout
                    ),
                )
            if change.delete_from and all(row.state == 'done' for row in rows):
                rows += self._prune(change, before)
        except exception.GlanceRefused as exc:
            # It was deleted meanwhile.
            return [] if exc.is_gone else failed(rows, str(exc))
        except exception.MultistoreError as exc:
            return failed(rows, str(exc))
        return rows

    def _prune(
        self, change: planner.Change, before: dict[str, Any]
    ) -> list[copy_rows.Row]:
        """Have an image leave stores.

        :param before: the image before it was copied
        :raises MultistoreError: it left none
        """
        staying = [
            store
            for store in (*stores.of_image(change.image), *change.copy_to)
            if store not in change.delete_from
        ]
        sources = relocation.Sources(
            self._catalogue, self._in_use.why, change.delete_from
        )
        proof = relocation.prove(self._images, before, staying[0], sources)
        left = relocation.leave(self._images, proof, sources)
        reasons = {s: left.reasons.get(s) for s in change.delete_from}
        return copy_rows.of_departure(change.image['id'], reasons)

    def _item(self) -> progress.Item:
        number = len(self._changes)
        return progress.Item(
            'placed',
            f'{self._done} of {sizes.count(number, "image")}, '
            f'{self._failed} failed',
            moving=True,
            done=self._copied,
            total=self._total,
            counts=True,
        )

    def end(self) -> int:
        """Print the totals.

        :returns: the exit code
        """
        words = (
            f'{sizes.count(self._done, "image")} placed '
            f'({sizes.words(self._copied)} copied), {self._failed} failed'
        )
        if self._left:
            words += f', {self._left} left for another run'
        self._stderr.write(f'{words}\n')
        if not self._failed and not self._left:
            return base.Outcome.DONE
        return base.Outcome.PARTLY if self._done else base.Outcome.FAILED


def _to_copy(change: planner.Change) -> int:
    """Return how much is to be copied, in bytes."""
    return len(change.copy_to) * (change.image.get('size') or 0)


def _failed(
    change: planner.Change, rows: list[copy_rows.Row], reason: str
) -> list[copy_rows.Row]:
    """Return a row for each store, also for those that have none yet."""
    known = {row.store for row in rows}
    return rows + [
        copy_rows.Row(change.image['id'], store, state, reason)
        for names, state in (
            (change.copy_to, 'failed'),
            (change.delete_from, 'kept'),
        )
        for store in names
        if store not in known
    ]
