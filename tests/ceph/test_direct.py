"""The direct snapshot, and the disks and stores for which Nova makes none.

The snapshot is whole, and nothing of it stays in Ceph: the fixture of the
cloud sees to the latter after every test.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import time
from unittest import mock

from nova.storage import rbd_utils
import pytest

from nova_multistore import opts
from nova_multistore import stores
from nova_multistore.compute import ceph
from nova_multistore.compute import patch
from tests.ceph.matrix import Landing
from tests.ceph.matrix import look
from tests.ceph.matrix import take
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy

DETAIL = ('GET', '/v2/info/stores/detail$')


@pytest.mark.eventlet
@pytest.mark.parametrize('operation', ['snapshot', 'backup', 'shelve'])
def test_operations(cloud, boot, operation):
    """Each is a clone."""
    server = boot('fast')
    with mock.patch.object(cloud.nova.driver, 'suspend') as suspend:
        landing = take(cloud, server, operation)

    assert Landing('fast', direct=True, whole=True) == landing
    assert not suspend.called


def test_shelved_server_comes_back(cloud, boot):
    """With the data that it had; and its next snapshot is a clone too."""
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    image_id = cloud.nova.shelve(server)
    assert Landing('fast', direct=True, whole=True) == look(
        cloud, image_id, digest, direct=True
    )

    cloud.nova.unshelve(server)

    assert digest == cloud.ceph.sha256(cloud.disk(server))
    assert Landing('fast', direct=True, whole=True) == take(cloud, server)


def test_snapshot_to_boot_from(cloud, boot):
    """The new server has the same data, and its snapshot the same store."""
    cloud.nova.conf(**{'glance.store': 'second'})
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    image_id = cloud.nova.snapshot(server)
    cloud.glance.finish_tasks(image_id)
    cloud.nova.conf(**{'glance.store': None})

    other = cloud.nova.create_server(image_id)

    assert digest == cloud.ceph.sha256(cloud.disk(other))
    assert Landing('second', direct=True, whole=True) == take(cloud, other)
    cloud.nova.delete_server(other)
    cloud.glance.delete_image(image_id)


def test_copied(cloud, boot):
    """To files and to another pool, once Glance is done with its hash."""
    cloud_nova.register_credentials(opts.COPY_GROUP)
    cloud.nova.conf(
        **{'nova_multistore.copy_to': ['cheap', 'second']},
        **cloud_nova.credentials(
            opts.COPY_GROUP, cloud.glance.url, cloud_glance.ADMIN
        ),
    )
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    cloud.nova.records.clear()

    image_id = cloud.nova.snapshot(server)

    cloud.nova.conf(
        **{'nova_multistore.copy_to': [], 'nova_multistore.auth_type': None}
    )
    for store in ('cheap', 'second'):
        cloud.nova.wait_for_line(
            f'Image {image_id} has a copy in store {store}'
        )
    assert cloud.data(image_id) == dict.fromkeys(
        ('fast', 'cheap', 'second'), digest
    )
    cloud.glance.delete_image(image_id)


def test_base_image_that_was_deleted(cloud, boot):
    """Row 5: the store in the Ceph of the disk."""
    server = boot('cheap')
    cloud.glance.delete_image(cloud.nova.server(server)['image']['id'])

    landing = take(cloud, server)

    assert Landing('fast', direct=True, whole=True) == landing


def test_base_image_in_the_cache(cloud, boot):
    """Nova has no clone of it then."""
    server = boot('fast')
    image_id = cloud.nova.server(server)['image']['id']
    other = cloud.nova.create_server(image_id)
    assert list((cloud.nova.instances / '_base').iterdir())
    assert not cloud.has_parent(other)

    assert Landing('fast', direct=True, whole=True) == take(cloud, other)
    cloud.nova.delete_server(other)


def test_another_cluster(cloud, clone):
    """No clone goes there: the data is uploaded, without touching Ceph."""
    cloud.nova.conf(**{'glance.store': 'far'})

    with mock.patch.object(rbd_utils.RBDDriver, 'create_snap') as create:
        landing = take(cloud, clone)

    assert Landing('far', direct=False, whole=True) == landing
    assert not create.called


def test_base_image_in_another_cluster(cloud, boot):
    """Nova's own search finds no pool: it goes where the base image is."""
    server = boot('far')

    assert Landing('far', direct=False, whole=True) == take(cloud, server)


