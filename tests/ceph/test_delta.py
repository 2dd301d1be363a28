"""Copies to another site's Ceph, of which only the changes are sent."""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
import uuid

import pytest

from nova_multistore.glance import remnants
from tests import patience
from tests.ceph import deltas
from tests.ceph.deltas import MIB
from tests.ceph.deltas import POOL
from tests.ceph.deltas import SERVER
from tests.ceph.deltas import begin_copy
from tests.ceph.deltas import message
from tests.cloud import glance as cloud_glance


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """This site's Glance, and the other site's Ceph."""
    with deltas.running(tmp_path_factory.mktemp('site')) as found:
        if not found[0].tasks:
            pytest.skip(deltas.NO_TASKS)
        yield found


@pytest.fixture(scope='module')
def ceph(site):
    return site[0]


@pytest.fixture(scope='module')
def glance(site):
    return site[1]


@pytest.fixture
def clean(glance, ceph):
    """The same; nothing may be left in the end."""
    yield glance
    glance.clear()
    assert ceph.images(POOL) == []


@pytest.fixture
def base(clean):
    """A base image in both, with holes; its id and its data."""
    data = noise(8, seed=1)
    data[2 * MIB : 4 * MIB] = bytes(2 * MIB)
    return create(clean, data, 'site', 'central'), data


def noise(mib, seed):
    return bytearray(random.Random(seed).randbytes(mib * MIB))


def create(glance, data, *stores, **properties):
    return glance.create_image(
        bytes(data), stores=stores, disk_format='raw', **properties
    )


def copy(glance, ceph, image_id, data):
    """Copy an image, and make sure that it is whole.

    :returns: what Glance's task says in the end
    """
    glance.copy_image(image_id, ['central'])
    whole(glance, ceph, image_id, data)
    return message(glance, image_id)


def wait(happens):
    left = patience.Patience(90)
    while not happens():
        assert left
        time.sleep(0.1)


def whole(glance, ceph, image_id, data):
    wanted = hashlib.sha256(data).hexdigest()
    name = f'{POOL}/{image_id}'
    assert ceph.sha256(f'{name}@snap') == wanted
    assert ceph.snapshots(POOL)[image_id] == ['snap']
    assert 'parent:' not in ceph.rbd('info', name)
    assert 'protected: True' in ceph.rbd('info', f'{name}@snap')
    image = glance.image(image_id)
    assert image['os_hash_value'] == hashlib.sha512(data).hexdigest()
    assert 'central' in glance.stores_of(image_id)


def reason(glance, image_id):
    """Return why an image was sent whole, as the log says."""
    [found] = re.findall(
        f'Image {image_id} is sent whole to store central: (.*?)(?:\x1b.*)?$',
        glance.log.read_text(),
        re.MULTILINE,
    )
    return found


def test_snapshot_against_its_base_image(clean, ceph, base):
    """Only blocks that differ are sent, and a disk may have grown."""
    base_id, data = base
    data = data + bytes(MIB) + b'end'
    data[5000:5010] = b'0123456789'
    data[3 * MIB : 3 * MIB + 8192] = b'x' * 8192
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    # Zeros that follow the base image are there already.
    assert copy(clean, ceph, snapshot, data) == (
        f'Sent {4096 + 8192 + 3} of {len(data)} bytes to store central: the '
        f'rest is as in image {base_id}'
    )


def test_second_backup(clean, ceph, base):
    """It is compared with the newest one of the same server."""
    base_id, data = base
    properties = {'instance_uuid': SERVER, 'base_image_ref': base_id}
    first = data + noise(4, seed=2)
    second = bytearray(first)
    second[9 * MIB] ^= 1
    ids = []
    for backup in (first, second):
        ids.append(create(clean, backup, 'site', **properties))
        said = copy(clean, ceph, ids[-1], backup)
        # The time of creation has seconds.
        time.sleep(1.1)
    assert said.startswith(f'Sent 4096 of {len(second)} bytes')
    assert said.endswith(f'as in image {ids[0]}')


def test_zeros_are_written(clean, ceph, base):
    """Data of the base image that became zeros."""
    base_id, data = base
    data[MIB : 2 * MIB] = bytes(MIB)
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    assert copy(clean, ceph, snapshot, data).startswith(f'Sent {MIB} of')


