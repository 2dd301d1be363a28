"""The trial image in a pool, which is gone afterwards, whatever happens."""

from __future__ import annotations

import contextlib
import threading
import types

from nova.storage import rbd_utils
import pytest

from nova_multistore import stores
from nova_multistore.compute import ceph


class Rbd:
    """A Ceph, in the place of rbd and of Nova's own classes for it."""

    class Error(Exception):
        pass

    class PermissionError(Error):
        pass

    class ImageNotFound(Error):
        pass

    def __init__(self):
        self.images = []
        #: Called when an image was made, and before one is deleted.
        self.made = self.deletes = lambda: None

    def create(self, ioctx, name, size):
        assert (ioctx, size) == ('images', 0)
        self.images.append(name)
        self.made()

    def remove(self, ioctx, name):
        self.deletes()
        if name not in self.images:
            raise self.ImageNotFound
        self.images.remove(name)


@pytest.fixture
def rbd(monkeypatch, conf):
    rbd = Rbd()
    conf.config(group='libvirt', rbd_user='nova')
    monkeypatch.setattr(rbd_utils, 'rbd', rbd)
    monkeypatch.setattr(rbd_utils, 'RBDDriver', lambda: None)
    monkeypatch.setattr(rbd_utils, 'RbdProxy', lambda: rbd)
    monkeypatch.setattr(
        rbd_utils,
        'RADOSClient',
        lambda driver, pool: contextlib.nullcontext(
            types.SimpleNamespace(ioctx=pool)
        ),
    )
    return rbd


def fail(error):
    """Return what raises an error when it is called."""

    def failing():
        raise error

    return failing


def test_nothing_is_left(rbd):
    names = []
    rbd.made = lambda: names.extend(rbd.images)

    assert ceph.refusal('images') is None

    assert rbd.images == []
    [name] = names
    assert name.startswith('nova-multistore-check-')


def test_image_that_is_made_in_part(rbd):
    """Ceph says that it was not made, and it is there."""
    rbd.made = fail(rbd.Error('no space'))

    words = ceph.refusal('images')

    assert "Ceph user 'nova' cannot make images in pool 'images'" in words
    assert 'no space' in words
    assert rbd.images == []


@pytest.mark.parametrize('kind', ['Error', 'PermissionError'])
def test_image_that_cannot_be_deleted(rbd, kind):
    """It is named."""
    rbd.deletes = fail(getattr(rbd, kind)('no'))

    words = ceph.refusal('images')

    [left] = rbd.images
    assert f'cannot delete images/{left}, which is left there' in words
    assert ("caps 'profile rbd pool=images'" in words) == (
        kind == 'PermissionError'
    )


def test_ceph_that_lets_wait(rbd, monkeypatch):
    """It is deleted when Ceph goes on, and named until then."""
    monkeypatch.setattr(stores, 'TIMEOUT', 0.1)
    full, deleted = threading.Event(), threading.Event()
    rbd.made, rbd.deletes = full.wait, deleted.set

    words = ceph.refusal('images')

    [left] = rbd.images
    assert f'images/{left} may be left there' in words
    full.set()
    assert deleted.wait(10)


def test_interrupted(rbd, monkeypatch):
    """Ctrl-C waits for the deletion."""
    waits = []

    def wait(future, timeout):
        waits.append(timeout)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return future.result(timeout)

    monkeypatch.setattr(ceph.timed_calls, 'wait', wait)

    with pytest.raises(KeyboardInterrupt):
        ceph.refusal('images')

    assert len(waits) == 2
    assert rbd.images == []