class TestDetailsDenied:
    """Glance does not tell Nova which store is where."""

    @pytest.fixture(autouse=True)
    def _denied(self, proxy):
        proxy.fail(*DETAIL, cloud_proxy.Answer(403), times=None)

    @pytest.mark.parametrize(
        ('order', 'level'), [(None, logging.INFO), ('cheap', logging.WARNING)]
    )
    def test_clone(self, cloud, clone, order, level):
        """Nova's own way, and the log says so."""
        cloud.nova.conf(**{'glance.store': order})

        landing = take(cloud, clone)

        assert Landing('fast', direct=True, whole=True) == landing
        first, second = (
            record
            for record in cloud.nova.records
            if record.getMessage().startswith('Image ')
        )
        assert "unless Nova's own search" in first.getMessage()
        assert 'was made in Ceph pool images' in second.getMessage()
        assert first.levelno == second.levelno == level

    def test_no_clone(self, cloud, server):
        """Nova's own search finds nothing: it goes to the store selected."""
        landing = take(cloud, server)

        assert Landing('fast', direct=False, whole=True) == landing

    def test_locations_tell(self, cloud, boot):
        """Glance shows the same with the base image."""
        server = boot('fast', 'cheap')
        cloud.show_locations(True)
        try:
            found = []
            for order in (None, 'fast', 'cheap'):
                cloud.nova.conf(**{'glance.store': order})
                found.append(take(cloud, server))
        finally:
            cloud.show_locations(False)

        assert found == [
            Landing('fast', direct=True, whole=True),
            Landing('fast', direct=True, whole=True),
            Landing('cheap', direct=False, whole=True),
        ]


class TestDetailsFail:
    """Glance does not tell Nova which store is where, just now."""

    @pytest.fixture(autouse=True)
    def _away(self, proxy):
        # As the user, and as Nova itself.
        proxy.fail(*DETAIL, cloud_proxy.Answer(503), times=2)

    @pytest.mark.parametrize('order', ['fast', 'second', 'cheap'])
    def test_orders(self, cloud, clone, proxy, order):
        """They are obeyed: nobody knows that they may be lost."""
        cloud.nova.conf(**{'glance.store': order})

        landings = [take(cloud, clone) for _ in range(3)]

        assert proxy.met == 2
        assert landings == [Landing(order, direct=False, whole=True)] * 3

    def test_asked_again(self, cloud, clone, monkeypatch):
        """Half a minute later they are clones."""
        monkeypatch.setattr(stores, 'FAILED', 0.5)
        cloud.nova.conf(**{'glance.store': 'second'})
        landings = [take(cloud, clone)]
        time.sleep(0.5)

        landings.append(take(cloud, clone))

        assert landings == [
            Landing('second', direct=direct, whole=True)
            for direct in (False, True)
        ]

    def test_last_known(self, cloud, clone, proxy, monkeypatch):
        """What was told before is still true."""
        monkeypatch.setattr(stores, 'FRESH', 0.0)
        cloud.nova.conf(**{'glance.store': 'second'})
        proxy.heal()
        found = [take(cloud, clone)]
        proxy.fail(*DETAIL, cloud_proxy.Answer(503), times=None)
        found.append(take(cloud, clone))

        assert proxy.met
        assert found == [Landing('second', direct=True, whole=True)] * 2


def test_requests(cloud, clone, stock):
    """No more than stock Nova's, once the catalogue is known.

    That is but for the questions whether Glance has taken the location.
    """

    def requests():
        cloud.glance.forget_requests()
        image_id = cloud.nova.snapshot(clone)
        made = cloud.glance.requests()
        cloud.glance.finish_tasks(image_id)
        cloud.glance.delete_image(image_id)
        [location] = [r for r in made if r.path.endswith('/locations')]
        questions = [
            r
            for r in made
            if r.time > location.time
            and (r.method, r.path) == ('GET', f'/v2/images/{image_id}')
        ]
        return len(made) - len(questions), len(questions)

    before, _ = requests()
    patch.apply()
    cloud.nova.restart_compute()
    requests()
    after, questions = requests()
    assert after <= before
    assert 1 <= questions <= 12
    cloud.nova.conf(**{'glance.store': 'second'})
    assert requests()[0] < before


