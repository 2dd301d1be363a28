"""What is asked of Glance from inside Nova, where nobody answers."""

from __future__ import annotations

import socket
import threading
import time

from keystoneauth1.identity import v3
from nova import context as nova_context
import pytest

from nova_multistore import exception
from nova_multistore import lookup

QUESTIONS = 20


@pytest.fixture
def context(glance):
    """Its token is Keystone's, who takes connections and says nothing."""
    with socket.create_server(('127.0.0.1', 0), backlog=64) as server:
        auth = v3.Password(
            f'http://127.0.0.1:{server.getsockname()[1]}/v3',
            username='nova',
            password='secret',
        )
        yield nova_context.RequestContext(user_auth_plugin=auth)


def test_keystone_that_never_answers(context):
    """No thread is left of the questions, nor a connection."""
    before = threading.active_count()
    for _ in range(QUESTIONS):
        with pytest.raises(exception.ServiceAway):
            lookup.show(context, 'x', 0.05)

    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)

    assert threading.active_count() <= before


def test_clock_that_is_set_back(glance, image, monkeypatch):
    """No request waits for it, though those of an older session would."""
    slept = []
    real = time.time
    context = nova_context.RequestContext(
        'user', 'project', auth_token='token'
    )
    images = lookup.images(context)
    images.show(image['id'])

    monkeypatch.setattr(time, 'time', lambda: real() - 600)
    monkeypatch.setattr(time, 'sleep', slept.append)

    assert images.show(image['id'])['id'] == image['id']
    assert all(seconds < 1 for seconds in slept)
