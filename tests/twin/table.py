"""Make the documentation's table of what was run.

Usage: python -m tests.twin.table LOG...
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
import csv
import json
from pathlib import Path
import sys
from typing import Any
from typing import TextIO

from tests.twin import knobs


def write(runs: Iterable[dict[str, Any]], out: TextIO) -> None:
    """Write a line for each knob.

    :param runs: what :func:`.runner.chunk` yields
    """
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    broken: collections.Counter[str] = collections.Counter()
    for run in runs:
        for name, value in run['configuration'].items():
            pairs[name, value] += 1
            broken[name] += bool(run['broken'])
    lines = csv.writer(out, lineterminator='\n')
    lines.writerow(['Knob', 'Values and pairs run', 'With a difference'])
    for name, knob in knobs.KNOBS.items():
        values = [
            f'{value} ({pairs[name, value]})'
            for value in knob.values
            if value != knob.default
        ]
        lines.writerow(
            [name, f'{knob.default}; {", ".join(values)}', broken[name]]
        )


def main() -> None:
    runs = [
        json.loads(line)
        for path in sys.argv[1:]
        for line in Path(path).read_text().splitlines()
    ]
    write((run for run in runs if 'configuration' in run), sys.stdout)


if __name__ == '__main__':
    main()
