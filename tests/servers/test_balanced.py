"""Three glance-api behind HAProxy, one of them in trouble."""

from __future__ import annotations

import sys

import pytest

from tests.cloud import glance as cloud_glance
from tests.servers import balanced
from tests.twin import servers

#: How many snapshots there are of each trouble, stock and patched.
COUNT = 4


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('balanced')
    with balanced.World(root, cloud_glance.Glance, servers.Beside) as world:
        yield world


@pytest.mark.parametrize(
    'kind',
    [
        balanced.Killed,
        balanced.Stopped,
        balanced.Restarting,
        balanced.OtherStoresOrdered,
    ],
    ids=lambda kind: kind.__name__,
)
def test_trouble(world, kind):
    """What succeeds with stock Nova succeeds with the package."""
    pair = world.pair(kind, COUNT, seed=1, stopped=4.0)
    if pair.lost:
        # A server that restarts may break off every try of a snapshot.
        pair = world.pair(kind, COUNT, seed=2, stopped=4.0)

    balanced.write([pair], sys.stdout)
    assert pair.lost == []
    assert len(pair.patched) == COUNT
