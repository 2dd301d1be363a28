"""What all tests share."""

from __future__ import annotations

import gc

import pytest

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401


def pytest_collection_finish() -> None:
    """Leave what is loaded out of garbage collections: that is a lot."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show the end of the log of each service that a failed test used."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name, value in getattr(item, 'funcargs', {}).items():
            if last_lines := getattr(value, 'last_lines', None):
                report.sections.append((f'Log of {name}', last_lines()))


def pytest_terminal_summary(terminalreporter) -> None:
    """Show why a test was run again, though it passed then."""
    for report in terminalreporter.stats.get('rerun', ()):
        terminalreporter.section(f'failed at first: {report.nodeid}')
        terminalreporter.line(report.longreprtext)
