"""From which of its stores nova-compute downloads an image."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import pytest

from nova_multistore import lookup
from nova_multistore.compute import download_store as near_store
from tests.ceph.conftest import MIB

pytestmark = pytest.mark.skipif(
    not near_store.can_prefer(), reason='glanceclient is older than 4.12'
)

DATA = os.urandom(4 * MIB)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def make(cloud, tmp_path):
    """Make an image that cannot be cloned, so that it is downloaded."""
    made = []
    raw, qcow2 = tmp_path / 'raw', tmp_path / 'qcow2'
    raw.write_bytes(DATA)
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )

    def make(*stores):
        made.append(
            cloud.glance.create_image(
                qcow2, stores=stores, visibility='public'
            )
        )
        return made[-1]

    yield make
    for image_id in made:
        cloud.glance.delete_image(image_id)


def start(cloud, image_id):
    """Start a server.

    :returns: the queries and answers of all downloads that Glance was asked
        for
    """
    cloud.glance.forget_requests()
    server = cloud.nova.create_server(image_id)
    digest = cloud.ceph.sha256(cloud.disk(server))
    cloud.nova.delete_server(server)
    assert digest == DIGEST
    return [
        (r.query, r.status)
        for r in cloud.glance.requests()
        if r.method == 'GET' and r.path.endswith('/file')
    ]


def test_own_store(cloud, make):
    """Nothing is read from the store that Glance would take."""
    image_id = make('cheap', 'fast')
    cloud.glance.files(image_id)['cheap'].unlink()

    assert start(cloud, image_id) == [('prefer=fast', 200)]
    cloud.nova.wait_for_line(
        f'Image {image_id} is downloaded, preferably from store fast'
    )


def test_own_store_lost_its_copy(cloud, make):
    """A preference is no guarantee: Glance sends another copy."""
    image_id = make('cheap', 'fast')
    image = f'images/{image_id}'
    cloud.ceph.rbd('snap', 'unprotect', f'{image}@snap')
    cloud.ceph.rbd('snap', 'purge', '--no-progress', image)
    cloud.ceph.rbd('rm', '--no-progress', image)

    assert start(cloud, image_id) == [('prefer=fast', 200)]
    cloud.ceph.rbd('create', '--size', '1M', image)
    cloud.ceph.rbd('snap', 'create', '--no-progress', f'{image}@snap')
    cloud.ceph.rbd('snap', 'protect', f'{image}@snap')


def test_own_copy_is_damaged(cloud, make):
    """The copy that Glance would have sent is whole."""
    image_id = make('cheap', 'fast')
    cloud.ceph.flip(f'images/{image_id}')

    assert start(cloud, image_id) == [('prefer=fast', 200), ('', 200)]
    cloud.nova.wait_for_line(
        f'The copy of image {image_id} in store fast cannot be used', 30
    )


@pytest.mark.parametrize('stores', [['cheap'], ['cheap', 'far']])
def test_elsewhere(cloud, make, stores):
    """A store without the image is not named."""
    assert start(cloud, make(*stores)) == [('', 200)]


def test_store_of_snapshots(cloud, make):
    """``[glance] store`` says where they go, not what is near."""
    cloud.nova.conf(**{'glance.store': 'cheap'})

    assert start(cloud, make('far', 'cheap')) == [('', 200)]


@pytest.mark.parametrize(
    ('option', 'value'),
    [('user_storage_quota', '1'), ('image_location_quota', '1')],
)
def test_quota(cloud, make, option, value):
    """Glance counts an image whose locations it puts in another order.

    It answers 500, and sends the image to whoever prefers nothing.
    """
    image_id = make('cheap', 'fast')
    with cloud.glance.configured(**{option: value}):
        downloads = start(cloud, image_id)

    assert downloads == [('prefer=fast', 500), ('', 200)]


def test_policy(cloud, make, tmp_path):
    """Who may not prefer a store gets the image as before."""
    image_id = make('cheap', 'fast')
    policy = tmp_path / 'policy.yaml'
    policy.write_text(json.dumps({'download_from_store': 'role:admin'}))
    with cloud.glance.configured(**{'oslo_policy.policy_file': policy}):
        downloads = start(cloud, image_id)

    assert downloads == [('prefer=fast', 403), ('', 200)]


def test_glance_is_silent(cloud, make, monkeypatch):
    """The download goes on if Glance does not say where the image is."""

    def fail(*_args, **_kwargs):
        raise lookup.exception.LookupFailed('no answer')

    image_id = make('cheap', 'fast')
    monkeypatch.setattr(lookup, 'base_image', fail)

    assert start(cloud, image_id) == [('', 200)]
