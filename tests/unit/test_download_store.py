"""When a download names a store."""

from __future__ import annotations

import glanceclient.v2.images
from nova import context as nova_context
import pytest

from nova_multistore import lookup
from nova_multistore.compute import download_store

IMAGE = '11111111-1111-1111-1111-111111111111'


@pytest.fixture
def unasked(conf, monkeypatch):
    """Fail if Glance is asked for anything."""

    def ask(*args, **kwargs):
        pytest.fail('Glance is asked')

    monkeypatch.setattr(lookup, 'images', ask)


def download():
    return download_store.download(
        lambda **changed: changed, nova_context.RequestContext(), IMAGE
    )


def test_no_store_of_its_own(unasked):
    """It is stock Nova's download, without a question before it."""
    assert not download_store.has_near_store()
    assert download() == {}


def test_old_glanceclient(unasked, conf, monkeypatch):
    """It knows no preference."""
    conf.config(group='glance', store='fast')

    def data(self, image_id, do_checksum=True, allow_md5_fallback=False):
        """As before 4.12."""

    monkeypatch.setattr(glanceclient.v2.images.Controller, 'data', data)

    assert download() == {}
