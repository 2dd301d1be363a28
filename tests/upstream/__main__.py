"""Run Nova's own tests stock and patched, and compare them test by test.

Usage: python -m tests.upstream

It fails if a test ends otherwise with the package than without it, unless
differences.txt lists the test; and if a listed test ends the same.
"""

from __future__ import annotations

from concurrent import futures
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

from nova import version

from tests.upstream.groups import GROUPS
from tests.upstream.groups import Group

Outcomes = dict[str, tuple[str, str]]

LISTED = Path(__file__).with_name('differences.txt')
#: How many tests may fail on stock Nova, for what this machine lacks.
STOCK_FAILURES = 3
#: How long a group may take, in seconds.
TIMEOUT = 900


def read_listed(text: str) -> dict[str, str]:
    """Read the tests that are known to differ.

    :param text: a test id per line, with its reason indented below it
    :returns: the reasons by test id
    :raises ValueError: a test has no reason
    """
    reasons: dict[str, list[str]] = {}
    test_id = ''
    for line in text.splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        if line[0].isspace():
            reasons[test_id].append(line.strip())
        else:
            test_id = line.strip()
            reasons[test_id] = []
    for test_id, reason in reasons.items():
        if not reason:
            raise ValueError(f'{test_id} has no reason')
    return {test_id: ' '.join(lines) for test_id, lines in reasons.items()}


def run(group: Group, mode: str, folder: Path) -> Outcomes:
    """Run a group in a process of its own.

    :param group: what to run
    :param mode: ``stock`` or ``patched``
    :param folder: takes the outcomes and what the tests print
    :returns: the outcome of each test, and the last line of its error
    :raises RuntimeError: the process failed
    :raises subprocess.TimeoutExpired: it hangs
    """
    stem = f'{GROUPS.index(group)}-{mode}'
    result, log = folder / f'{stem}.json', folder / f'{stem}.log'
    paste = Path(sys.prefix, 'etc', 'nova', 'api-paste.ini')
    command = [sys.executable, '-W', 'ignore', '-m', 'tests.upstream.run']
    with log.open('w') as output:
        status = subprocess.run(
            [*command, group.title, mode, str(result)],
            # Nova's functional tests look for it in Nova's source tree.
            env={**os.environ, 'OS_WSGI__API_PASTE_CONFIG': str(paste)},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=TIMEOUT,
        ).returncode
    if status:
        tail = '\n'.join(log.read_text(errors='replace').splitlines()[-20:])
        raise RuntimeError(f'{group.title}, {mode}: exit {status}\n{tail}')
    outcomes: Outcomes = json.loads(result.read_text())
    return outcomes


def compare(
    stock: Outcomes, patched: Outcomes, listed: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Compare the outcomes of a group.

    :returns: the ids of the tests that differ, and what is wrong with that
    """
    different, problems = [], []
    for test_id in sorted({*stock, *patched}):
        before, _ = stock.get(test_id, ('not run', ''))
        after, error = patched.get(test_id, ('not run', ''))
        if before == after:
            continue
        different.append(test_id)
        if test_id not in listed:
            problems.append(f'{test_id}: {before}, patched {after}: {error}')
    return different, problems


def main() -> int:
    started = time.monotonic()
    listed = read_listed(LISTED.read_text())
    with tempfile.TemporaryDirectory() as folder:
        with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = [
                [
                    pool.submit(run, group, mode, Path(folder))
                    for mode in ('stock', 'patched')
                ]
                for group in GROUPS
            ]
        results = [[job.result() for job in jobs] for jobs in runs]

    print(f'Nova {version.version_string()}, its own tests')
    form = '{:36}{:>7}{:>14}{:>16}{:>13}'
    heads = ('tests', 'passed stock', 'passed patched', 'differences')
    print(form.format('group', *heads))
    problems: list[str] = []
    broken: list[str] = []
    differences: list[str] = []
    for group, (stock, patched) in zip(GROUPS, results):
        different, wrong = compare(stock, patched, listed)
        differences += different
        problems += wrong
        if len(stock) < group.minimum:
            problems.append(
                f'{group.title}: {len(stock)} tests are fewer than the '
                f'{group.minimum} that every release has'
            )
        broken += [
            f'{test_id}: {outcome}: {error}'
            for test_id, (outcome, error) in stock.items()
            if outcome in ('failed', 'error')
        ]
        passed = [
            sum(outcome == 'passed' for outcome, _ in outcomes.values())
            for outcomes in (stock, patched)
        ]
        print(form.format(group.title, len(stock), *passed, len(different)))
    problems += [
        f'{test_id}: listed in {LISTED.name}, and does not differ'
        for test_id in listed
        if test_id not in differences
    ]
    if len(broken) > STOCK_FAILURES:
        problems.append(f'{len(broken)} tests fail on stock Nova')

    for title, lines in (
        ('Listed differences:', [f'{i}: {r}' for i, r in listed.items()]),
        ('Failing on stock Nova too:', broken),
        ('Wrong:', problems),
    ):
        if lines:
            print(f'\n{title}', *lines, sep='\n    ')
    print(f'\n{time.monotonic() - started:.0f} s')
    return bool(problems)


if __name__ == '__main__':
    sys.exit(main())