@pytest.mark.parametrize('size', [1, 4095, 4097, MIB - 1, MIB, 3 * MIB + 7])
def test_odd_sizes(clean, ceph, size):
    data = noise(4, seed=3)[:size]
    base_id = create(clean, data, 'site', 'central')
    data[-1] ^= 1
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    sent = min(size, (size - 1) % 4096 + 1)
    assert copy(clean, ceph, snapshot, data).startswith(
        f'Sent {sent} of {size} bytes'
    )


def test_candidate_of_zeros(clean, ceph):
    """Ceph keeps no objects for it."""
    base_id = create(clean, bytes(3 * MIB), 'site', 'central')
    data = bytes(MIB) + noise(1, seed=4) + bytes(2 * MIB)
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    said = copy(clean, ceph, snapshot, data)
    assert said.startswith(f'Sent {MIB} of {len(data)} bytes')


# What is sent whole.


@pytest.mark.parametrize(
    'stores', [(), ('site',), ('central',)], ids=lambda stores: str(stores)
)
def test_no_candidate(clean, ceph, base, stores):
    """The base image is not in both."""
    _, data = base
    properties = {}
    if stores:
        properties['base_image_ref'] = create(clean, data, *stores)
    snapshot = create(clean, data, 'site', **properties)
    assert not copy(clean, ceph, snapshot, data).startswith('Sent')
    assert 'no other image of its server' in reason(clean, snapshot)


def test_image_of_others(clean, ceph):
    """A tenant names an image that it may not see."""
    data = noise(2, seed=5)
    base_id = create(
        clean, data, 'site', 'central', project='other', instance_uuid=SERVER
    )
    snapshot = create(
        clean, data, 'site', base_image_ref=base_id, instance_uuid=SERVER
    )
    copy(clean, ceph, snapshot, data)
    assert 'no other image of its server' in reason(clean, snapshot)


def test_smaller_than_the_base_image(clean, ceph, base):
    base_id, data = base
    snapshot = create(clean, data[:MIB], 'site', base_image_ref=base_id)
    copy(clean, ceph, snapshot, data[:MIB])
    assert 'no other image of its server' in reason(clean, snapshot)


def test_not_raw(clean, ceph, base):
    """What is compressed, for example, has nothing alike."""
    base_id, data = base
    snapshot = clean.create_image(
        bytes(data),
        stores=['site'],
        disk_format='ploop',
        base_image_ref=base_id,
    )
    copy(clean, ceph, snapshot, data)
    assert reason(clean, snapshot) == 'it is not raw'


def test_damaged_there(clean, ceph, base):
    """The proof finds one bit."""
    base_id, data = base
    ceph.flip(f'{POOL}/{base_id}', 5 * MIB)
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    copy(clean, ceph, snapshot, data)
    assert reason(clean, snapshot).startswith('object 5 in the store is not')


def test_damaged_here(clean, ceph, base):
    base_id, data = base
    data[6 * MIB] ^= 1
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    # It seems to be the same.
    clean.flip('site', base_id, 6 * MIB)
    copy(clean, ceph, snapshot, data)
    assert reason(clean, snapshot).startswith('object 6 in the store is not')


def test_lost_there(clean, ceph, base):
    base_id, data = base
    ceph.rbd('snap', 'unprotect', f'{POOL}/{base_id}@snap')
    ceph.rbd('snap', 'purge', '--no-progress', f'{POOL}/{base_id}')
    ceph.rbd('rm', '--no-progress', f'{POOL}/{base_id}')
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    copy(clean, ceph, snapshot, data)
    assert 'ImageNotFound' in reason(clean, snapshot)
    # Or Glance could not delete it.
    clean.change_database(
        "DELETE FROM image_locations WHERE image_id = ? AND value LIKE 'rbd%'",
        base_id,
    )


def test_lost_here(clean, ceph, base):
    base_id, data = base
    (clean.directory('site') / base_id).unlink()
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    copy(clean, ceph, snapshot, data)
    assert 'NotFound' in reason(clean, snapshot)


@pytest.fixture
def manager(ceph):
    """Have the manager stand still, or not."""
    process = ceph._processes['ceph-mgr']
    yield process
    process.send_signal(18)


