"""Downloads and deletions, of which one API server is not capable."""

from __future__ import annotations

import io
import time
import uuid

import glanceclient.exc
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore import lookup
from tests.unit import stub

pytestmark = pytest.mark.usefixtures('patched')


@pytest.fixture
def image(glance):
    image = {'id': str(uuid.uuid4()), 'status': 'active', 'stores': 'fast'}
    glance.images[image['id']] = image
    return image


def download(context, image):
    found = io.BytesIO()
    nova_glance.GlanceImageServiceV2().download(
        context, image['id'], data=found
    )
    return found.getvalue()


def delete(context, image):
    return nova_glance.GlanceImageServiceV2().delete(context, image['id'])


@pytest.fixture(params=['GET', 'DELETE'])
def ask(request, glance, context, image):
    """Do it, after some answers; tells how often it was asked for."""
    method, path, done = request.param, f'/v2/images/{image["id"]}', delete
    if method == 'GET':
        path, done = f'{path}/file', download

    def ask(*answers):
        left = list(answers)
        good = stub.Answer(200, b'data') if method == 'GET' else None

        def answer():
            return left.pop(0)() if left else good

        glance.answers[method, path] = answer
        return done(context, image)

    ask.made = lambda: len(glance.made(method, path))
    return ask


def broken():
    return stub.Answer(500)


@pytest.mark.parametrize('times', range(lookup.ROUNDS))
def test_api_server_without_the_store(ask, glance, image, times):
    """Another one behind the same URL has it."""
    found = ask(*[broken] * times)

    assert found in (b'data', True)
    assert ask.made() == times + 1
    closed = [r for r in glance.requests if r.headers['connection'] == 'close']
    assert [r.path for r in closed] == [f'/v2/images/{image["id"]}'] * sum(
        range(times + 1)
    )


def test_no_api_server_has_the_store(ask):
    """The error is what stock Nova raises."""
    with pytest.raises(glanceclient.exc.HTTPInternalServerError):
        ask(*[broken] * lookup.ROUNDS)

    assert ask.made() == lookup.ROUNDS


def test_other_refusals(ask):
    """They are not about the API server."""
    with pytest.raises(nova_exception.ImageNotFound):
        ask(lambda: stub.Answer(404))

    assert ask.made() == 1


def test_store_that_hangs(ask, monkeypatch):
    """It is not waited for a second time."""
    monkeypatch.setattr(lookup, 'SHORT', 0.2)

    def late():
        time.sleep(0.3)
        return stub.Answer(500)

    with pytest.raises(glanceclient.exc.HTTPInternalServerError):
        ask(late)

    assert ask.made() == 1
