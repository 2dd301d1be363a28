"""Copies in Ceph that are deleted while they are read.

Ceph answers with zeros then, and without an error.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import sqlite3

import pytest

from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.cloud import pauses

MIB = 1 << 20
#: More than what is on the way in buffers.
SIZE = 64 * MIB
#: The pool of each store in Ceph.
POOLS = {'fast': 'images', 'second': 'other'}
STORES = {'cheap': 'file', **dict.fromkeys(POOLS, 'rbd')}
ROUTES = ('/v2/images/{}/file', '/v2/stores/fast/{}')
DATA = os.urandom(MIB)


@pytest.fixture(scope='module')
def ceph(tmp_path_factory):
    """One for all tests."""
    root = tmp_path_factory.mktemp('ceph')
    with cloud_ceph.Ceph(root, POOLS.values(), size=2 << 30) as ceph:
        yield ceph


@contextlib.contextmanager
def started(root, ceph, **options):
    """Start a Glance that has the filter, and can be stopped at places."""
    stores = {}
    for store, pool in POOLS.items():
        stores.update(ceph.store(store, pool))
    with cloud_glance.Glance(
        root,
        stores=STORES,
        filters={
            **cloud_glance.FILTER,
            'pauses': 'tests.cloud.pauses:filter_factory',
        },
        **stores,
        **options,
    ) as glance:
        yield glance


@pytest.fixture(scope='module')
def running(ceph, tmp_path_factory):
    """A Glance for all tests."""
    with started(tmp_path_factory.mktemp('glance'), ceph) as glance:
        yield glance


@pytest.fixture
def glance(running):
    """The Glance, without the images of another test."""
    yield running
    running.clear()


@pytest.fixture
def own(ceph, tmp_path):
    """Start a Glance of a test's own."""
    tmp_path.chmod(0o755)
    with contextlib.ExitStack() as stack:

        def own(**options):
            found = stack.enter_context(started(tmp_path, ceph, **options))
            stack.callback(found.clear)
            return found

        yield own


@pytest.fixture(scope='module')
def data():
    """The data of an image; no part of it is zero."""
    return DATA * (SIZE // MIB)


def make(glance, data, *stores):
    return glance.create_image(data, stores=stores, disk_format='raw')


def without_hash(glance, image_id):
    """Have an image as one whose location was given to Glance."""
    glance.change_database(
        'UPDATE images SET checksum = NULL, os_hash_algo = NULL, '
        'os_hash_value = NULL WHERE id = ?',
        image_id,
    )


def delete(glance, image_id, store='fast'):
    """Delete the copy of an image in one store."""
    path = f'/v2/stores/{store}/{image_id}'
    status, body = glance.request('DELETE', path, admin=True)
    assert status == 204, body


def warnings(glance, image_id):
    """Return what the filter has warned of about an image."""
    return [
        line
        for line in glance.log.read_text(errors='replace').splitlines()
        if ' WARNING nova_multistore.glance' in line and image_id in line
    ]


def breaks_off(glance, image_id, read):
    """See that nobody takes what is read for whole, and that it is said."""
    with pytest.raises(http.client.IncompleteRead):
        read()
    [line] = warnings(glance, image_id)
    assert 'was deleted from store fast while it was read' in line


@pytest.mark.parametrize('route', ROUTES)
def test_whole(glance, data, route):
    """Without a deletion, nothing is different."""
    image_id = make(glance, data, 'fast')

    with glance.reading(route.format(image_id)) as read:
        assert read() == data

    assert warnings(glance, image_id) == []


@pytest.mark.parametrize('route', ROUTES)
def test_copy_is_deleted(glance, data, route):
    """Another store has the image, but this read is not whole."""
    image_id = make(glance, data, 'fast', 'second')

    with glance.reading(route.format(image_id)) as read:
        delete(glance, image_id)
        breaks_off(glance, image_id, read)

    path = f'/v2/images/{image_id}/file'
    assert glance.request('GET', path) == (200, data)


@pytest.mark.parametrize('route', ROUTES)
def test_copy_is_being_deleted(glance, data, route):
    """The data are gone, and the database does not know it yet."""
    image_id = make(glance, data, 'fast', 'second')

    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        glance.reading(route.format(image_id)) as read,
    ):
        with pauses.paused(glance.root, pauses.DELETED) as pause:
            deletion = pool.submit(delete, glance, image_id)
            pause.wait()
            breaks_off(glance, image_id, read)
            assert not deletion.done()
        deletion.result()


