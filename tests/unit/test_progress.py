"""Bars and lines that show progress."""

from __future__ import annotations

import io
import re
import time
import types

import pytest

from nova_multistore.osc import progress
from tests import command
from tests.unit.images import IMAGE
from tests.unit.images import MIB


def test_lines():
    """What has not changed is not said again, nor how many bytes."""
    out = io.StringIO()
    with progress.start(out) as said:
        said.show([progress.Item('a', 'copying'), progress.Item('b', 'idle')])
        said.show([progress.Item('a', 'copying', done=1, total=2)])
        said.show([progress.Item('a', 'done')])

    assert out.getvalue().splitlines() == [
        'a: copying (0 s)',
        'b: idle (0 s)',
        'a: done (0 s)',
    ]


class TestOffATerminal:
    """Somebody reads it later, or a program does."""

    def test_counts(self):
        """Each image is not worth a line, the last number is."""
        out = io.StringIO()

        with progress.start(out) as said:
            for number in range(15):
                state = f'{number} images'
                said.show([progress.Item('read', state, True, counts=True)])

        assert out.getvalue() == 'read: 14 images (0 s)\n'

    def test_now_and_then(self, monkeypatch):
        """That something goes on is said, and how far it is."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.05)
        out = io.StringIO()

        with progress.start(out) as said:
            item = progress.Item('a', 'copying', True, MIB, 4 * MIB)
            said.show([item, progress.Item('b', 'waiting')])
            time.sleep(0.3)

        lines = out.getvalue().splitlines()
        assert lines[:2] == ['a: copying (0 s)', 'b: waiting (0 s)']
        assert lines[2].startswith('a: copying, 1.0 MiB/4.0 MiB (')
        assert 3 <= len(lines) <= 8
        assert not any(line.startswith('b: ') for line in lines[2:])

    def test_nothing_moves(self, monkeypatch):
        """The first thing is waited for."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.05)
        out = io.StringIO()

        with progress.start(out) as said:
            said.show([progress.Item('a', 'waiting for data')])
            time.sleep(0.2)

        assert len(out.getvalue().splitlines()) >= 2

    def test_it_ends(self, monkeypatch):
        """What comes after it is not mixed with it."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.01)
        out = io.StringIO()

        with progress.start(out) as said:
            said.show([progress.Item('a', 'copying', True)])
        before = out.getvalue()
        time.sleep(0.1)

        assert out.getvalue() == before


@pytest.mark.parametrize(
    ('done', 'total', 'words'),
    [
        ((0, 64 * MIB), 256 * MIB, '1.0 MiB/s, 3 min left'),
        ((None, 64 * MIB), 256 * MIB, '1.0 MiB/s, 3 min left'),
        # What was there before it is seen is not fast.
        ((128 * MIB, 192 * MIB), 256 * MIB, '1.0 MiB/s, 1 min left'),
        ((0, 64 * MIB), 65 * MIB, '1.0 MiB/s, 1 s left'),
        ((0, 64 * MIB), (64 << 20) * 200, '1.0 MiB/s, 4 h left'),
        ((0, 64 * MIB), None, '1.0 MiB/s'),
        ((0, 0), 256 * MIB, ''),
        ((None, None), 256 * MIB, ''),
    ],
)
def test_pace(monkeypatch, done, total, words):
    """How fast it is, and how long it takes, if both are known."""
    now = [100.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(progress, 'time', clock)
    first, second = (progress.Item('a', 'x', True, d, total) for d in done)
    pace = progress.Pace()
    pace.see([first])
    now[0] += 64

    pace.see([second])

    assert pace.words(second) == words


def test_bars_have_the_pace(monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    monkeypatch.setattr(
        progress.Pace, 'words', lambda self, item: '1.0 MiB/s, 3 min left'
    )
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item('a', 'copying', True, MIB, 6 * MIB)])

    assert '1.0 MiB/6.0 MiB 1.0 MiB/s, 3 min left' in out.getvalue()


def test_bars(monkeypatch):
    """A line for each that is replaced; no name is taken for markup."""
    monkeypatch.setenv('TERM', 'xterm')
    out = command.Terminal()
    items = [
        progress.Item('[red]a', 'copying', True, 3 * MIB, 6 * MIB),
        progress.Item('b', 'copying', True),
        progress.Item('c', 'waiting'),
    ]

    with progress.start(out) as said:
        said.show(items)

    escapes = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
    last = escapes.sub('', out.getvalue()).rpartition('\r')[2].splitlines()
    assert last[0].startswith('[red]a copying ')
    assert '3.0 MiB/6.0 MiB' in last[0]
    assert [line.split()[0] for line in last[1:3]] == ['b', 'c']
    assert '0 s' in last[2]


def test_narrow_terminal(monkeypatch):
    """The bar is shorter; what is told is whole."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '60')
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item(f'{IMAGE} dcn0', 'copying', True)])

    assert f'{IMAGE} dcn0 copying ' in out.getvalue()
    assert '0 s' in out.getvalue()


def test_dumb_terminal(monkeypatch):
    """Nothing can be replaced there."""
    monkeypatch.setenv('TERM', 'dumb')
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item('a', 'done')])

    assert out.getvalue() == 'a: done (0 s)\n'
