"""The tables in the documentation: stock beside patched."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import csv

from tests.e2e import site as e2e_site

_DIRECTORY = e2e_site.REPOSITORY / 'doc' / 'source'


class Table:
    """What became of images.

    :param name: of the file
    :param header: the columns; the last two are for stock and for patched
    """

    def __init__(self, name: str, *header: str) -> None:
        self._path = _DIRECTORY / name
        self._header = header
        # The outcome on a stock cloud and on a patched one, by the row.
        self._rows: dict[tuple[str, ...], dict[bool, str]] = {}

    @classmethod
    @contextlib.contextmanager
    def written(cls, name: str, *header: str) -> Iterator[Table]:
        """Return a table that is written once it is filled."""
        table = cls(name, *header)
        yield table
        table._write()

    def add(
        self, row: tuple[str, ...], patched: bool, outcome: object
    ) -> None:
        """Note what became of an image.

        :param row: what the first columns say of it
        :param patched: whether the cloud ran with the package
        """
        self._rows.setdefault(row, {})[patched] = str(outcome)

    def _write(self) -> None:
        """Write it, if every row has both columns."""
        if any(len(row) < 2 for row in self._rows.values()):
            return
        # Images of which the same became share a row.
        merged: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
        for (*before, image), row in self._rows.items():
            outcome = row[False], row[True]
            merged.setdefault((tuple(before), *outcome), []).append(image)
        with self._path.open('w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(self._header)
            for (before, *outcome), images in merged.items():
                writer.writerow((*before, '; '.join(images), *outcome))
