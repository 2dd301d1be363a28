"""Run one group of Nova's tests in this process, stock or patched.

Usage: python -m tests.upstream.run GROUP stock|patched FILE

The outcomes go to FILE, as JSON: {test id: [outcome, last line of the error]}.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING
from typing import Any
import unittest

from tests.upstream.groups import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Outcomes(unittest.TestResult):
    """Keeps one outcome per test, by the test's id."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, tuple[str, str]] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.of[test.id()] = ('passed', '')

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.of[test.id()] = ('skipped', reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._broke('error', test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._broke('failed', test, err)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.of[test.id()] = ('failed as expected', '')

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.of[test.id()] = ('passed unexpectedly', '')

    def _broke(self, outcome: str, test: unittest.TestCase, err: Any) -> None:
        lines = str(err[1]).strip().splitlines() or [repr(err[1])]
        self.of[test.id()] = (outcome, lines[-1])


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


def main(title: str, mode: str, path: str) -> None:
    group = next(group for group in GROUPS if group.title == title)
    loader = unittest.TestLoader()
    # Nova sets up its concurrency when the first of its tests is loaded.
    tests = [
        test
        for test in _each(loader.loadTestsFromNames(group.modules))
        if group.takes(test.id())
    ]
    if loader.errors:
        sys.exit('\n'.join(map(str, loader.errors)))
    outcomes = Outcomes()
    if mode == 'patched':
        from nova_multistore.compute import patch

        patch.apply()
        unittest.TestSuite(tests).run(outcomes)
        if not patch.is_applied():
            sys.exit('a test has removed the patch')
    else:
        unittest.TestSuite(tests).run(outcomes)
    Path(path).write_text(json.dumps(outcomes.of))


if __name__ == '__main__':
    main(*sys.argv[1:])
