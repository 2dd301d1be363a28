"""Cinder's and Nova's own code, which send what the filter reads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nova_multistore import exception
from nova_multistore import lookup
from tests.cloud import glance as cloud_glance
from tests.functional import FOLLOWED
from tests.functional import unwritable
from tests.functional.glance_filter import MIB
from tests.functional.glance_filter import lasting
from tests.functional.glance_filter import queued
from tests.functional.glance_filter import where


class TestCinder:
    """Cinder's own code, which sends the header."""

    @pytest.fixture
    def upload(self, tmp_path):
        """Upload a volume; return the store in which it then is."""

        def upload(glance, *arguments):
            image_id, data = queued(glance), os.urandom(MIB)
            volume = tmp_path / 'volume'
            volume.write_bytes(data)
            glance.forget_requests()
            command = ['-m', 'tests.cloud.cinder', '--glance', glance.url]
            command += ['--token', cloud_glance.token(), '--image', image_id]
            command += ['--volume', str(volume), *arguments]
            subprocess.run(
                [sys.executable, '-W', 'ignore', *command], check=True
            )
            return where(glance, image_id, data)

        return upload

    def test_base_image_tells(self, glance, base, upload):
        """It lands beside the image that the volume was made from."""
        assert upload(glance, '--base', base('fast')) == 'fast'
        [request] = (r for r in glance.requests() if r.is_upload)
        assert (request.base_image_ref, request.store) == (base('fast'), None)

    def test_volume_type_tells(self, glance, base, upload):
        """A store in the volume's type wins."""
        arguments = ['--base', base('fast'), '--store', 'reliable']
        assert upload(glance, *arguments) == 'reliable'

    def test_without_the_filter(self, tmp_path, upload):
        """It lands in the default store."""
        tmp_path.chmod(0o755)
        with cloud_glance.Glance(tmp_path) as stock:
            assert upload(stock, '--base', lasting(stock)) == 'cheap'


@pytest.mark.eventlet
class TestNova:
    """Nova's own code for snapshots, patched."""

    @pytest.fixture
    def images(self, glance, base, qcow2):
        """The base images of servers: as ``base``, but bootable."""
        return lambda *stores: (
            base(*stores)
            if stores == ('web',)
            else glance.create_image(qcow2, stores=stores)
        )

    @pytest.fixture
    def resolution(self, nova, monkeypatch):
        """Switch off what the compute side finds out of stores."""
        catalogue = lookup.catalogue

        def unknown(*args, **kwargs):
            raise exception.LookupFailed('the test switched it off')

        return lambda on: monkeypatch.setattr(
            lookup, 'catalogue', catalogue if on else unknown
        )

    @pytest.fixture
    def snapshot(self, nova, glance, resolution):
        """Take a snapshot, with or without Nova's own resolution.

        :returns: its store, and the one that Nova named
        """

        def snapshot(server, resolve):
            resolution(resolve)
            glance.forget_requests()
            image_id = nova.snapshot(server)
            assert glance.image(image_id)['status'] == 'active'
            [store] = glance.files(image_id)
            assert glance.stores_of(image_id) == [store]
            upload = [r for r in glance.requests() if r.is_upload][-1]
            return store, upload.store

        return snapshot

    @pytest.mark.parametrize(('stores', 'store'), FOLLOWED)
    def test_both_agree(self, nova, images, snapshot, stores, store):
        """The filter finds the store that Nova would have found."""
        server = nova.create_server(images(*stores))

        named = store if stores != ('web',) else None
        assert snapshot(server, resolve=True) == (store, named)
        assert snapshot(server, resolve=False) == (store, None)

        nova.delete_server(server)

    def test_both_agree_on_a_deleted_image(
        self, nova, glance, images, snapshot
    ):
        """The default store."""
        image_id = images('fast')
        server = nova.create_server(image_id)
        glance.delete_image(image_id)

        assert snapshot(server, resolve=True) == ('cheap', None)
        assert snapshot(server, resolve=False) == ('cheap', None)

        nova.delete_server(server)

    def test_order(self, nova, images, snapshot):
        """The filter obeys [glance] store."""
        nova.conf(**{'glance.store': 'reliable'})
        server = nova.create_server(images('fast'))

        for resolve in (True, False):
            assert snapshot(server, resolve) == ('reliable', 'reliable')

        nova.delete_server(server)

    def test_volume_backed(self, nova, glance, snapshot):
        """No header, no base image: the default store."""
        server = nova.create_server(volume_backed=True)

        assert snapshot(server, resolve=True) == ('cheap', None)

        nova.delete_server(server)

    def test_fallback(self, nova, glance, images, snapshot):
        """It is not sent back to the store that refused."""
        server = nova.create_server(images('fast'))

        with unwritable(glance.directory('fast')):
            assert snapshot(server, resolve=True) == ('cheap', 'cheap')

        nova.delete_server(server)
