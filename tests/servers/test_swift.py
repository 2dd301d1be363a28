"""Snapshots into a real Swift.

glance_store 5.2 and newer hang if they know the size of a large object.
"""

from __future__ import annotations

import logging

import pytest

from nova_multistore import lookup
from nova_multistore.compute import upload
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.functional import expected_digest
from tests.servers import SERVICE
from tests.servers import WAIT

MIB = 1 << 20


@pytest.fixture(scope='module', params=['several', 'only'])
def cloud(request, tmp_path_factory, swift, running):
    """Swift is the default store of several, or the only one."""
    several = request.param == 'several'
    stores = {'object': 'swift'}
    if several:
        stores['cheap'] = 'file'
    with cloud_glance.Glance(
        tmp_path_factory.mktemp('glance'),
        stores=stores,
        default='object',
        multi_store=several,
        **swift.store('object' if several else 'glance_store'),
    ) as glance:
        cloud_nova.register_credentials('service_user')
        service = cloud_nova.credentials('service_user', glance.url, SERVICE)
        with running(glance, **service) as cloud:
            yield cloud


@pytest.fixture(scope='module')
def server(cloud):
    """One whose snapshots are large objects."""
    return cloud.boot('object', 3 * MIB)


@pytest.fixture(autouse=True)
def hang(monkeypatch):
    """It counts as one if Swift waits in vain."""
    monkeypatch.setattr(upload, 'HANG', WAIT - 0.5)


def check(cloud, server):
    """Take a snapshot, which is whole.

    :returns: whether each upload of it announced the size
    """
    expected = expected_digest(cloud.nova.disk(server))
    cloud.glance.forget_requests()
    image = cloud.snapshot(server)
    assert image['status'] == 'active'
    assert cloud.digest(image) == expected
    return [
        request.announced_size is not None
        for request in cloud.glance.requests()
        if request.is_upload
    ]


def test_large_object(cloud, server):
    """The time is lost once, not at each snapshot."""
    with cloud.stock():
        assert check(cloud, server) == [False]

    assert check(cloud, server) == [True, False]
    assert (
        'again without its size' in cloud.nova.log_lines(logging.WARNING)[-1]
    )
    assert check(cloud, server) == [False]


@pytest.mark.parametrize('cloud', ['several'], indirect=True)
def test_type_that_is_known(cloud, server):
    """No time is lost where Glance says of which type its stores are."""
    lookup.found_disk_in_ceph()

    assert check(cloud, server) == [False]
