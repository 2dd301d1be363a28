"""What is known of a snapshot, as long as it is made."""

from __future__ import annotations

import pytest

from nova_multistore.compute import ongoing


def test_one_snapshot_however_deep():
    """Both of Nova's steps see the same; the outer one ends it."""
    with ongoing.enter('a') as outer:
        outer.requested = 'fast'
        with ongoing.enter('a') as inner:
            assert inner is outer
        assert ongoing.get('a').requested == 'fast'
        assert ongoing.get('b') is None

    assert ongoing.get('a') is None


def test_error():
    """It ends it, too."""
    with pytest.raises(OSError, match='x'), ongoing.enter('a'):
        raise OSError('x')

    assert ongoing.get('a') is None


def test_two_at_once():
    """Nothing is shared."""
    with ongoing.enter('a') as a, ongoing.enter('b') as b:
        a.properties['x'] = 'y'
        assert b.properties == {}
