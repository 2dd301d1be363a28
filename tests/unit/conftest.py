"""What the tests of the compute side share."""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import types
import uuid

from nova import context as nova_context
import nova.conf
from nova.image import glance as nova_glance
from oslo_config import fixture as config_fixture
import pytest

from nova_multistore import copies
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import selection
from nova_multistore.compute import background
from nova_multistore.compute import patch
from nova_multistore.compute import snapshot_state
from nova_multistore.compute import upload
from nova_multistore.osc import image_pages
from tests.unit import stub
from tests.unit import uploads


@pytest.fixture(autouse=True)
def _own_background(monkeypatch):
    """What a test leaves to be done in the background ends with it."""
    own = background.Background()
    monkeypatch.setattr(background, '_background', own)
    yield
    with own._changed:
        own._waiting.clear()
        own._changed.notify_all()


@pytest.fixture
def conf():
    """Nova's configuration, with the package's option."""
    conf = config_fixture.Config(nova.conf.CONF)
    conf.setUp()
    nova.conf.CONF([], project='nova', default_config_files=[])
    opts.register_opts(nova.conf.CONF)
    yield conf
    conf.cleanUp()


@pytest.fixture
def glance(conf):
    """A server in Glance's place, and Nova configured for it."""
    with stub.Glance() as glance:
        conf.config(group='glance', api_servers=[glance.url])
        yield glance


@pytest.fixture
def hanging():
    """URL of an API server that takes connections and says nothing."""
    with socket.create_server(('127.0.0.1', 0), backlog=64) as server:
        yield f'http://127.0.0.1:{server.getsockname()[1]}'


@pytest.fixture
def patched(monkeypatch):
    """Nova, patched; it does not pause between two tries."""
    monkeypatch.setattr(upload, 'PAUSE', 0.01)
    monkeypatch.setattr(lookup, 'PAUSE', 0.01)
    patch.apply()
    yield
    patch.remove()


@pytest.fixture
def context():
    """A member's request."""
    return nova_context.RequestContext(
        'user', 'project', auth_token='token', overwrite=False
    )


@pytest.fixture
def image(glance):
    """An image record that waits for its data."""
    image = {'id': str(uuid.uuid4()), 'status': 'queued', 'size': None}
    glance.images[image['id']] = image
    return image


@pytest.fixture
def base(glance):
    """A base image that is in ``fast``."""
    image = {'id': str(uuid.uuid4()), 'status': 'active', 'stores': 'fast'}
    glance.images[image['id']] = image
    return image


@pytest.fixture
def making():
    """Set the selection for the snapshot with an image."""
    with contextlib.ExitStack() as stack:

        def making(image_id, store, known=uploads.CATALOGUE, **kwargs):
            snapshot = stack.enter_context(snapshot_state.enter(image_id))
            snapshot.selection = selection.Selection(
                store, uploads.BASE, 'a test', catalogue=known, **kwargs
            )
            return snapshot

        yield making


@pytest.fixture
def select(making, image):
    """Set the selection for the image."""
    return functools.partial(making, image['id'])


@pytest.fixture
def send(tmp_path, context, image):
    """Upload a file as Nova's drivers do."""
    path = tmp_path / 'disk'
    path.write_bytes(uploads.DATA)

    def send():
        service = nova_glance.GlanceImageServiceV2()
        with path.open('rb') as image_file:
            return service._upload_data(context, image['id'], image_file)

    return send


@pytest.fixture
def api_servers(conf, glance, hanging, monkeypatch):
    """Let Nova have API servers, and ask them in this order."""
    monkeypatch.setattr(random, 'shuffle', lambda items: None)
    monkeypatch.setattr(random, 'sample', lambda items, _number: [*items])
    urls = {'dead': uploads.DEAD, 'hanging': hanging, 'live': glance.url}

    def api_servers(words):
        servers = [urls[word] for word in words.split()]
        conf.config(group='glance', api_servers=servers)
        lookup.forget()

    return api_servers


@pytest.fixture
def server(base):
    """A server whose snapshot is at the driver's door."""
    return types.SimpleNamespace(
        uuid=str(uuid.uuid4()),
        image_ref=base['id'],
        task_state='image_snapshot',
    )


@pytest.fixture
def no_pause(monkeypatch):
    """Nobody waits between two looks at a copy."""
    monkeypatch.setattr(copies, 'PAUSES', (0.001, 0.001))


@pytest.fixture
def pauses(monkeypatch):
    """Do not wait; return how long it would have been each time."""
    slept = []
    clock = types.SimpleNamespace(sleep=slept.append)
    monkeypatch.setattr(image_pages, 'time', clock)
    return slept
