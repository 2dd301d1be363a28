"""How many images lie in each store, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from rich import bar
from rich import console
from rich import filesize
from rich import table

from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_WIDTH = 24


class Totals:
    """Sums for each store.

    :param known: ids of stores to list even if no image lies there
    """

    def __init__(self, known: Iterable[str]) -> None:
        # Images and bytes.
        self._sums = dict.fromkeys(known, (0, 0))

    def add(self, image: dict[str, Any]) -> None:
        """Count an image in each store where it lies.

        :param image: the image, as Glance's API has it
        """
        for store in stores.of_image(image):
            count, size = self._sums.get(store, (0, 0))
            self._sums[store] = count + 1, size + (image.get('size') or 0)

    def show(self, stream: TextIO) -> None:
        """Write them down, with bars where it is a terminal.

        :param stream: where to
        """
        if not stream.isatty():
            for store, (count, size) in self._sums.items():
                stream.write(f'{store}: {count} images, {size} bytes\n')
            return
        largest = max((size for _, size in self._sums.values()), default=0)
        grid = table.Table.grid(padding=(0, 2))
        for justify in ('left', 'left', 'right', 'right'):
            grid.add_column(justify=justify)
        for store, (count, size) in self._sums.items():
            grid.add_row(
                store,
                bar.Bar(largest or 1, 0, size, width=_WIDTH),
                f'{count} images',
                filesize.decimal(size),
            )
        console.Console(file=stream, highlight=False).print(grid)
