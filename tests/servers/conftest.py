"""Nova, stock and patched, with a Glance as other tests do not have it."""

from __future__ import annotations

import pytest

from nova_multistore import lookup
from nova_multistore.compute import upload
from tests.servers import clouds


@pytest.fixture(scope='session')
def base_file(tmp_path_factory):
    """The file of a base image, small enough for every limit."""
    return clouds.make_base(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def running(tmp_path_factory, base_file):
    """Run Nova with a Glance; the caller enters what it returns."""

    def running(glance, **options):
        root = tmp_path_factory.mktemp('nova')
        return clouds.running(root, glance, base_file, **options)

    return running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tries follow each other quickly, and nothing is remembered."""
    lookup.forget()
    monkeypatch.setattr(upload, 'PAUSE', 0.5)
