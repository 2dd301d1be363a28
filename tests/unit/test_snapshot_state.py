"""What is known of a snapshot, as long as it is made."""

from __future__ import annotations

import pytest

from nova_multistore.compute import snapshot_state


def test_one_snapshot_however_deep():
    """Both of Nova's steps see the same; the outer one ends it."""
    with snapshot_state.enter('a') as outer:
        outer.requested = 'fast'
        with snapshot_state.enter('a') as inner:
            assert inner is outer
        assert snapshot_state.get('a').requested == 'fast'
        assert snapshot_state.get('b') is None

    assert snapshot_state.get('a') is None


def test_error():
    """It ends it, too."""
    with pytest.raises(OSError, match='x'), snapshot_state.enter('a'):
        raise OSError('x')

    assert snapshot_state.get('a') is None


def test_two_at_once():
    """Nothing is shared."""
    with snapshot_state.enter('a') as a, snapshot_state.enter('b') as b:
        a.properties['x'] = 'y'
        assert b.properties == {}
