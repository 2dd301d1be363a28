"""Configurations of a cloud in Ceph, with stock Nova and the package."""

from __future__ import annotations

import pytest

from tests.twin import law
from tests.twin import runner
from tests.twin import steps

#: Each is what is not at its default.
CONFIGURATIONS = [
    {'stores': 'one', 'clone format': '2'},
    {'disable_libvirt_livesnapshot': 'true', 'hash': 'none'},
    {'enable_rbd_download': 'true'},
]
STEPS: list[steps.Step] = [
    ('base', 'public'),
    ('boot', 'public'),
    ('snapshot', '0'),
    ('backup', '0', '1'),
    ('shelve', '0'),
]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    with runner.world(tmp_path_factory.mktemp('twin'), True) as world:
        yield world


@pytest.mark.parametrize('configuration', CONFIGURATIONS, ids=repr)
def test_law(world, monkeypatch, configuration):
    """What succeeds with stock Nova succeeds with the package."""
    # Other tests run beside this one: time tells little.
    monkeypatch.setattr(law, 'SLOWER', 60.0)

    stock, _patched, broken = runner.pair(world, configuration, STEPS)

    assert broken == []
    assert any(outcome.images for outcome in stock.outcomes)
