"""The cloud with its disks in Ceph, first as stock Nova has it."""

from __future__ import annotations

import os

import pytest

from nova_multistore import lookup
from nova_multistore.compute import patch
from tests.ceph import cloud as ceph_cloud

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
    """The same with the package; Glance hides locations."""
    stock_cloud.show_locations(False)
    patch.apply()
    stock_cloud.nova.restart_compute()
    yield stock_cloud
    patch.remove()
    stock_cloud.nova.restart_compute()


@pytest.fixture
def cloud(patched_cloud):
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
            'service_user.token': ceph_cloud.SERVICE,
        }
    )
    nova.wait_until_idle()
    assert patched_cloud.left_over() == []


@pytest.fixture
def boot(cloud):
    """Boot a server from new data in stores; its disk has data of its own."""
    servers = []

    def boot(*stores, shown=False):
        cloud.show_locations(shown)
        image_id = cloud.glance.create_image(
            os.urandom(4 * MIB), stores=stores, disk_format='raw'
        )
        server = cloud.nova.create_server(image_id)
        servers.append(server)
        cloud.show_locations(False)
        cloud.nova.write_disk(server, os.urandom(MIB), offset=MIB)
        return server

    yield boot
    for server in servers:
        cloud.nova.delete_server(server)
