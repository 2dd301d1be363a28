"""A snapshot, with the real command and real processes."""

from __future__ import annotations

import os
from pathlib import Path
import time
from typing import Any

import pytest

from tests.e2e import fixture

MIB = 1 << 20
PATIENCE = 60


@pytest.fixture(scope='module')
def base_image(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Return the id of an image that lies in `fast`."""
    # Nothing that could be booted; the guest runs all the same.
    path: Path = tmp_path_factory.mktemp('images') / 'base.raw'
    path.write_bytes(os.urandom(8 * MIB))
    image_id: str = cloud.openstack(
        *('image', 'create', 'base', '--disk-format', 'raw'),
        *('--container-format', 'bare', '--public'),
    )['id']
    cloud.openstack('image', 'stage', '--file', str(path), image_id)
    # The id comes first: --store takes all that follows it.
    cloud.openstack(
        *('image', 'import', image_id),
        *('--method', 'glance-direct', '--store', 'fast'),
    )
    assert active(cloud, image_id)['properties']['stores'] == 'fast'
    return image_id


@pytest.mark.parametrize('patched', [True, False])
def test_snapshot(
    cloud: fixture.Cloud, base_image: str, patched: bool
) -> None:
    """Patched, a snapshot goes where the base image lies.

    Stock Nova takes the default store, or clones a disk inside of Ceph.
    """
    store = 'fast' if patched or cloud.images_type == 'rbd' else 'cheap'
    if patched != cloud.site.patched:
        cloud.restart_compute(patched)
    name = 'patched' if patched else 'stock'
    server = cloud.openstack(
        *('server', 'create', name, '--image', base_image),
        *('--flavor', 'tiny', '--nic', 'none', '--wait'),
    )
    assert server['status'] == 'ACTIVE'
    image_id = cloud.openstack(
        *('server', 'image', 'create', '--wait', '--name', name),
        server['id'],
    )['id']
    image = active(cloud, image_id)
    assert image['properties']['stores'] == store
    assert image['size'] > 0
    if cloud.images_type == 'qcow2':
        path = cloud.site.root / 'stores' / store / image_id
        assert path.stat().st_size == image['size']


def active(cloud: fixture.Cloud, image_id: str) -> Any:
    """Return an image once it is active."""
    deadline = time.monotonic() + PATIENCE
    while True:
        image = cloud.openstack('image', 'show', image_id)
        if image['status'] == 'active' or time.monotonic() > deadline:
            assert image['status'] == 'active'
            return image
