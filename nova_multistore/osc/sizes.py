"""Sizes of images, for people and for programs."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from cliff import columns
from rich import bar
from rich import console
from rich import table

from nova_multistore import statuses
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')
# How long a bar is, in characters.
_WIDTH = 24


def words(size: float) -> str:
    """Return a size in words, such as ``5.0 GiB``.

    :param size: in bytes
    """
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f'{size:.0f} {unit}' if unit == 'B' else f'{size:.1f} {unit}'


def count(number: int, noun: str) -> str:
    """Return a number of things in words, such as ``1 image``."""
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


class SizeColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """A size in bytes; for people, in words. None if it is not known."""

    def human_readable(self) -> str:
        return '' if self._value is None else words(self._value)


@dataclasses.dataclass
class Usage:
    """What a store holds; sizes are in bytes."""

    #: Number of images, and their size, by the images' ``image_type``.
    images: collections.Counter[Any] = dataclasses.field(
        default_factory=collections.Counter
    )
    size: collections.Counter[Any] = dataclasses.field(
        default_factory=collections.Counter
    )
    #: Images that no other store has.
    only_copies: int = 0
    only_copies_size: int = 0


class Totals:
    """How many images are in each store, and how large they are.

    :param known: ids of stores to list even if no image is there
    """

    def __init__(self, known: Iterable[str]) -> None:
        #: By store id.
        self.usages = {store: Usage() for store in known}
        #: Images that have data, and of which Glance names no store.
        self.unplaced = self.unplaced_size = 0

    def add(self, image: dict[str, Any]) -> None:
        """Count an image in each store where it is.

        :param image: the image, as Glance's API has it
        """
        kind, size = image.get('image_type'), image.get('size') or 0
        holders = stores.of_image(image)
        if not holders and image.get('status') in statuses.WITH_DATA:
            self.unplaced += 1
            self.unplaced_size += size
        for store in holders:
            usage = self.usages.setdefault(store, Usage())
            usage.images[kind] += 1
            usage.size[kind] += size
            if len(holders) == 1:
                usage.only_copies += 1
                usage.only_copies_size += size

    @property
    def _sums(self) -> list[tuple[str, int, int]]:
        """Each store, the number of images there, and their size."""
        return [
            (store, sum(usage.images.values()), sum(usage.size.values()))
            for store, usage in self.usages.items()
        ]

    def show(self, stream: TextIO) -> None:
        """Print a line for each store; on a terminal, with a bar.

        :param stream: where to print
        """
        if not stream.isatty():
            for store, number, size in self._sums:
                stream.write(
                    f'{store}: {count(number, "image")}, {size} bytes\n'
                )
            self.show_unplaced(stream)
            return
        largest = max((size for *_, size in self._sums), default=0)
        grid = table.Table.grid(padding=(0, 2))
        for justify in ('left', 'left', 'right', 'right'):
            grid.add_column(justify=justify)
        for store, number, size in self._sums:
            grid.add_row(
                store,
                bar.Bar(largest or 1, 0, size, width=_WIDTH),
                count(number, 'image'),
                words(size),
            )
        console.Console(file=stream, highlight=False).print(grid)
        self.show_unplaced(stream)

    def show_unplaced(self, stream: TextIO) -> None:
        """Say of how many images Glance names no store, if there are any.

        :param stream: where to say it
        """
        if self.unplaced:
            number = count(self.unplaced, 'image')
            stream.write(
                f'{number} ({words(self.unplaced_size)}) not counted in any '
                'store: Glance does not say where the data are\n'
            )
