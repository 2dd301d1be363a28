"""What is asked of Glance from inside Nova, where nobody answers."""

from __future__ import annotations

import json
import socket
import threading
import time

from keystoneauth1.identity import v3
from nova import context as nova_context
import pytest

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import timed_calls
from tests import patience
from tests.unit import stub

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

    left = patience.Patience(10)
    while threading.active_count() > before and left:
        time.sleep(0.05)

    assert threading.active_count() <= before


@pytest.fixture
def token(conf):
    """Its token needs no Keystone."""
    return nova_context.RequestContext('user', 'project', auth_token='token')


def test_api_servers_that_are_away(conf, glance, image, token, hanging):
    """Whichever is asked first, the one that lives is asked."""
    servers = ['http://127.0.0.1:9', hanging, glance.url]
    conf.config(group='glance', api_servers=servers)

    for _ in range(10):
        lookup.forget()
        found = lookup.show(token, image['id'], 3.0)
        assert found['id'] == image['id']
        lookup.images(token, 0.3).show(image['id'])


def test_silent_api_server_is_asked_last(conf, glance, image, token, hanging):
    """Nobody waits for it again for a while."""
    conf.config(group='glance', api_servers=[hanging, glance.url])
    lookup.forget()
    lookup.in_trouble(hanging)

    for _ in range(5):
        begin = time.monotonic()
        lookup.show(token, image['id'], 10.0)
        assert time.monotonic() - begin < 2

    assert lookup.servers() == [glance.url, hanging]


def test_slow_api_server(conf, glance, image, token):
    """It is not waited for longer than was said."""
    conf.config(group='glance', api_servers=['http://127.0.0.1:9', glance.url])
    path = ('GET', f'/v2/images/{image["id"]}')
    go = threading.Event()
    glance.answers[path] = stub.Answer(200, lambda: go.wait(30))
    lookup.forget()
    begin = time.monotonic()

    with pytest.raises(exception.ServiceAway):
        lookup.show(token, image['id'], 1.0)

    assert time.monotonic() - begin < 10
    go.set()


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


NO_STORES = stub.Answer(404)


def test_api_server_with_one_store(conf, glance, token):
    """The others are asked, and the stores that they have count."""
    with stub.Glance() as odd:
        odd.answers['GET', '/v2/info/stores'] = NO_STORES
        conf.config(group='glance', api_servers=[odd.url, glance.url])
        for _ in range(6):
            lookup.forget()
            assert lookup.catalogue(token).ids == ('cheap', 'fast', 'web')
            assert len(odd.requests) <= 2
            odd.requests.clear()


CHEAP_ALONE = stub.Answer(200, {'stores': [{'id': 'cheap'}]})


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('odd', [NO_STORES, CHEAP_ALONE])
def test_odd_api_server_behind_a_balancer(glance, token, known, odd):
    """Another one gets the next question, which has its own connection."""
    lookup.forget()
    path = ('GET', '/v2/info/stores')
    before = lookup.catalogue(token) if known else None
    answers = [odd, odd]
    glance.answers[path] = lambda: (
        answers.pop() if answers else stub.Answer(200, stub.STORES)
    )
    glance.requests.clear()

    found = lookup.catalogue(token, stale=before, wanted=['nosuch', 'fast'])

    assert found.ids == ('cheap', 'fast', 'web')
    assert [r.headers.get('connection') for r in glance.requests] == [
        'keep-alive',
        'close',
        'close',
    ]


def test_no_api_server_has_the_store(glance, token):
    """That is believed, after some questions."""
    lookup.forget()

    found = lookup.catalogue(token, wanted=['nosuch'])

    assert found.ids == ('cheap', 'fast', 'web')
    assert len(glance.requests) == lookup.ROUNDS


def test_base_image_without_stores(conf, glance, base, token):
    """The API server may be the one that knows of none."""
    with stub.Glance() as odd:
        image = {k: v for k, v in base.items() if k != 'stores'}
        odd.images[base['id']] = image
        conf.config(group='glance', api_servers=[odd.url, glance.url])
        for _ in range(6):
            lookup.forget()
            assert lookup.base_image(token, base['id'], 5.0) == base

        conf.config(group='glance', api_servers=[odd.url])
        lookup.forget()
        assert lookup.base_image(token, base['id'], 5.0) == image


def ask_at_once(number, ask):
    """Ask in so many threads, and return what came of it."""
    begun = [timed_calls.start(ask) for _ in range(number)]
    return [future.exception() or future.result() for future in begun]


def test_base_image_for_many(glance, base, token):
    """Those who ask at the same time get one answer."""
    lookup.forget()
    path = f'/v2/images/{base["id"]}'
    body = json.dumps(base).encode()

    def slow():
        time.sleep(0.5)
        return stub.Answer(200, body)

    glance.answers['GET', path] = slow

    found = ask_at_once(5, lambda: lookup.base_image(token, base['id'], 5.0))

    assert [image['stores'] for image in found] == ['fast'] * 5
    assert len(glance.made('GET', path)) == 1
    lookup.base_image(token, base['id'], 5.0)
    assert len(glance.made('GET', path)) == 2


def test_base_image_that_one_caller_may_not_see(glance, base, token):
    """An error is not shared, nor is the answer to another token."""
    lookup.forget()
    path = f'/v2/images/{base["id"]}'

    def refused():
        time.sleep(0.3)
        return stub.Answer(403)

    glance.answers['GET', path] = refused
    found = ask_at_once(3, lambda: lookup.base_image(token, base['id'], 5.0))
    assert [type(error) for error in found] == [exception.LookupFailed] * 3
    assert len(glance.made('GET', path)) == 3

    others = [
        nova_context.RequestContext('user', 'project', auth_token=name)
        for name in ('one', 'two')
    ]
    glance.requests.clear()
    waiting = iter(others)
    ask_at_once(2, lambda: lookup.base_image(next(waiting), base['id'], 5.0))
    assert {r.headers['x-auth-token'] for r in glance.requests} == {
        'one',
        'two',
    }
