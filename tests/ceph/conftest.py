"""The cloud with its disks in Ceph, first as stock Nova has it."""

from __future__ import annotations

import os

import pytest

from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import relocation
from nova_multistore.compute import patch
from nova_multistore.osc import snapshot_audit
from tests import command
from tests.ceph import cloud as ceph_cloud
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import connect

MIB = 1 << 20


@pytest.fixture(scope='session')
def stock_cloud(tmp_path_factory):
    """One for all tests."""
    try:
        with ceph_cloud.running(tmp_path_factory.mktemp('cloud')) as cloud:
            yield cloud
    finally:
        patch.remove()


@pytest.fixture(scope='module')
def patched_cloud(stock_cloud):
    """The same with the package."""
    patch.apply()
    stock_cloud.nova.restart_compute()
    yield stock_cloud
    patch.remove()
    stock_cloud.nova.restart_compute()


@pytest.fixture(scope='module')
def clones(patched_cloud):
    """Servers whose disks are clones, by the stores of their base images.

    Glance hides its locations from now on.
    """
    patched_cloud.show_locations(True)
    servers = {
        stores: create(patched_cloud, *stores)
        for stores in (('fast',), ('second', 'fast'))
    }
    for server in servers.values():
        assert patched_cloud.has_parent(server)
    patched_cloud.show_locations(False)
    yield servers
    for server in servers.values():
        patched_cloud.nova.delete_server(server)


def create(cloud, *stores):
    """Boot a server from new data in stores; its disk has data of its own."""
    image_id = cloud.glance.create_image(
        os.urandom(4 * MIB), stores=stores, disk_format='raw'
    )
    server = cloud.nova.create_server(image_id)
    cloud.nova.write_disk(server, os.urandom(MIB), offset=MIB)
    return server


@pytest.fixture
def cloud(patched_cloud, clones):
    """The same for every test: as configured, with nothing remembered."""
    nova = patched_cloud.nova
    nova.records.clear()
    lookup.forget()
    yield patched_cloud
    lookup.forget()
    nova.conf(
        **{
            'glance.store': None,
            'glance.api_servers': [patched_cloud.glance.url],
        }
    )
    nova.wait_until_idle()
    assert patched_cloud.left_over() == []


@pytest.fixture
def proxy(cloud):
    """Nova reaches Glance through it."""
    with cloud_proxy.Proxy(cloud.glance.url) as proxy:
        cloud.nova.conf(**{'glance.api_servers': [proxy.url]})
        yield proxy


@pytest.fixture
def stock(cloud):
    """Nova as it is without the package."""
    patch.remove()
    cloud.nova.restart_compute()
    yield
    patch.apply()
    cloud.nova.restart_compute()


@pytest.fixture
def boot(cloud):
    """Boot a server whose disk is no clone."""
    servers = []

    def boot(*stores):
        servers.append(create(cloud, *stores))
        return servers[-1]

    yield boot
    for server in servers:
        cloud.nova.delete_server(server)


@pytest.fixture(scope='module')
def server(patched_cloud, clones):
    """A server from an image in ``fast``, whose disk is no clone."""
    server = create(patched_cloud, 'fast')
    assert not patched_cloud.has_parent(server)
    yield server
    patched_cloud.nova.delete_server(server)


@pytest.fixture
def clone(clones):
    """A server whose disk is a clone of an image in ``fast``."""
    return clones['fast',]


@pytest.fixture
def moving(cloud, monkeypatch):
    """Snapshots move to files, and do not wait for readers."""
    monkeypatch.setattr(relocation, 'GRACE', 0.0)
    cloud_nova.register_credentials(opts.COPY_GROUP)
    cloud.nova.conf(
        **{'nova_multistore.move_to': 'cheap'},
        **cloud_nova.credentials(
            opts.COPY_GROUP, cloud.glance.url, cloud_glance.ADMIN
        ),
    )
    yield cloud
    cloud.nova.conf(
        **{'nova_multistore.move_to': None, 'nova_multistore.auth_type': None}
    )


@pytest.fixture
def admin(cloud):
    """What an administrator's commands ask."""
    with cloud.nova.served() as url:
        yield connect(cloud.glance.url, compute=url)


@pytest.fixture
def audited(admin):
    """Run the audit as an administrator; return its rows about an image."""

    def audited(image_id, *arguments):
        result = command.run(
            snapshot_audit.AuditSnapshots, admin, '--all-projects', *arguments
        )
        assert result.shown, result.words
        return [row for row in result.rows if row['id'] == image_id]

    return audited
