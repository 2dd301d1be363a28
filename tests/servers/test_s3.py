"""Snapshots into a real S3."""

from __future__ import annotations

import pytest

from tests.cloud import glance as cloud_glance
from tests.functional import expected_digest

MIB = 1 << 20


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, s3, running):
    with (
        cloud_glance.Glance(
            tmp_path_factory.mktemp('glance'),
            stores={'object': 's3', 'cheap': 'file'},
            default='object',
            **s3.store('object'),
        ) as glance,
        running(glance) as cloud,
    ):
        yield cloud


def test_parts(cloud):
    """With the size, Glance uploads it in parts; the bytes are the same."""
    server = cloud.boot('object', 12 * MIB)
    expected = expected_digest(cloud.nova.disk(server))

    image = cloud.snapshot(server)

    assert cloud.glance.stores_of(image['id']) == ['object']
    assert cloud.digest(image) == expected
    uploads = [r for r in cloud.glance.requests() if r.is_upload]
    assert uploads[-1].announced_size == image['size']
    assert f'Multipart complete key={image["id"]}' in (
        cloud.glance.log.read_text()
    )
    with cloud.stock():
        assert cloud.digest(cloud.snapshot(server)) == expected
