"""Snapshots that are made in Ceph, and move from there to another store."""

from __future__ import annotations

import threading
import time
from unittest import mock

import pytest

from nova_multistore import image_api
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore.compute import after_snapshot
from tests.functional import broken
from tests.functional import end_background

#: The requests of a move that change something.
STEPS = 'import_data', 'delete_from', 'remove_property'


def is_whole(cloud, image_id, digest):
    """Tell whether each store that has the image has the server's data."""
    present, data = None, {}
    # What is read while it moves is not of one moment.
    while present != cloud.glance.stores_of(image_id):
        present = cloud.glance.stores_of(image_id)
        data = cloud.data(image_id)
    assert present
    return all(data.get(store) == digest for store in present)


@pytest.mark.eventlet
def test_moves(moving, clone):
    """It is a clone at first, and is whole wherever it is listed."""
    digest = moving.ceph.sha256(moving.disk(clone))
    moving.nova.records.clear()
    moving.glance.forget_requests()
    with mock.patch.object(moving.nova.driver, 'suspend') as suspend:
        image_id = moving.nova.snapshot(clone)

    assert moving.glance.image(image_id)['status'] == 'active'
    assert is_whole(moving, image_id, digest)
    moving.nova.wait_for_line(
        f'Image {image_id} has moved from store fast to cheap'
    )
    assert moving.data(image_id) == {'cheap': digest}
    image = moving.glance.image(image_id)
    assert record.MOVE_FROM not in image
    assert (image[record.RULE], image[record.STORE]) == ('move', 'cheap')
    assert not any(r.is_upload for r in moving.glance.requests())
    assert not suspend.called
    assert list((moving.nova.root / 'snapshots').iterdir()) == []
    moving.glance.delete_image(image_id)


def test_readers_have_time(moving, clone, audited, monkeypatch):
    """The clone stays for a while, which is no problem to the audit."""
    monkeypatch.setattr(relocation, 'GRACE', 4.0)
    digest = moving.ceph.sha256(moving.disk(clone))
    moving.nova.records.clear()
    image_id = moving.nova.snapshot(clone)
    moving.nova.wait_for_line('leaves store fast in 4 seconds')
    proven = time.monotonic()

    assert moving.data(image_id) == dict.fromkeys(['cheap', 'fast'], digest)
    assert moving.glance.image(image_id)[record.MOVE_FROM] == 'fast'
    assert audited(image_id) == []

    moving.nova.wait_for_line('has moved from store fast to cheap')
    assert time.monotonic() - proven > 3.0
    assert moving.data(image_id) == {'cheap': digest}
    moving.glance.delete_image(image_id)


def test_with_copies(moving, clone):
    """They are made as well; and a store that is to have one keeps it."""
    digest = moving.ceph.sha256(moving.disk(clone))
    for wanted, left in (
        (['second'], {'cheap', 'second'}),
        (['second', 'fast'], {'cheap', 'fast', 'second'}),
    ):
        moving.nova.conf(**{'nova_multistore.copy_to': wanted})
        moving.nova.records.clear()

        image_id = moving.nova.snapshot(clone)

        moving.nova.conf(**{'nova_multistore.copy_to': []})
        last = 'has moved from' if 'fast' not in wanted else 'in store fast'
        moving.nova.wait_for_line(last)
        assert moving.data(image_id) == dict.fromkeys(left, digest)
        assert record.MOVE_FROM not in moving.glance.image(image_id)
        moving.glance.delete_image(image_id)


def test_disk_that_is_not_cloned(moving, clone):
    """An image that is not raw is uploaded to that store straight away."""
    moving.nova.conf(**{'libvirt.snapshot_image_format': 'qcow2'})

    image_id = moving.nova.snapshot(clone)

    moving.nova.conf(**{'libvirt.snapshot_image_format': None})
    assert moving.glance.stores_of(image_id) == ['cheap']
    assert record.MOVE_FROM not in moving.glance.image(image_id)
    moving.glance.delete_image(image_id)


def test_pool_that_takes_nothing(moving, clone):
    """It is uploaded to that store, and there is nothing left to move."""
    moving.nova.records.clear()
    with mock.patch(
        'nova.storage.rbd_utils.RBDDriver.clone', side_effect=OSError
    ):
        image_id = moving.nova.snapshot(clone)

    moving.nova.wait_for_line('is in store cheap, and need not move')
    image = moving.glance.image(image_id)
    assert (image['status'], image['stores']) == ('active', 'cheap')
    assert record.MOVE_FROM not in image
    moving.glance.delete_image(image_id)


