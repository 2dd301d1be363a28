"""Make the documentation's table of what was run; say how much that was.

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

#: What is no knob, as it is settled before a process begins.
CONCURRENCY = 'nova-compute runs on'
EVENTLET = 'eventlet'


def write(runs: Iterable[dict[str, Any]], out: TextIO) -> None:
    """Write a line for each knob, and one for what nova-compute runs on.

    :param runs: what a log of `python -m tests.twin` has
    """
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    broken: collections.Counter[str] = collections.Counter()
    for run in runs:
        configuration = dict(run['configuration'])
        # Older logs do not say it: they are of native threads.
        if run.get('eventlet'):
            configuration[CONCURRENCY] = EVENTLET
        for name, value in configuration.items():
            pairs[name, value] += 1
            broken[name] += bool(run['broken'])
    lines = csv.writer(out, lineterminator='\n')
    lines.writerow(['Knob', 'Values and pairs run', 'With a difference'])
    every = {name: [*knob.values] for name, knob in knobs.KNOBS.items()}
    every[CONCURRENCY] = ['native threads', EVENTLET]
    for name, (default, *others) in every.items():
        values = [f'{value} ({pairs[name, value]})' for value in others]
        lines.writerow([name, f'{default}; {", ".join(values)}', broken[name]])


def summary(runs: Iterable[dict[str, Any]]) -> str:
    """Say in a line how much was run."""
    total: collections.Counter[str] = collections.Counter()
    for run in runs:
        total['pairs'] += 1
        total[run['where']] += 1
        for name in ('steps', 'stock', 'patched'):
            total[name] += run[name]
        total['eventlet'] += bool(run.get('eventlet'))
        total['broken'] += bool(run['broken'])
    return ', '.join(f'{name}: {number}' for name, number in total.items())


def main() -> None:
    lines = [
        json.loads(line)
        for path in sys.argv[1:]
        for line in Path(path).read_text().splitlines()
    ]
    runs = [line for line in lines if 'configuration' in line]
    write(runs, sys.stdout)
    print(summary(runs), file=sys.stderr)


if __name__ == '__main__':
    main()
