"""Snapshots under the unified limits of Keystone."""

from __future__ import annotations

import pytest

from tests.cloud import glance as cloud_glance
from tests.cloud import keystone as cloud_keystone

MIB = 1 << 20


@pytest.fixture(scope='module')
def keystone():
    limits = ('count_total', 'count_uploading', 'size_total', 'stage_total')
    with cloud_keystone.Keystone(
        limits={f'image_{name}': 100 for name in limits}
    ) as keystone:
        yield keystone


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, keystone, running):
    with (
        cloud_glance.Glance(
            tmp_path_factory.mktemp('glance'), **keystone.glance_limits()
        ) as glance,
        running(glance) as cloud,
    ):
        yield cloud


def made(cloud, server):
    """Take snapshots until the limit is met; return how many there are."""
    images = [image for _ in range(3) if (image := cloud.snapshot(server))]
    for image in images:
        assert image['status'] == 'active'
        cloud.glance.delete_image(image['id'])
    return len(images)


def test_limits(cloud, keystone):
    """There are as many snapshots as with stock Nova.

    Glance adds the size that is announced to what the project has.
    """
    server = cloud.boot('fast', 5 * MIB)
    expected = {4: 1, 8: 2}
    counts = {}
    try:
        for limit in expected:
            keystone.limits['image_size_total'] = limit
            counts[limit] = made(cloud, server)
        assert counts == expected
        with cloud.stock():
            for limit in expected:
                keystone.limits['image_size_total'] = limit
                counts[limit] = made(cloud, server)
        assert counts == expected
    finally:
        keystone.limits['image_size_total'] = 100
