"""Run files of tests side by side, in processes that need not load Nova.

Usage: python -m tests.files [--workers N] FILE... [-- ARGUMENT...]

One process loads Nova, as `tests.cloud.threads` says, and Glance. It is forked
for each file, or directory. The arguments are pytest's; "{stem}" in one is the
file's name. What a file's tests print is shown at their end.

pytest-xdist does as much, but not on eventlet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
import gc
import importlib
import os

# Before eventlet has replaced them.
from os import fork
from os import wait
from pathlib import Path
import sys
import tempfile
import traceback
from typing import IO
from typing import Any

# Before Nova, as eventlet could not patch what it would import.
from tests.cloud import preloaded

#: What pytest returns if all tests have passed, or if there were none.
PASSED, NONE = 0, 5
#: What all of them load. How Nova runs comes first.
MODULES = (
    'tests.cloud.threads',
    'tests.cloud.nova',
    'nova_multistore.compute.patch',
    'pytest',
)


def run(files: Iterable[Path], arguments: list[str], workers: int) -> int:
    """Test the files, the largest first.

    :param files: or directories
    :param arguments: for pytest
    :param workers: how many are tested at a time
    :returns: an exit code of pytest's: not `NONE` if a test has failed
    """
    waiting = sorted(files, key=_size)
    running: dict[int, IO[str]] = {}
    codes = set()
    while waiting or running:
        while waiting and len(running) < workers:
            output = tempfile.TemporaryFile('w+')  # noqa: SIM115
            pid = fork()
            if not pid:
                _test(waiting[-1], arguments, output)
            waiting.pop()
            running[pid] = output
        pid, status = wait()
        with running.pop(pid) as output:
            output.seek(0)
            print(output.read(), flush=True)
        codes.add(os.waitstatus_to_exitcode(status))
    bad = codes - {PASSED, NONE}
    return abs(bad.pop()) if bad else max(codes, default=NONE)


def _size(path: Path) -> int:
    """Return how many bytes there are in a file, or a directory's tests."""
    files = [*path.glob('test_*.py')] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _test(path: Path, arguments: list[str], output: IO[str]) -> None:
    """Run pytest, and end this process."""
    code: Any = 1
    try:
        for number in 1, 2:
            os.dup2(output.fileno(), number)
        if 'eventlet' in sys.modules:
            # Two processes with one hub would take each other's events.
            importlib.import_module('eventlet.hubs').use_hub()
        code = importlib.import_module('pytest').main(
            [str(path), *(each.format(stem=path.stem) for each in arguments)]
        )
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument('files', type=Path, nargs='+')
    own, others = sys.argv[1:], []
    if '--' in own:
        place = own.index('--')
        own, others = own[:place], own[place + 1 :]
    args = parser.parse_args(own)
    preloaded.migrated_database()
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    return run(args.files, others, args.workers)


if __name__ == '__main__':
    sys.exit(main())
