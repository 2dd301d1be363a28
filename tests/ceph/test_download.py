"""nova-compute downloads an image, and a copy is deleted meanwhile."""

from __future__ import annotations

import hashlib
import os
import pathlib

from glanceclient.v2 import images as glanceclient_images
from nova import context as nova_context
from nova import exception as nova_exception
from nova.image import glance as nova_image
from nova.storage import rbd_utils
import pytest

from tests.ceph.conftest import MIB
from tests.cloud import glance as cloud_glance

#: More than all buffers on the way hold.
SIZE = 64 * MIB


@pytest.fixture
def context():
    """The member's."""
    return nova_context.RequestContext(
        user_id='demo',
        project_id='demo',
        roles=['member', 'reader'],
        auth_token=cloud_glance.token(),
    )


@pytest.fixture
def image(cloud):
    """An image in two stores; Glance reads it from Ceph.

    :returns: its id, and the digest of its data
    """
    data = bytes(512) + os.urandom(SIZE - 512)
    image_id = cloud.glance.create_image(
        data, stores=['fast', 'cheap'], disk_format='raw'
    )
    yield image_id, hashlib.sha256(data).hexdigest()
    cloud.glance.delete_image(image_id)


@pytest.fixture
def unhashed(cloud, image):
    """The same without any hash."""
    cloud.glance.change_database(
        'UPDATE images SET os_hash_algo = NULL, os_hash_value = NULL, '
        'checksum = NULL WHERE id = ?',
        image[0],
    )
    return image


def leave(glance, image_id, store='fast'):
    """Delete the copy that Glance reads."""
    path = f'/v2/stores/{store}/{image_id}'
    assert glance.request('DELETE', path, admin=True)[0] == 204


@pytest.fixture
def leaving(cloud, monkeypatch):
    """The copy is deleted when the first part of a download has come."""
    original = glanceclient_images.Controller.data
    left = []

    def data(*args, **kwargs):
        found = original(*args, **kwargs)
        body = found.wrapped.iterable

        def read():
            for piece in body:
                yield piece
                if not left:
                    left.append(args[1])
                    leave(cloud.glance, args[1])

        found.wrapped.iterable = read()
        return found

    monkeypatch.setattr(glanceclient_images.Controller, 'data', data)
    return left


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_read_again(cloud, context, unhashed, leaving, tmp_path):
    """Nova has the data of the other copy, not zeros."""
    image_id, expected = unhashed
    path = tmp_path / 'image'

    nova_image.API().download(context, image_id, dest_path=str(path))

    assert leaving == [image_id]
    assert digest(path) == expected
    cloud.nova.wait_for_line(f'Image {image_id} was deleted from fast while')


def test_into_a_file(cloud, context, unhashed, leaving, tmp_path):
    """The caller's own file has nothing of the first try."""
    image_id, expected = unhashed
    path = tmp_path / 'image'
    with path.open('w+b') as data:
        data.write(b'before')
        nova_image.API().download(context, image_id, data=data)

    assert path.read_bytes()[:6] == b'before'
    assert hashlib.sha256(path.read_bytes()[6:]).hexdigest() == expected


def test_caller_reads(cloud, context, unhashed, leaving):
    """Who reads the data does not get all of them for whole."""
    image_id, _expected = unhashed

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        list(nova_image.API().download(context, image_id))


def test_hashed(cloud, context, image, leaving, tmp_path):
    """glanceclient sees that the hash is another, and it is read again."""
    image_id, expected = image
    path = tmp_path / 'image'

    nova_image.API().download(context, image_id, dest_path=str(path))

    assert leaving == [image_id]
    assert digest(path) == expected


def test_damaged_copy(cloud, context, image, tmp_path):
    """What has another hash, and was not deleted, is Nova's own error."""
    image_id, _expected = image
    cloud.ceph.flip(f'images/{image_id}')

    with pytest.raises(OSError, match='Corrupt image download'):
        nova_image.API().download(
            context, image_id, dest_path=str(tmp_path / 'image')
        )


def test_questions(cloud, context, image, tmp_path):
    """One question more, if the image has a hash; one is for a near store."""
    image_id, _expected = image
    cloud.glance.forget_requests()

    nova_image.API().download(
        context, image_id, dest_path=str(tmp_path / 'image')
    )

    path = f'/v2/images/{image_id}'
    assert [r.path for r in cloud.glance.requests()].count(path) == 3


def test_ceph_directly(cloud, context, image, tmp_path, monkeypatch):
    """An export from Ceph is read again, too, as it has no hash."""
    image_id, expected = image
    cloud.show_locations(True)
    cloud.nova.conf(
        **{
            'glance.enable_rbd_download': True,
            'glance.rbd_user': 'admin',
            'glance.rbd_ceph_conf': str(cloud.ceph.configuration),
            'glance.rbd_pool': 'images',
        }
    )
    export = rbd_utils.RBDDriver.export_image
    exported = []

    def export_image(*args, **kwargs):
        exported.append(args)
        if len(exported) == 1:
            leave(cloud.glance, image_id)
            # As much as Ceph gives of what is gone.
            with pathlib.Path(args[1]).open('wb') as file:
                file.truncate(SIZE)
            return None
        return export(*args, **kwargs)

    monkeypatch.setattr(rbd_utils.RBDDriver, 'export_image', export_image)
    path = tmp_path / 'image'

    nova_image.API().download(context, image_id, dest_path=str(path))

    cloud.nova.conf(**{'glance.enable_rbd_download': False})
    cloud.show_locations(False)
    assert len(exported) == 1
    assert digest(path) == expected