class TestFormat:
    """A clone is raw: an image of another format is made as Nova makes it."""

    @pytest.fixture(autouse=True)
    def _qcow2(self, cloud):
        cloud.nova.conf(**{'libvirt.snapshot_image_format': 'qcow2'})
        yield
        cloud.nova.conf(**{'libvirt.snapshot_image_format': None})

    @pytest.fixture
    def contents(self, cloud, tmp_path):
        """Return what kind of image it is, and the digest of its disk."""

        def contents(image_id):
            path = f'/v2/images/{image_id}/file'
            status, data = cloud.glance.request('GET', path)
            assert status == 200
            image, disk = tmp_path / 'image', tmp_path / 'disk'
            image.write_bytes(data)
            kind = cloud.glance.image(image_id)['disk_format']
            subprocess.run(
                ['qemu-img', 'convert', '-f', kind, '-O', 'raw', image, disk],
                check=True,
            )
            return kind, hashlib.sha256(disk.read_bytes()).hexdigest()

        return contents

    @pytest.mark.parametrize('order', [None, 'second', 'cheap'])
    def test_snapshot(self, cloud, clone, contents, order):
        """It is in its store, and a server boots from it."""
        cloud.nova.conf(**{'glance.store': order})
        digest = cloud.ceph.sha256(cloud.disk(clone))

        image_id = cloud.nova.snapshot(clone)

        assert cloud.glance.stores_of(image_id) == [order or 'fast']
        assert contents(image_id) == ('qcow2', digest)
        other = cloud.nova.create_server(image_id)
        assert cloud.ceph.sha256(cloud.disk(other)) == digest
        cloud.nova.delete_server(other)
        cloud.glance.delete_image(image_id)

    def test_shelve(self, cloud, boot, contents):
        """The disk, which is deleted, comes back."""
        server = boot('fast')
        digest = cloud.ceph.sha256(cloud.disk(server))

        image_id = cloud.nova.shelve(server)

        assert cloud.glance.stores_of(image_id) == ['fast']
        assert contents(image_id) == ('qcow2', digest)
        cloud.nova.unshelve(server)
        assert cloud.ceph.sha256(cloud.disk(server)) == digest

    def test_stock_mislabels(self, cloud, clone, stock):
        """Where it clones, the image is raw, whatever Glance says."""
        digest = cloud.ceph.sha256(cloud.disk(clone))

        image_id = cloud.nova.snapshot(clone)

        cloud.glance.finish_tasks(image_id)
        assert cloud.glance.image(image_id)['disk_format'] == 'qcow2'
        assert cloud.data(image_id) == {'fast': digest}
        cloud.glance.delete_image(image_id)


class TestStrayPool:
    """Nova's own search finds a pool that is no store's."""

    @pytest.fixture
    def stray(self, cloud, boot):
        """A server whose disk is a clone of what is in such a pool."""
        cloud.ceph.ceph('osd', 'pool', 'create', 'stray', '8')
        cloud.ceph.rbd('pool', 'init', 'stray')
        server = boot('cheap')
        disk = cloud.disk(server)
        cloud.ceph.rbd('cp', '--no-progress', disk, 'stray/base')
        cloud.ceph.rbd('snap', 'create', '--no-progress', 'stray/base@snap')
        cloud.ceph.rbd('snap', 'protect', 'stray/base@snap')
        cloud.ceph.rbd('rm', '--no-progress', disk)
        cloud.ceph.rbd('clone', 'stray/base@snap', disk)
        yield server
        assert cloud.ceph.images('stray') == ['base']
        cloud.ceph.ceph(
            'tell', 'mon.*', 'injectargs', '--mon-allow-pool-delete=true'
        )
        cloud.ceph.ceph(
            *('osd', 'pool', 'delete', 'stray', 'stray'),
            '--yes-i-really-really-mean-it',
        )

    @pytest.mark.parametrize('operation', ['snapshot', 'backup', 'shelve'])
    def test_upload(self, cloud, stray, operation):
        """Glance could not read what is there."""
        landing = take(cloud, stray, operation)

        assert Landing('cheap', direct=False, whole=True) == landing

    def test_unshelve(self, cloud, stray):
        """The disk, which was deleted, comes back."""
        digest = cloud.ceph.sha256(cloud.disk(stray))
        cloud.nova.shelve(stray)

        cloud.nova.unshelve(stray)

        assert cloud.ceph.sha256(cloud.disk(stray)) == digest


class TestDisksThatStayed:
    """New disks are files, those from before are still in Ceph."""

    @pytest.fixture(autouse=True)
    def _files(self, cloud, clone):
        cloud.nova.conf(**{'libvirt.images_type': 'qcow2'})
        cloud.nova.restart_compute()
        ceph.forget()
        yield
        cloud.nova.conf(**{'libvirt.images_type': 'rbd'})
        cloud.nova.restart_compute()
        ceph.forget()

    @pytest.mark.parametrize(
        ('order', 'store', 'direct'),
        [
            (None, 'fast', True),
            ('fast', 'fast', True),
            ('second', 'second', True),
            ('cheap', 'cheap', False),
        ],
    )
    @pytest.mark.parametrize('operation', ['snapshot', 'backup'])
    def test_snapshot(self, cloud, clone, operation, order, store, direct):
        """It is decided by the disk: an order is obeyed."""
        cloud.nova.conf(**{'glance.store': order})

        landing = take(cloud, clone, operation)

        assert Landing(store, direct=direct, whole=True) == landing
