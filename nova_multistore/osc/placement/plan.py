"""``multistore placement plan``: what would be copied and deleted."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING
from typing import Any

from osc_lib.cli import format_columns

from nova_multistore.osc import base
from nova_multistore.osc import sizes
from nova_multistore.osc.placement import planner

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import TextIO

    from nova_multistore import stores

_COLUMNS = (
    'image_id',
    'name',
    'project_id',
    'size',
    'copy_to',
    'delete_from',
    'placements',
)


class PlanPlacements(base.TotalsCommand):
    """Show what "placement apply" would copy and delete

    Each image that has to change is listed. The last lines say how much more
    and less each store and each project would have. Glance's quota
    image_size_total counts an image once for each of its stores. The exit code
    is 0 if nothing has to change; 3 if an image has to, or if a placement
    means no image, which may be a mistake.
    """

    detailed = ('project_id',)

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        planner.add_arguments(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        self._plan, _, catalogue = planner.read(self, parsed_args.file)
        self._sums = Sums(catalogue)
        return _COLUMNS, self.until_error(self._rows(parsed_args.prune))

    def end(self) -> int:
        self._sums.show(self.app.stderr)
        if self._error is not None:
            # A placement may mean an image that was not seen.
            return base.Outcome.FAILED
        met = planner.check_met(self, self._plan)
        return base.Outcome.PARTLY if self._sums.to_do else met

    def _rows(self, prune: bool) -> Iterator[tuple[Any, ...]]:
        for change in self._plan.changes(prune):
            self._sums.add(change)
            if not change.obstacle and (change.copy_to or change.delete_from):
                yield _row(change)


def _row(change: planner.Change) -> tuple[Any, ...]:
    image = change.image
    return (
        image['id'],
        image.get('name'),
        image['owner'],
        sizes.SizeColumn(image.get('size')),
        *(
            format_columns.ListColumn(list(names))
            for names in (change.copy_to, change.delete_from, change.rules)
        ),
    )


class Sums:
    """What changes would add and take, in all.

    :param catalogue: Glance's stores
    """

    def __init__(self, catalogue: stores.Catalogue) -> None:
        self._stores = catalogue.ids
        self._images = 0
        self._changed = 0
        # Numbers and bytes, by store and by whether they are copied.
        self._number: collections.Counter[tuple[str, bool]]
        self._number = collections.Counter()
        self._size: collections.Counter[tuple[str, bool]]
        self._size = collections.Counter()
        # Numbers of images that cannot be copied, by the reason.
        self._obstacles: collections.Counter[str] = collections.Counter()
        # Bytes by project.
        self._projects: collections.Counter[Any] = collections.Counter()

    def add(self, change: planner.Change) -> None:
        """Count what has to change for an image."""
        self._images += 1
        if change.obstacle and change.copy_to:
            self._obstacles[change.obstacle] += 1
            return
        self._changed += bool(change.copy_to or change.delete_from)
        size = change.image.get('size') or 0
        for names, copied in (
            (change.copy_to, True),
            (change.delete_from, False),
        ):
            for store in names:
                self._number[store, copied] += 1
                self._size[store, copied] += size
                self._projects[change.image['owner']] += (
                    size if copied else -size
                )

    @property
    def to_do(self) -> bool:
        """Whether an image is not as it has to be."""
        return bool(self._changed or self._obstacles)

    def show(self, stream: TextIO) -> None:
        """Print a line for each store and project that changes."""
        for store in self._stores:
            parts = [
                f'{sizes.count(self._number[store, copied], "image")} '
                f'({sizes.words(self._size[store, copied])}) '
                f'{"more" if copied else "less"}'
                for copied in (True, False)
                if self._number[store, copied]
            ]
            if parts:
                stream.write(f'{store}: {", ".join(parts)}\n')
        for project, size in sorted(self._projects.items(), key=str):
            if size:
                stream.write(
                    f'project {project}: {sizes.words(abs(size))} '
                    f'{"more" if size > 0 else "less"} of image_size_total\n'
                )
        stream.write(
            f'{self._changed} of {sizes.count(self._images, "image")} to '
            'change\n'
        )
        for reason, number in self._obstacles.items():
            stream.write(
                f'cannot be copied ({reason}): '
                f'{sizes.count(number, "image")}\n'
            )
