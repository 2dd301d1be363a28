"""The table in the documentation: stock Nova beside the patched one."""

from __future__ import annotations

import csv

from tests.e2e import site as e2e_site

PATH = e2e_site.REPOSITORY / 'doc' / 'source' / 'end-to-end.csv'
_HEADER = ('Disks', 'Base image in', 'Images', 'Stock Nova', 'Patched')


class Table:
    """Where images landed."""

    def __init__(self) -> None:
        # The outcome on a stock Nova and on a patched one, by the row.
        self._rows: dict[tuple[str, str, str], dict[bool, str]] = {}

    def add(
        self,
        disks: str,
        base: str,
        image: str,
        patched: bool,
        outcome: object,
    ) -> None:
        """Note what became of an image.

        :param disks: nova-compute's `[libvirt] images_type`
        :param base: where the base image is
        :param image: what it was made for
        :param patched: whether nova-compute ran with the package
        """
        row = self._rows.setdefault((disks, base, image), {})
        row[patched] = str(outcome)

    def write(self) -> None:
        """Write it, if every row has both columns."""
        if any(len(row) < 2 for row in self._rows.values()):
            return
        # Images of which the same became share a row.
        merged: dict[tuple[str, str, str, str], list[str]] = {}
        for (disks, base, image), row in self._rows.items():
            outcome = row[False], row[True]
            merged.setdefault((disks, base, *outcome), []).append(image)
        with PATH.open('w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(_HEADER)
            for (disks, base, *outcome), images in merged.items():
                writer.writerow((disks, base, '; '.join(images), *outcome))