def test_server_that_was_started_from_it(moving, clone, audited):
    """Ceph keeps it as long as that has its data; then it can move."""
    moving.nova.conf(**{'nova_multistore.auth_type': None})
    moving.nova.records.clear()
    moving.show_locations(True)
    image_id = moving.nova.snapshot(clone)
    moving.nova.wait_for_line('stays in store fast')
    moving.glance.finish_tasks(image_id)
    digest = moving.ceph.sha256(moving.disk(clone))
    server = moving.nova.create_server(image_id)
    assert moving.has_parent(server)
    moving.show_locations(False)

    [known] = audited(image_id, '--fix')
    moving.age(image_id)
    [row] = audited(image_id, '--fix', '--even-in-use')

    assert 'a disk that is a clone needs it there' in known['remedy']
    assert row['remedy'].startswith('not moved to cheap: in use: ')
    assert is_whole(moving, image_id, digest)
    moving.nova.delete_server(server)
    moving.age(image_id)
    [row] = audited(image_id, '--fix')
    assert row['remedy'] == 'moved to cheap'
    assert moving.data(image_id) == {'cheap': digest}
    moving.glance.delete_image(image_id)


def test_target_that_is_full(moving, clone, audited, monkeypatch):
    """It stays where it is, which is logged, until there is room."""
    digest = moving.ceph.sha256(moving.disk(clone))
    moving.nova.records.clear()
    with broken(moving.glance, 'cheap'):
        image_id = moving.nova.snapshot(clone)
        line = moving.nova.wait_for_line('stays in store fast')
        assert moving.data(image_id) == {'fast': digest}
        assert is_whole(moving, image_id, digest)
        [row] = audited(image_id)

    assert f'relocate {image_id} --to cheap --from fast' in line
    assert f'relocate {image_id} --to cheap --from fast' in row['remedy']
    audited(image_id, '--fix')
    assert moving.data(image_id) == {'cheap': digest}
    moving.glance.delete_image(image_id)


def test_deleted_meanwhile(moving, clone, monkeypatch):
    """Nothing is left of it."""
    asked = threading.Event()
    proceed = threading.Event()
    ask = image_api.Images.import_data

    def import_data(*args, **kwargs):
        asked.set()
        assert proceed.wait(60)
        return ask(*args, **kwargs)

    monkeypatch.setattr(image_api.Images, 'import_data', import_data)
    moving.nova.records.clear()
    image_id = moving.nova.snapshot(clone)
    assert asked.wait(60)
    moving.glance.finish_tasks(image_id)
    moving.glance.delete_image(image_id)
    proceed.set()

    moving.nova.wait_for_line(f'Image {image_id} is gone')
    assert moving.data(image_id) == {}


@pytest.mark.parametrize('killed', ['nova-compute', 'glance'])
@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('step', STEPS)
def test_killed(moving, clone, audited, monkeypatch, step, when, killed):
    """It is whole at each moment, and the audit ends the move."""
    digest = moving.ceph.sha256(moving.disk(clone))
    original = getattr(image_api.Images, step)
    if (step, killed) == ('import_data', 'glance'):
        # It would wait for Glance to come back.
        monkeypatch.setattr(after_snapshot, 'PATIENCE', 1.0)
    dead = threading.Event()

    def die():
        if killed == 'glance':
            moving.glance.kill()
            return
        # As for a process that is no more, nothing is logged or cleaned up.
        dead.set()
        raise SystemExit

    def request(*args, **kwargs):
        if dead.is_set():
            raise SystemExit
        if when == 'before':
            die()
            return original(*args, **kwargs)
        original(*args, **kwargs)
        die()
        return None

    with monkeypatch.context() as patched:
        patched.setattr(image_api.Images, step, request)
        image_id = moving.nova.snapshot(clone)
        end_background()
    if killed == 'glance':
        moving.glance.start()
        assert is_whole(moving, image_id, digest)
    else:
        moving.glance.finish_tasks(image_id)
    assert is_whole(moving, image_id, digest)
    # Nobody works on it any more, which shows after two hours at most.
    moving.age(image_id)
    # A file that Glance was writing is in the way of another one.
    if moving.glance.stores_of(image_id) == ['fast']:
        (moving.glance.directory('cheap') / image_id).unlink(missing_ok=True)

    audited(image_id, '--fix')

    assert audited(image_id) == []
    assert moving.data(image_id) == {'cheap': digest}
    moving.glance.delete_image(image_id)
