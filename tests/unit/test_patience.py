"""Unit tests for the patience of the tests."""

from __future__ import annotations

import pytest

from tests import patience


@pytest.fixture
def clock(monkeypatch):
    """The time, in seconds; a test sets it."""
    now = [0.0]
    monkeypatch.setattr(patience.time, 'monotonic', lambda: now[0])
    return now


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Say how many threads want one of two cores."""
    monkeypatch.setattr(patience, '_LOAD', tmp_path / 'loadavg')
    monkeypatch.setattr(patience.os, 'cpu_count', lambda: 2)

    def set_to(wanting):
        (tmp_path / 'loadavg').write_text(f'0.5 0.2 0.1 {wanting}/321 4711\n')

    set_to(1)
    return set_to


def test_quiet_machine(clock, load):
    """It is the time of the clock."""
    left = patience.Patience(10)

    clock[0] = 9.9
    assert left
    clock[0] = 10.1
    assert not left


def test_busy_machine(clock, load):
    """With five threads for each core it takes five times as long."""
    load(10)
    left = patience.Patience(10)

    clock[0] = 49.0
    assert left
    clock[0] = 51.0
    assert not left


def test_busy_for_a_while(clock, load):
    """Each look counts what has passed since the one before."""
    left = patience.Patience(10)
    clock[0] = 5.0
    assert left

    load(4)
    clock[0] = 14.0
    assert left
    load(1)
    clock[0] = 15.0
    assert not left


def test_this_machine():
    """It has a load that can be read."""
    assert 0 < patience._share() <= 1
