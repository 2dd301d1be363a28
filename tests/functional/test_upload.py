"""One upload of Nova's image API to the real Glance, cut on the way.

The data has no format that Glance could know by its beginning, as the disks
of computes with raw images have none.
"""

from __future__ import annotations

import hashlib
import os
import threading

from nova import context as nova_context
from nova.image import glance as nova_glance
import pytest

from nova_multistore.compute import body
from nova_multistore.compute import patch
from nova_multistore.compute import upload as compute_upload
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy

pytestmark = pytest.mark.eventlet

SIZE = 16 << 20
UPLOAD = ('PUT', '/file$')
PLACES = [1, 13, 50, 99]


@pytest.fixture(scope='module')
def disk(root):
    path = root / 'disk'
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def proxy(nova, proxy, monkeypatch):
    """Nova reaches Glance through it."""
    monkeypatch.setattr(compute_upload, 'PAUSE', 0.1)
    nova.conf(**{'glance.api_servers': [proxy.url]})
    return proxy


@pytest.fixture
def upload(nova, glance, disk):
    """Upload the disk as a driver does, and return the image."""
    context = nova_context.RequestContext(
        'user', nova.project, auth_token=cloud_glance.token(nova.project)
    )

    def upload():
        api = nova_glance.API()
        metadata = {'disk_format': 'raw', 'container_format': 'bare'}
        image_id = api.create(context, {'name': 'disk', **metadata})['id']
        try:
            with disk.open('rb') as image_file:
                api.update(context, image_id, metadata, image_file)
        except Exception:
            # As Nova's compute manager does.
            api.delete(context, image_id)
        return glance.image(image_id)

    return upload


def check(glance, image, disk):
    """The image is whole, or there is none."""
    if image is None:
        return
    assert image['status'] == 'active'
    assert image['size'] == SIZE
    assert set(glance.sha256(image['id']).values()) == {
        hashlib.sha256(disk.read_bytes()).hexdigest()
    }


def test_off_the_hub(glance, proxy, upload, disk, monkeypatch):
    """Under eventlet the data is read in a thread of its own."""
    threads = set()
    read = body.Body.read

    def spy(self, size=-1):
        threads.add(threading.get_native_id())
        return read(self, size)

    monkeypatch.setattr(body.Body, 'read', spy)

    check(glance, upload(), disk)

    on_eventlet = os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] == '0'
    assert (threading.get_native_id() not in threads) == on_eventlet
    assert len(threads) == 1


@pytest.mark.parametrize('percent', PLACES)
def test_cut_once(glance, proxy, upload, disk, percent):
    """The image is whole."""
    proxy.fail(*UPLOAD, cloud_proxy.Cut(SIZE * percent // 100))

    image = upload()

    assert image is not None
    check(glance, image, disk)


@pytest.mark.parametrize('percent', PLACES)
def test_cut_every_time(glance, proxy, upload, disk, percent):
    """The upload fails clean."""
    proxy.fail(*UPLOAD, cloud_proxy.Cut(SIZE * percent // 100), times=None)

    assert upload() is None


@pytest.mark.parametrize('percent', PLACES)
def test_stock_nova_truncates(nova, glance, proxy, upload, disk, percent):
    """The checks above fail for the upload that Nova itself does."""
    patch.remove()
    try:
        proxy.fail(*UPLOAD, cloud_proxy.Cut(SIZE * percent // 100))
        image = upload()
    finally:
        patch.apply()
        nova.restart_compute()

    assert image['status'] == 'active'
    assert image['size'] < SIZE
    with pytest.raises(AssertionError):
        check(glance, image, disk)
