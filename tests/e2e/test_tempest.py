"""Tempest: its own tests, stock and patched, and the plugin's."""

from __future__ import annotations

import re

import pytest

from tests.e2e import fixture
from tests.e2e import tempest_run

ALL = (*tempest_run.UPSTREAM, tempest_run.PLUGIN)
#: What `[glance] store` is set to.
ORDERED = 'reliable'
#: Where the package has nothing to do, and the stores are as stock Nova's.
VOLUME_BACKED = (
    'nova_multistore.tests.tempest.scenario.test_volume_backed.'
    'VolumeBackedTest.test_snapshot'
)


class Tempest:
    """Tempest beside a nova-compute that is restarted at will."""

    def __init__(self, cloud: fixture.Cloud) -> None:
        self._cloud = cloud
        self._workspace = tempest_run.Workspace(cloud)
        self._counts: list[str] = []

    def run(
        self, name: str, tests: tuple[str, ...], patched: bool, store: str = ''
    ) -> tempest_run.Run:
        """Restart nova-compute, and run tests.

        :param name: what it is called in the summary
        :param tests: regular expressions that choose them
        :param patched: whether nova-compute is started with the package
        :param store: its `[glance] store`
        """
        options = {'glance.store': store} if store else {}
        self._cloud.run_compute(patched, **options)
        run = self._workspace.run(
            tests, {'ordered_store': store} if store else {}
        )
        for whose, part in (
            ("tempest's own", run.without(tempest_run.PLUGIN)),
            ("the plugin's", run.only(tempest_run.PLUGIN)),
        ):
            if part.outcomes:
                self._counts.append(f'{name}, {whose}: {part.counts()}')
        self._counts.append(f'{name}: {run.seconds:.0f} s')
        return run

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        terminalreporter.section('tempest')
        for line in self._counts:
            terminalreporter.line(line)


@pytest.fixture(scope='module')
def tempest(cloud: fixture.Cloud, pytestconfig: pytest.Config) -> Tempest:
    tempest = Tempest(cloud)
    pytestconfig.pluginmanager.register(tempest)
    return tempest


@pytest.fixture(scope='module')
def stock(tempest: Tempest) -> tempest_run.Run:
    return tempest.run('stock', ALL, patched=False)


@pytest.fixture(scope='module')
def patched(tempest: Tempest) -> tempest_run.Run:
    return tempest.run('patched', ALL, patched=True)


def test_upstream(stock: tempest_run.Run, patched: tempest_run.Run) -> None:
    """The same of tempest's own tests pass, stock and patched: all."""
    stock = stock.without(tempest_run.PLUGIN)
    patched = patched.without(tempest_run.PLUGIN)

    assert not stock.failed, stock.failures()
    assert not patched.failed, patched.failures()
    assert stock.passed == patched.passed
    for chosen in tempest_run.UPSTREAM:
        assert any(re.match(chosen, test) for test in stock.passed), chosen


def test_plugin(stock: tempest_run.Run, patched: tempest_run.Run) -> None:
    """The plugin's tests pass, and show that stock Nova is another thing."""
    stock = stock.only(tempest_run.PLUGIN)
    patched = patched.only(tempest_run.PLUGIN)

    assert not patched.failed, patched.failures()
    assert [] == patched.skipped == stock.skipped
    assert stock.passed == [VOLUME_BACKED]
    assert sorted([*stock.failed, VOLUME_BACKED]) == patched.passed
    assert all('MismatchError' in stock.end(test) for test in stock.failed)


def test_plugin_with_an_ordered_store(tempest: Tempest) -> None:
    """They pass where `[glance] store` is set, too."""
    run = tempest.run(
        f'patched, [glance] store = {ORDERED}',
        (tempest_run.PLUGIN,),
        patched=True,
        store=ORDERED,
    )

    assert not run.failed, run.failures()
    assert run.skipped == []
    assert len(run.passed) == 4
