"""What was decided stands on the image, and no server hands it on."""

from __future__ import annotations

import os

import pytest

from nova_multistore import lookup
from nova_multistore import record
from tests.functional import broken

pytestmark = pytest.mark.eventlet

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _anew():
    lookup.forget()
    yield
    lookup.forget()


@pytest.fixture
def server(glance, qcow2, boot):
    """A server whose base image is in ``fast``."""
    return boot(glance.create_image(qcow2, stores=['fast']))


def written(glance, image_id):
    """Return the record of an image: store, rule and difference."""
    image = glance.image(image_id)
    return tuple(
        image.get(name)
        for name in (record.STORE, record.RULE, record.DIFFERENCE)
    )


@pytest.mark.parametrize(
    ('store', 'kept'),
    [(None, ('fast', 'base-image')), ('reliable', ('reliable', 'config'))],
)
def test_decision(nova, glance, server, store, kept):
    """Of each operation; shelving follows the base image."""
    nova.conf(**{'glance.store': store})

    for operate in (nova.snapshot, nova.backup):
        image_id = operate(server)
        assert written(glance, image_id) == (*kept, None)
        assert glance.stores_of(image_id) == [kept[0]]
    image_id = nova.shelve(server)
    assert written(glance, image_id) == ('fast', 'base-image', None)


def test_default_store(nova, glance, qcow2, boot):
    """Its name is written, where Glance tells it."""
    base = glance.create_image(qcow2, stores=['fast'])
    server = boot(base)
    glance.delete_image(base)

    assert written(glance, nova.snapshot(server)) == ('cheap', 'default', None)


def test_no_further_request(nova, glance, server):
    """The record comes with an update that Nova sends anyway."""
    nova.snapshot(server)
    glance.forget_requests()

    nova.snapshot(server)

    asked = [r.method for r in glance.requests()]
    assert asked.count('PATCH') <= 1
    assert len(asked) <= 14, asked


def test_store_that_refuses(nova, glance, server):
    """The image says that the default store took it, and why."""
    with broken(glance, 'fast'):
        image_id = nova.snapshot(server)

    store, rule, difference = written(glance, image_id)
    assert (store, rule) == ('fast', 'base-image')
    assert glance.stores_of(image_id) == ['cheap']
    assert difference.startswith(
        'store fast did not take it, it went to cheap ('
    )


def test_it_is_not_inherited(nova, glance, server, boot):
    """A server from a snapshot has a record of its own snapshots alone."""
    nova.conf(**{'glance.store': 'fast'})
    first = nova.snapshot(server)
    assert written(glance, first)[1] == 'config'
    path = f'/{record.DIFFERENCE}'
    glance.change_image(first, {'op': 'add', 'path': path, 'value': 'x'})
    assert written(glance, first)[2] == 'x'
    nova.conf(**{'glance.store': None})

    second = boot(first)
    nova.write_disk(second, os.urandom(MIB))

    image_id = nova.snapshot(second)
    assert written(glance, image_id) == ('fast', 'base-image', None)
