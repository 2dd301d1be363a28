"""No copy is deleted unless another one is proven whole."""

from __future__ import annotations

import contextlib
import os
from unittest import mock

import pytest

from nova_multistore import copies
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from nova_multistore.osc import store_drain
from nova_multistore.osc.placement import apply as placement_apply
from tests import command
from tests.ceph.conftest import MIB
from tests.cloud import glance as cloud_glance
from tests.functional import end_background

#: Glance hashes no locations.
NO_HASHES = {'do_secure_hash': False}


@contextlib.contextmanager
def planted(glance, data):
    """What is copied are these data."""
    ask = image_api.Images.import_data

    def import_data(images, image_id, *args, **kwargs):
        glance.plant(image_id, data)
        return ask(images, image_id, *args, **kwargs)

    with mock.patch.object(image_api.Images, 'import_data', import_data):
        yield


def wrong(cloud, server):
    """Return data as long as the server's disk."""
    return os.urandom(512) + bytes(4 * MIB - 512)


@pytest.mark.parametrize('filters', [{}, cloud_glance.FILTER])
def test_wrong_copy(moving, clone, admin, audited, filters):
    """It never becomes the only one, however often it is tried."""
    digest = moving.ceph.sha256(moving.disk(clone))
    with moving.glance.configured(filters, **NO_HASHES):
        with planted(moving.glance, wrong(moving, clone)):
            image_id = moving.nova.snapshot(clone)
            line = moving.nova.wait_for_line('stays in store fast')
        end_background()
        assert moving.data(image_id)['fast'] == digest
        assert {*moving.data(image_id)} == {'cheap', 'fast'}

        moving.age(image_id)
        [row] = audited(image_id, '--fix')
        moved = command.run(
            image_relocate.RelocateImage, admin, image_id, '--to', 'cheap'
        )
        drained = command.run(
            store_drain.DrainStore, admin, 'fast', '--to', 'cheap'
        )
        path = moving.nova.root / 'placements.yaml'
        path.write_text(
            'placements:\n- name: all\n  images: all\n  stores: [cheap]\n'
        )
        pruned = command.run(
            placement_apply.ApplyPlacements, admin, str(path), '--prune'
        )

        assert moving.data(image_id)['fast'] == digest
        assert {*moving.data(image_id)} == {'cheap', 'fast'}
        if filters:
            verified = command.run(
                image_verify.VerifyImages, admin, image_id, '--fix'
            )
            assert verified.code == 1
            assert {*verified.states.values()} == {'different'}
            assert moving.data(image_id)['fast'] == digest
    why = 'its copies are not alike' if filters else "nova-multistore's filter"
    assert why in line
    assert why in row['remedy']
    assert (moved.code, why in moved.words) == (1, True)
    [row] = [row for row in drained.rows if row['id'] == image_id]
    assert (drained.code, why in row['reason']) in ((1, True), (3, True))
    [row] = [r for r in pruned.rows if r['image_id'] == image_id]
    assert (pruned.code, why in row['reason']) in ((1, True), (3, True))
    moving.glance.delete_image(image_id)


def test_copies_are_compared(moving, clone):
    """An image that was never hashed moves, as its copies are alike."""
    digest = moving.ceph.sha256(moving.disk(clone))
    with moving.glance.configured(cloud_glance.FILTER, **NO_HASHES):
        # That Glance is too busy to write the property keeps no copy from
        # being made; it is not so twice.
        for _attempt in range(2):
            image_id = moving.nova.snapshot(clone)
            moving.nova.wait_for_line(
                f'{image_id} has moved from store fast to cheap'
            )
            assert moving.data(image_id) == {'cheap': digest}
            image = moving.glance.image(image_id)
            assert record.MOVE_FROM not in image
            if copies.HASH in image:
                break
            moving.glance.delete_image(image_id)
        assert image[copies.HASH] == copies.NO_HASH
    moving.glance.delete_image(image_id)


def test_hash_that_a_copy_has_brought(cloud, clone, admin):
    """It proves nothing, whoever asked for the copy."""
    cloud.show_locations(True)
    with cloud.glance.configured({}, **NO_HASHES):
        image_id = cloud.nova.snapshot(clone)
        cloud.glance.plant(image_id, wrong(cloud, clone))
        cloud.glance.copy_image(image_id, ['cheap'])
        image = cloud.glance.image(image_id)
        assert image['os_hash_value']
        assert copies.HASH not in image

        result = command.run(
            image_relocate.RelocateImage, admin, image_id, '--to', 'cheap'
        )

        assert result.code == 1
        assert 'may be that of a copy' in result.words
        assert {*cloud.data(image_id)} == {'cheap', 'fast'}
    cloud.show_locations(False)
    cloud.glance.delete_image(image_id)


def test_clone_is_hashed_first(moving, clone):
    """A move waits for the hash, and goes by it: nothing is read."""
    image_id = moving.nova.snapshot(clone)
    moving.nova.wait_for_line('has moved from store fast to cheap')

    image = moving.glance.image(image_id)
    assert image[copies.HASH] == f'sha512:{image["os_hash_value"]}'
    assert not [
        r
        for r in moving.glance.requests()
        if r.method == 'GET' and r.path.endswith(f'/cheap/{image_id}')
    ]
    moving.glance.delete_image(image_id)
