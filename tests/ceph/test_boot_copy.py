"""A member starts servers from images that are not in the compute's Ceph."""

from __future__ import annotations

import hashlib
import os
import subprocess

from nova import exception as nova_exception
from nova.virt.libvirt import imagebackend
import pytest

from nova_multistore import opts
from nova_multistore.compute import download_store as near_store
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova

MIB = 1 << 20
DATA = os.urandom(4 * MIB)
#: How many servers start at once.
MANY = 20


@pytest.fixture
def near(cloud):
    """Nova clones images, and has Glance copy them to ``fast`` before."""
    cloud.show_locations(True)
    cloud.nova.conf(**{'libvirt.images_rbd_glance_store_name': 'fast'})
    yield cloud
    cloud.nova.conf(**{'libvirt.images_rbd_glance_store_name': ''})
    cloud.show_locations(False)


@pytest.fixture
def privileged(near):
    """The same, with credentials in ``[nova_multistore]``."""
    cloud_nova.register_credentials(opts.COPY_GROUP)
    near.nova.conf(
        **cloud_nova.credentials(
            opts.COPY_GROUP, near.glance.url, cloud_glance.ADMIN
        )
    )
    yield near
    near.nova.conf(**{'nova_multistore.auth_type': None})


@pytest.fixture
def image(near):
    """An image in files alone."""
    image_id = near.glance.create_image(
        DATA, stores=['cheap'], disk_format='raw'
    )
    yield image_id
    near.glance.delete_image(image_id)


def started(cloud, image_id, count=1):
    """Start servers at once; return their ids when all are active."""
    servers = [
        cloud.nova.create_server(image_id, wait=False) for _ in range(count)
    ]
    for server in servers:
        cloud.nova.wait(server, 'ACTIVE')
    return servers


def copies_asked(glance):
    return [r for r in glance.requests() if r.path.endswith('/import')]


def test_one(privileged, image):
    """The disk is a clone of the copy, and has all of the data."""
    privileged.nova.records.clear()

    [server] = started(privileged, image)

    assert privileged.glance.stores_of(image) == ['cheap', 'fast']
    assert privileged.has_parent(server)
    disk = privileged.ceph.sha256(privileged.disk(server))
    assert disk == hashlib.sha256(DATA).hexdigest()
    privileged.nova.wait_for_line(f'Image {image} has a copy in store fast')
    privileged.nova.delete_server(server)


def test_many_at_once(privileged, image):
    """One copy is made for all."""
    privileged.nova.conf(**{'quota.instances': -1, 'quota.cores': -1})
    privileged.glance.forget_requests()

    servers = started(privileged, image, MANY)

    accepted = [r for r in copies_asked(privileged.glance) if r.status == 202]
    assert len(accepted) == 1
    assert all(privileged.has_parent(server) for server in servers)
    for server in servers:
        privileged.nova.delete_server(server)


@pytest.mark.skipif(
    not near_store.can_prefer(), reason='glanceclient is older than 4.12'
)
def test_image_that_cannot_be_cloned(privileged, tmp_path):
    """It is read from the own Ceph, not from the default store."""
    raw, qcow2 = tmp_path / 'raw', tmp_path / 'qcow2'
    raw.write_bytes(DATA)
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    image_id = privileged.glance.create_image(qcow2, stores=['cheap', 'fast'])
    privileged.glance.files(image_id)['cheap'].unlink()
    privileged.glance.forget_requests()

    [server] = started(privileged, image_id)

    disk = privileged.ceph.sha256(privileged.disk(server))
    assert disk == hashlib.sha256(DATA).hexdigest()
    [download] = [
        r
        for r in privileged.glance.requests()
        if r.method == 'GET' and r.path.endswith('/file')
    ]
    assert download.query == 'prefer=fast'
    privileged.nova.delete_server(server)
    privileged.glance.delete_image(image_id)


def test_without_credentials(near, image):
    """It is as with stock Nova, but for the words of the fault."""
    server = near.nova.create_server(image, wait=False)

    with pytest.raises(cloud_nova.NovaFailed):
        near.nova.wait(server, 'ACTIVE')

    assert near.nova.server(server)['status'] == 'ERROR'
    assert near.glance.stores_of(image) == ['cheap']
    fault = near.nova.server(server)['fault']['message']
    assert fault.startswith(
        f"Image {image} needs a copy in 'fast': Glance's policy copy_image "
        'denies this user'
    )
    # Nova has not cut it off before the command ends.
    assert f'image copy {image} --store fast)' in fault
    near.nova.wait_for_line('or give [nova_multistore] in nova.conf', 30)
    near.nova.delete_server(server)


@pytest.fixture
def refusals(near, monkeypatch):
    """The hosts on which Glance refuses to copy an image.

    After the first refusal, nova.conf has no store in Ceph: so it is on the
    next host.
    """
    hosts = []
    original = imagebackend.IMAGE_API.copy_image_to_store

    def copy(*args, **kwargs):
        try:
            return original(*args, **kwargs)
        except nova_exception.ImageNotAuthorized:
            hosts.append(len(hosts))
            near.nova.conf(**{'libvirt.images_rbd_glance_store_name': ''})
            raise

    monkeypatch.setattr(imagebackend.IMAGE_API, 'copy_image_to_store', copy)
    return hosts


def test_without_credentials_on_one_of_two_hosts(near, image, refusals):
    """Nova tries the other, which downloads the image."""
    with near.nova.second_compute():
        [server] = started(near, image)

        near.nova.delete_server(server)
    assert len(refusals) == 1
    near.nova.wait_for_line('copy_image denies this user', 30)


def test_without_credentials_on_both_hosts(near, image):
    """The last one says why."""
    with near.nova.second_compute():
        server = near.nova.create_server(image, wait=False)
        with pytest.raises(cloud_nova.NovaFailed):
            near.nova.wait(server, 'ACTIVE')
        fault = near.nova.server(server)['fault']['message']
        near.nova.delete_server(server)

    assert 'copy_image denies this user' in fault
    said = [
        line
        for line in near.nova.log_lines(30)
        if line.startswith(f'Image {image} needs a copy in')
    ]
    assert len(said) == 2


def test_image_of_somebody_else(privileged):
    """It is no more visible than before: nothing is copied."""
    foreign = privileged.glance.create_image(
        DATA, stores=['cheap'], disk_format='raw', project='other'
    )
    privileged.glance.forget_requests()

    with pytest.raises(Exception, match=r'400|404'):
        privileged.nova.create_server(foreign)

    assert copies_asked(privileged.glance) == []
    assert privileged.glance.stores_of(foreign) == ['cheap']
    privileged.glance.delete_image(foreign)
