"""Test the package on a release of OpenStack, and write the table of all.

Usage: python -m tests.releases test RELEASE RESULT [--part] [--workers N]
       python -m tests.releases table RESULT...

"test" runs in a virtualenv that has the release, and writes what came out to
the file RESULT; it fails if a test fails. With --part it leaves out the tests
that take minutes. "table" prints what such files hold.
"""

from __future__ import annotations

import argparse
import collections
import csv
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile
import time
from xml.etree import ElementTree

TESTS = Path(__file__).parent
#: The folders of the tests of the filters in nova-api and in glance-api.
FILTERS = 'api_filter', 'glance_filter'
#: Which functional tests, by file or folder, take a few minutes together.
PART = (
    *FILTERS,
    'image_commands',
    'test_cloud',
    'test_cmd',
    'test_computes',
    'test_properties',
    'test_record',
    'test_upload',
)
#: The first Nova whose nova-compute runs on native threads, too.
ON_THREADS = 34
COLUMNS = (
    'Release',
    'Nova',
    'Glance',
    'Python',
    'nova-compute runs on',
    'Unit tests',
    'Functional tests',
    'Tests of the filters',
    'Failed or not run',
    'Date',
)


def run(
    paths: list[Path], threads: bool, workers: int
) -> dict[Path, ElementTree.Element]:
    """Run the tests of files or directories.

    :param threads: whether Nova runs on native threads, or on eventlet
    :param workers: how many are tested at a time
    :returns: the outcomes of each, as JUnit has them
    :raises RuntimeError: there are none
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, '-m', 'tests.files', *paths),
                *('--workers', str(workers), '--', '-q'),
                f'--junit-xml={folder}/{{stem}}.xml',
            ],
            env={
                **os.environ,
                'OS_NOVA_DISABLE_EVENTLET_PATCHING': str(int(threads)),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout)
        reports = {path: Path(folder, f'{path.stem}.xml') for path in paths}
        for path, report in reports.items():
            if not report.exists():
                raise RuntimeError(f'{path}: exit {done.returncode}')
        return {
            path: ElementTree.parse(report).getroot()
            for path, report in reports.items()
        }


def judge(
    outcomes: dict[Path, ElementTree.Element],
) -> tuple[dict[str, str], list[str], bool]:
    """Count the outcomes.

    :param outcomes: of each file, as JUnit has them
    :returns: how many tests of each column have passed, out of how many; what
        has failed or was not run, and why; whether a test has failed
    """
    passed: collections.Counter[str] = collections.Counter()
    ran: collections.Counter[str] = collections.Counter()
    skipped: collections.Counter[str] = collections.Counter()
    failed = []
    for path, root in outcomes.items():
        column = 'Functional tests'
        if path.name == 'unit':
            column = 'Unit tests'
        elif path.parent.name in FILTERS:
            column = 'Tests of the filters'
        for case in root.iter('testcase'):
            reason = case.find('skipped')
            if reason is not None:
                skipped[reason.get('message', '')] += 1
                continue
            ran[column] += 1
            errors = [*case.iter('failure'), *case.iter('error')]
            if not errors:
                passed[column] += 1
                continue
            message = errors[0].get('message', '').partition('\n')[0]
            failed.append(f'{case.get("name")} failed: {message}')
    counts = {column: f'{passed[column]} of {ran[column]}' for column in ran}
    not_run = [f'{count} not run: {why}' for why, count in skipped.items()]
    return counts, [*failed, *not_run], bool(failed)


def test(release: str, result: Path, part: bool, workers: int) -> bool:
    """Run the tests in each way that nova-compute of a release can run.

    :param result: takes a row for each
    :param part: whether to leave out the tests that take minutes
    :param workers: how many files are tested at a time
    :returns: whether all of them have passed
    """
    version = importlib.metadata.version
    files = [*(TESTS / 'functional').rglob('test_*.py')]
    if part:
        files = [
            path for path in files if {path.stem, path.parent.name} & {*PART}
        ]
    major = int(version('nova').partition('.')[0])
    rows = []
    good = True
    for threads in (True, False) if major >= ON_THREADS else (False,):
        outcomes = run([*files, TESTS / 'unit'], threads, workers)
        counts, remarks, failed = judge(outcomes)
        good = good and not failed
        rows.append(
            {
                'Release': release.rpartition('-')[2],
                'Nova': version('nova'),
                'Glance': version('glance'),
                'Python': platform.python_version(),
                'nova-compute runs on': 'threads' if threads else 'eventlet',
                **counts,
                'Failed or not run': '; '.join(remarks),
                'Date': time.strftime('%Y-%m-%d'),
            }
        )
        for name, value in rows[-1].items():
            print(f'{name}: {value}')
    result.write_text(json.dumps(rows))
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest='command', required=True)
    tested = commands.add_parser('test')
    tested.add_argument('release', help='as "release-2025.1"')
    tested.add_argument('result', type=Path)
    tested.add_argument('--part', action='store_true')
    tested.add_argument('--workers', type=int, default=os.cpu_count())
    table = commands.add_parser('table')
    table.add_argument('results', type=Path, nargs='+')
    args = parser.parse_args()
    if args.command == 'test':
        good = test(args.release, args.result, args.part, args.workers)
        return 0 if good else 1
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator='\n')
    writer.writeheader()
    for path in sorted(args.results):
        writer.writerows(json.loads(path.read_text()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
