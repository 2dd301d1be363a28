"""Nova, stock and patched, with a Glance as other tests do not have it."""

from __future__ import annotations

import pytest

from nova_multistore import lookup
from nova_multistore.compute import upload
from tests.cloud import ceph as cloud_ceph
from tests.cloud import keystone as cloud_keystone
from tests.cloud import s3 as cloud_s3
from tests.cloud import swift as cloud_swift
from tests.servers import DISKS
from tests.servers import POOL
from tests.servers import WAIT
from tests.servers import clouds


@pytest.fixture(scope='session')
def ceph(tmp_path_factory):
    """A Ceph for disks, for images, and for what S3 keeps."""
    with cloud_ceph.Ceph(
        tmp_path_factory.mktemp('ceph'), (DISKS, POOL)
    ) as ceph:
        yield ceph


@pytest.fixture(scope='session')
def s3(tmp_path_factory, ceph):
    with cloud_s3.S3(tmp_path_factory.mktemp('s3'), ceph) as s3:
        yield s3


@pytest.fixture(scope='session')
def swift(tmp_path_factory):
    """One that waits for a second only for more of a body."""
    with (
        cloud_keystone.Keystone() as keystone,
        cloud_swift.Swift(
            tmp_path_factory.mktemp('swift'), keystone, client_timeout=WAIT
        ) as swift,
    ):
        yield swift


@pytest.fixture(scope='session')
def base_file(tmp_path_factory):
    """The file of a base image, small enough for every limit."""
    return clouds.make_base(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def running(tmp_path_factory, base_file):
    """Run Nova with a Glance; the caller enters what it returns."""

    def running(glance, **options):
        root = tmp_path_factory.mktemp('nova')
        return clouds.running(root, glance, base_file, **options)

    return running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tries follow each other quickly, and nothing is remembered."""
    lookup.forget()
    monkeypatch.setattr(upload, 'PAUSE', 0.5)