def test_copy_is_made_again(glance, data):
    """What is there at the end is not what was read."""
    image_id = make(glance, data, 'fast', 'second')

    with glance.reading(f'/v2/images/{image_id}/file') as read:
        delete(glance, image_id)
        glance.copy_image(image_id, ['fast'])
        breaks_off(glance, image_id, read)


def test_image_is_deleted(glance, data):
    image_id = make(glance, data, 'fast')

    with glance.reading(f'/v2/images/{image_id}/file') as read:
        glance.delete_image(image_id)
        breaks_off(glance, image_id, read)


def test_other_copy_is_deleted(glance, data):
    """It is not the one that is read."""
    image_id = make(glance, data, 'fast', 'second')

    with glance.reading(f'/v2/images/{image_id}/file') as read:
        delete(glance, image_id, 'second')
        assert read() == data

    assert warnings(glance, image_id) == []


def test_deletion_is_delayed(own, data):
    """The data are there until Glance's scrubber comes."""
    glance = own(delayed_delete=True)
    image_id = make(glance, data, 'fast', 'second')

    for remove in (delete, lambda _, image: glance.delete_image(image)):
        with glance.reading(f'/v2/images/{image_id}/file') as read:
            remove(glance, image_id)
            assert read() == data

    assert warnings(glance, image_id) == []


def test_database_cannot_be_asked(glance, data):
    """What Glance alone would send is sent."""
    image_id = make(glance, data, 'fast')

    with (
        glance.reading(f'/v2/images/{image_id}/file') as read,
        renamed(glance, 'image_locations', 'elsewhere'),
    ):
        assert read() == data

    [line] = warnings(glance, image_id)
    assert 'it is not known whether that copy was deleted' in line


@contextlib.contextmanager
def renamed(glance, table, name):
    """Rename a table of Glance's database."""
    with contextlib.closing(
        sqlite3.connect(glance.root / 'glance.sqlite', timeout=30)
    ) as database:
        database.execute(f'ALTER TABLE {table} RENAME TO {name}')
        database.commit()
        try:
            yield
        finally:
            database.execute(f'ALTER TABLE {name} RENAME TO {table}')
            database.commit()


def test_copy_of_a_copy(glance, data):
    """Glance's own copy takes the next store, and has no zeros."""
    image_id = make(glance, data, 'fast', 'second')
    without_hash(glance, image_id)

    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        pauses.paused(glance.root, pauses.READ) as pause,
    ):
        copy = pool.submit(glance.copy_image, image_id, ['cheap'])
        pause.wait()
        delete(glance, image_id)
        pause.end()
        copy.result()

    assert glance.sha256(image_id) == {
        'cheap': hashlib.sha256(data).hexdigest()
    }
    assert len(warnings(glance, image_id)) == 1
    glance.change_database(
        'UPDATE image_locations SET deleted = 1, status = ? '
        'WHERE image_id = ? AND value LIKE ?',
        *('deleted', image_id, 'rbd://%/images/%'),
    )


def test_image_cache(own, data):
    """It keeps nothing of such a read."""
    glance = own(flavor='keystone+caching')
    image_id = make(glance, data, 'fast', 'second')
    without_hash(glance, image_id)
    path = f'/v2/images/{image_id}/file'

    with glance.reading(path) as read:
        delete(glance, image_id)
        with pytest.raises(http.client.IncompleteRead):
            read()

    assert not (glance.root / 'cache' / image_id).exists()
    assert glance.request('GET', path) == (200, data)
    assert (glance.root / 'cache' / image_id).read_bytes() == data
