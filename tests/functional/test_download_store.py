"""From which of its stores nova-compute downloads an image.

Disks in Ceph are tested in ``tests/ceph/test_near.py``.
"""

from __future__ import annotations

import os

import pytest

from nova_multistore import lookup

pytestmark = pytest.mark.eventlet

MIB = 1 << 20


@pytest.fixture
def edge(nova, sites):
    """Snapshots go to store ``dcn0``."""
    lookup.forget()
    nova.conf(**{'glance.api_servers': [sites.url], 'glance.store': 'dcn0'})
    yield nova
    lookup.forget()


def test_store_of_snapshots(edge, sites):
    """It need not be near: Glance chooses as ever, without a question more."""
    image_id = sites.create_image(
        os.urandom(MIB), ['central', 'dcn0'], disk_format='raw'
    )
    sites.forget_requests()

    server = edge.create_server(image_id)

    downloads = [
        r.query
        for r in sites.requests()
        if r.method == 'GET' and r.path.endswith('/file')
    ]
    assert downloads == ['']
    edge.delete_server(server)
    sites.delete_image(image_id)