def test_manager_hangs(clean, ceph, base, manager):
    base_id, data = base
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    manager.send_signal(19)
    copy(clean, ceph, snapshot, data)
    assert reason(clean, snapshot) == (
        "Ceph's manager does not obey 'rbd task add flatten': Connection "
        'timed out'
    )


# What a glance-api leaves that was killed.


def test_remnant(clean, ceph, base):
    """It is removed, and the copy is made."""
    base_id, data = base
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    ceph.rbd('create', '--size', '5M', f'{POOL}/{snapshot}')
    assert copy(clean, ceph, snapshot, data).startswith('Sent 0 of')
    assert 'it is removed now' in clean.log.read_text()


def test_finished_image_is_no_remnant(clean, ceph, base):
    """Stock Glance fails, and nothing is removed."""
    base_id, data = base
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    name = f'{POOL}/{snapshot}'
    ceph.rbd('create', '--size', '5M', name)
    ceph.rbd('snap', 'create', '--no-progress', f'{name}@other')
    with pytest.raises(cloud_glance.GlanceFailed):
        clean.copy_image(snapshot, ['central'])
    assert ceph.snapshots(POOL)[snapshot] == ['other']
    ceph.rbd('snap', 'purge', '--no-progress', name)
    ceph.rbd('rm', '--no-progress', name)


def test_discarded_while_it_is_in_use(ceph, monkeypatch):
    """It gets another name: Glance can send the image whole."""
    monkeypatch.setattr(remnants, '_WATCHED', 0)
    name = str(uuid.uuid4())
    ceph.rbd('create', '--size', '5M', f'{POOL}/{name}')
    with ceph._open(POOL) as (rbd, ioctx), ceph._open(POOL) as (_, other):
        with rbd.Image(other, name):
            remnants.discard(ioctx, name)
            [aside] = ceph.images(POOL)
            assert aside.startswith(f'{name}.discarded-')
        rbd.RBD().remove(ioctx, aside)


@pytest.fixture
def stopping(glance):
    """Glance stops at a step, for the test to kill it there.

    :returns: sets the step, a function, and waits until Glance is there
    """
    step = glance.root / 'step'
    with glance.configured(
        filters={
            'multistore': {
                'paste.filter_factory': 'tests.ceph.stopping:filter_factory',
                'delta_stores': 'central',
                'step': str(step),
            }
        }
    ):
        yield step
        step.unlink(missing_ok=True)


@pytest.mark.parametrize(
    'step',
    [
        'after rbd:RBD.clone',
        'after nova_multistore.glance.delta:Delta._flatten',
        'after nova_multistore.glance.delta:Delta._write',
        'before rbd:Image.create_snap',
        'before rbd:Image.protect_snap',
        'after nova_multistore.glance.delta_add:_tell',
    ],
)
def test_killed(clean, ceph, base, stopping, step):
    """The next copy is whole, and nothing is left."""
    base_id, data = base
    data[MIB] ^= 1
    snapshot = create(clean, data, 'site', base_image_ref=base_id)
    stopping.write_text(step)
    assert begin_copy(clean, snapshot) == 202
    wait(lambda: not stopping.exists())
    clean.kill()
    clean.start()
    # Glance believes it at work for an hour; Ceph, for half a minute.
    clean.age_tasks(snapshot)
    assert begin_copy(clean, snapshot) == 202
    wait(lambda: 'central' in clean.stores_of(snapshot))
    wait(lambda: message(clean, snapshot).startswith('Sent 4096 of'))
    whole(clean, ceph, snapshot, data)


def test_random_images_and_faults(clean, ceph):
    """A seed makes them; ``make deltas`` has many more."""
    run = deltas.Run(ceph, clean, seed=1)
    for _ in range(15):
        run.copy()

    assert run.wrong == []
    assert run.ends['delta, no fault'] > 5


def test_four_at_once(clean, ceph, base):
    base_id, data = base
    made = {}
    for number in range(4):
        data[number * MIB] ^= 1
        made[create(clean, data, 'site', base_image_ref=base_id)] = bytes(data)
    threads = [
        threading.Thread(target=clean.copy_image, args=(each, ['central']))
        for each in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for image_id, wanted in made.items():
        whole(clean, ceph, image_id, wanted)
        assert message(clean, image_id).startswith('Sent')
