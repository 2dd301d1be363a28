"""Digests that glance-api computes."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
import webob
import webob.exc

from nova_multistore import copies
from nova_multistore import digests
from nova_multistore.glance import hashing

IMAGE = '11111111-1111-4111-8111-111111111111'


def wanted(query, limit=1):
    request = webob.Request.blank(f'/v2/stores/far/{IMAGE}?{query}')
    return hashing.Hashing(limit).wanted(request)


@pytest.mark.parametrize('name', ['md5', 'sha256', 'sha512', 'sha3_512'])
def test_wanted(name):
    found = wanted(f'digest={name}')

    assert found.name == name
    assert found.hexdigest() == hashlib.new(name).hexdigest()


@pytest.mark.parametrize(
    'query',
    [
        '',
        'digest',
        'digest=',
        'digest=nosuch',
        'digest=shake_128',
        'digest=%00',
        'digest=%ff',
        'digest=sha512&digest=nosuch',
    ],
)
def test_not_wanted(query):
    """The data are the answer."""
    assert wanted(query) is None


def test_switched_off():
    assert wanted('digest=sha512', limit=0) is None


def take(few):
    held = contextlib.ExitStack()
    few.take(held)
    return held


def answer(data, held, name='sha256'):
    return hashing.answer(data, hashlib.new(name), IMAGE, 'far', held)


def test_a_few_at_a_time():
    few = hashing.Hashing(2)
    first = take(few)
    take(few)

    with pytest.raises(webob.exc.HTTPTooManyRequests) as caught:
        take(few)

    assert caught.value.headers['Retry-After'] == '2'
    first.close()
    take(few)


def refuse():
    raise OSError('the store is gone')
    yield


@pytest.mark.parametrize('data', [list, lambda: [b'a', b'b'], refuse])
@pytest.mark.parametrize('read', [0, 1, 2])
def test_place_is_free_again(data, read):
    """However far the server has read, whatever came, once."""
    few = hashing.Hashing(1)
    body = answer(data(), take(few)).app_iter
    with contextlib.suppress(OSError, StopIteration):
        for _ in range(read):
            next(iter(body))

    body.close()
    body.close()

    take(few)
    with pytest.raises(webob.exc.HTTPTooManyRequests):
        take(few)


def test_client_is_gone(monkeypatch):
    """Nothing more is read."""
    monkeypatch.setattr(digests, 'INTERVAL', 0.0)
    seen = []

    def data():
        try:
            for number in range(100):
                seen.append(number)
                yield b'x'
        finally:
            seen.append('closed')

    body = answer(data(), contextlib.ExitStack()).app_iter
    lines = iter(body)
    next(lines)
    next(lines)

    body.close()

    assert seen == [0, 1, 'closed']


@pytest.mark.parametrize('interval', [0.0, 60.0])
@pytest.mark.parametrize('pieces', [[], [b'x'], [b'one', b'', b'two']])
def test_understood(monkeypatch, interval, pieces):
    """What is told is what the client reads."""
    monkeypatch.setattr(digests, 'INTERVAL', interval)
    reported = []
    response = answer(iter(pieces), contextlib.ExitStack())

    found = copies.finish(
        digests.read(
            response.app_iter, IMAGE, 'far', 'sha256', reported.append
        )
    )

    data = b''.join(pieces)
    assert found.value == hashlib.sha256(data).hexdigest()
    assert found.size == sum(reported) == len(data)
    assert len(reported) == (1 if interval else len(pieces) + 1)
    assert response.headers['Content-Type'] == digests.CONTENT_TYPE
    assert response.headers['Cache-Control'] == 'no-store'


def test_error_is_no_digest():
    """Data that break off have none."""

    def data():
        yield b'x'
        raise OSError('broke off')

    lines = []
    with pytest.raises(OSError, match='broke off'):
        lines.extend(iter(answer(data(), contextlib.ExitStack()).app_iter))
    assert lines == []
