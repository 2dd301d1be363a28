"""Sizes in words, and totals of stores."""

from __future__ import annotations

import io

import pytest

from nova_multistore.osc import sizes
from tests.unit.judging import snapshot


class Terminal(io.StringIO):
    """What somebody looks at."""

    def isatty(self):
        return True


def test_totals():
    """A store in which nothing is is there as well."""
    sums = sizes.Totals(['central', 'dcn0'])
    sums.add(snapshot(stores='central,far', size=5 << 30))
    sums.add(snapshot(stores='central', size=None))
    plain, terminal = io.StringIO(), Terminal()

    sums.show(plain)
    sums.show(terminal)

    assert plain.getvalue().splitlines() == [
        'central: 2 images, 5368709120 bytes',
        'dcn0: 0 images, 0 bytes',
        'far: 1 image, 5368709120 bytes',
    ]
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert ['█' in line for line in lines] == [True, False, True]
    assert '5.0 GiB' in lines[0]


def test_no_totals():
    """A Glance without several stores has none."""
    terminal = Terminal()

    sizes.Totals([]).show(terminal)

    assert terminal.getvalue().strip() == ''


@pytest.mark.parametrize(
    ('amount', 'words'),
    [
        (0, '0 B'),
        (1023, '1023 B'),
        (1024, '1.0 KiB'),
        (5 << 20, '5.0 MiB'),
        (3 << 40, '3.0 TiB'),
        (5000 << 50, '5000.0 PiB'),
        (None, ''),
    ],
)
def test_size(amount, words):
    column = sizes.SizeColumn(amount)

    assert column.human_readable() == words
    assert column.machine_readable() == amount
