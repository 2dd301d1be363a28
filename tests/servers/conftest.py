"""Nova, stock and patched, with a Glance as other tests do not have it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess

import pytest

from nova_multistore import lookup
from nova_multistore.compute import patch
from nova_multistore.compute import upload
from tests.cloud import ceph as cloud_ceph
from tests.cloud import keystone as cloud_keystone
from tests.cloud import nova as cloud_nova
from tests.cloud import s3 as cloud_s3
from tests.cloud import swift as cloud_swift
from tests.servers import DISKS
from tests.servers import POOL
from tests.servers import WAIT

MIB = 1 << 20


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
    directory = tmp_path_factory.mktemp('base')
    raw, qcow2 = directory / 'raw', directory / 'qcow2'
    raw.write_bytes(os.urandom(MIB // 16))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    return qcow2


class Cloud:
    """A Glance and its Nova."""

    def __init__(self, glance, nova, base_file):
        self.glance = glance
        self.nova = nova
        self._base_file = base_file

    def boot(self, store, size):
        """Boot a server whose snapshots have a certain size at least."""
        base = self.glance.create_image(self._base_file, stores=[store])
        server = self.nova.create_server(base)
        self.nova.write_disk(server, os.urandom(size))
        return server

    def snapshot(self, server):
        """Take a snapshot; return its image, None if there is none."""
        return self.glance.image(self.nova.snapshot(server))

    def digest(self, image):
        """Return the digest of the data that Glance gives for an image."""
        path = f'/v2/images/{image["id"]}/file'
        status, data = self.glance.request('GET', path)
        assert status == 200
        return hashlib.sha256(data).hexdigest()

    @contextlib.contextmanager
    def stock(self):
        """Have Nova as it is without the package."""
        patch.remove()
        self.nova.restart_compute()
        try:
            yield
        finally:
            patch.apply()
            self.nova.restart_compute()


@pytest.fixture(scope='module')
def running(tmp_path_factory, base_file):
    """Run Nova with a Glance; the caller enters what it returns."""

    @contextlib.contextmanager
    def running(glance, **options):
        root = tmp_path_factory.mktemp('nova')
        patch.apply()
        try:
            with cloud_nova.Nova(root, glance, **options) as nova:
                yield Cloud(glance, nova, base_file)
        finally:
            patch.remove()
            lookup.forget()

    return running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tries follow each other quickly, and nothing is remembered."""
    lookup.forget()
    monkeypatch.setattr(upload, 'PAUSE', 0.5)
