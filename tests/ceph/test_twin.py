"""Configurations of a cloud in Ceph, with stock Nova and the package."""

from __future__ import annotations

import pytest

from tests.twin import knobs
from tests.twin import runner

#: Each is what is not at its default.
CONFIGURATIONS = [
    {'stores': 'one', 'clone format': '2'},
    {'disable_libvirt_livesnapshot': 'true', 'hash': 'none'},
    {'enable_rbd_download': 'true'},
    {'rbd_user': knobs.CAPS['reader']},
]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    with runner.world(tmp_path_factory.mktemp('twin'), True) as world:
        yield world


@pytest.mark.parametrize('configuration', CONFIGURATIONS, ids=repr)
def test_law(world, configuration):
    """What succeeds with stock Nova succeeds with the package."""
    images, broken = runner.short(world, configuration)

    assert broken == []
    assert images
