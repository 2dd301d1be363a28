"""Clone format 2, with which Ceph deletes what disks need from Glance."""

from __future__ import annotations

import json
import os

import pytest

from nova_multistore import record
from nova_multistore.compute import ceph
from nova_multistore.osc import image_relocate
from nova_multistore.osc import store_drain
from tests import command
from tests.ceph.conftest import MIB
from tests.ceph.conftest import create

STARTED = 'a disk that is a clone needs it there'


@pytest.fixture(scope='module', autouse=True)
def format_2(stock_cloud):
    """Ceph makes clones of the newer format."""
    require = 'osd', 'set-require-min-compat-client'
    stock_cloud.ceph.ceph(*require, 'mimic')
    yield
    stock_cloud.ceph.ceph(*require, 'luminous')


@pytest.fixture
def cloned(cloud):
    """A server whose disk is a clone of an image in ``second``."""
    cloud.show_locations(True)
    server = create(cloud, 'second')
    cloud.show_locations(False)
    assert cloud.has_parent(server)
    yield server
    cloud.nova.delete_server(server)


def base_image(cloud, server):
    """Return the id of the image that a server was started from."""
    image_id: str = cloud.nova.server(server)['image']['id']
    return image_id


def trash(cloud, pool):
    """Return the names of the images in the trash of a pool."""
    found = json.loads(
        cloud.ceph.rbd('trash', 'ls', '--all', pool, '--format', 'json')
    )
    return {image['name'] for image in found}


def test_ceph_is_asked(cloud, cloned):
    """nova-compute sees which disks need an image."""
    image_id = base_image(cloud, cloned)

    found = ceph.clones('other', image_id)

    assert found == (
        f'clones of it in Ceph need its data there: {cloud.disk(cloned)}'
    )
    unused = cloud.glance.create_image(
        os.urandom(512) + bytes(MIB), stores=['second'], disk_format='raw'
    )
    assert ceph.clones('other', unused) is None
    assert 'does not say' in ceph.clones('other', 'nosuch')
    cloud.glance.delete_image(unused)


def test_drained_to_the_end(cloud, cloned, admin):
    """A disk can be opened when the store is empty and its pool is gone."""
    digest = cloud.ceph.sha256(cloud.disk(cloned))
    image_id = base_image(cloud, cloned)
    args = store_drain.DrainStore, admin, 'second'

    dry = command.run(*args, '--dry-run')
    result = command.run(*args)

    for found in dry, result:
        [row] = [row for row in found.rows if row['id'] == image_id]
        assert row['reason'].startswith(f'server {cloned} was made from it')
        assert found.code in (1, 3)
    assert 'rbd trash ls other; rbd ls other' in result.progress
    assert cloud.glance.stores_of(image_id) == ['second']
    assert image_id not in trash(cloud, 'other')
    # Now the operator does what the reason says.
    cloud.flatten(cloned)

    result = command.run(*args, '--even-in-use')

    assert image_id not in {row['id'] for row in result.rows}
    assert cloud.glance.stores_of(image_id) == ['cheap']
    assert image_id not in trash(cloud, 'other')
    assert image_id not in cloud.ceph.images('other')
    cloud.ceph.ceph('config', 'set', 'mon', 'mon_allow_pool_delete', 'true')
    pool = 'other', 'other', '--yes-i-really-really-mean-it'
    cloud.ceph.ceph('osd', 'pool', 'delete', *pool)
    try:
        assert cloud.ceph.sha256(cloud.disk(cloned)) == digest
    finally:
        cloud.ceph.ceph('osd', 'pool', 'create', 'other', '8')
        cloud.ceph.rbd('pool', 'init', 'other')
        cloud.glance.stop()
        cloud.glance.start()


def test_operator_does_not_mind(cloud, cloned, admin):
    """Ceph keeps the data in the trash, which is said."""
    digest = cloud.ceph.sha256(cloud.disk(cloned))
    image_id = base_image(cloud, cloned)

    result = command.run(
        store_drain.DrainStore, admin, 'second', '--even-in-use'
    )

    assert image_id not in {row['id'] for row in result.rows}
    assert (
        'Before the pool is removed, these must list nothing: rbd trash'
        in (result.progress)
    )
    assert image_id in trash(cloud, 'other')
    assert cloud.ceph.sha256(cloud.disk(cloned)) == digest


def test_relocate(cloud, cloned, admin):
    image_id = base_image(cloud, cloned)

    result = command.run(
        image_relocate.RelocateImage, admin, image_id, '--to', 'cheap'
    )

    assert result.states == {'cheap': 'done', 'second': 'kept'}
    assert STARTED in result.rows[1]['reason']
    assert sorted(cloud.glance.stores_of(image_id)) == ['cheap', 'second']
    assert image_id not in trash(cloud, 'other')


def test_snapshot_that_servers_were_started_from(moving, clone, audited):
    """It does not move as long as a disk is a clone of it."""
    moving.nova.records.clear()
    moving.show_locations(True)
    moving.nova.conf(**{'nova_multistore.auth_type': None})
    image_id = moving.nova.snapshot(clone)
    moving.nova.wait_for_line('stays in store fast')
    moving.glance.finish_tasks(image_id)
    server = moving.nova.create_server(image_id)
    assert moving.has_parent(server)
    digest = moving.ceph.sha256(moving.disk(server))
    moving.show_locations(False)
    moving.age(image_id)

    [row] = audited(image_id, '--fix')

    assert STARTED in row['remedy']
    assert 'fast' in moving.glance.stores_of(image_id)
    assert image_id not in trash(moving, 'images')
    moving.nova.delete_server(server)
    moving.age(image_id)
    [row] = audited(image_id, '--fix')
    assert row['remedy'] == 'moved to cheap'
    assert moving.data(image_id) == {'cheap': digest}
    moving.glance.delete_image(image_id)


def test_started_before_it_moves(moving, clone, monkeypatch):
    """nova-compute asks Ceph itself, when the time has come."""
    moving.show_locations(True)
    servers = []
    original = ceph.clones

    def clones(pool, image_id):
        if not servers:
            servers.append(moving.nova.create_server(image_id))
            assert moving.has_parent(servers[0])
        return original(pool, image_id)

    monkeypatch.setattr(ceph, 'clones', clones)
    moving.nova.records.clear()

    image_id = moving.nova.snapshot(clone)
    line = moving.nova.wait_for_line('stays in store fast')

    assert f'need its data there: {moving.disk(servers[0])}' in line
    assert sorted(moving.glance.stores_of(image_id)) == ['cheap', 'fast']
    assert moving.glance.image(image_id)[record.MOVE_FROM] == 'fast'
    assert image_id not in trash(moving, 'images')
    moving.show_locations(False)
    moving.nova.delete_server(servers[0])
    moving.glance.delete_image(image_id)
