"""What the tests of the upload send, and what Glance says to it."""

from __future__ import annotations

import importlib.metadata

from nova_multistore import stores
from tests.unit import stub

DATA = bytes(range(256)) * 16
BASE = 'b8b2c6f7-7345-4e2f-afa2-eedaba9cbbe3'
#: URL of an API server that is away.
DEAD = 'http://127.0.0.1:9'
CATALOGUE = stores.parse(stub.STORES)
HEADERS = (
    'x-openstack-base-image-ref',
    'x-image-meta-store',
    'x-openstack-image-size',
)


def version(distribution):
    """The first two numbers of the version that is installed."""
    parts = importlib.metadata.version(distribution).split('.')
    return tuple(int(part) for part in parts[:2])


def sent(request):
    """The three headers, None for one that was not sent."""
    return tuple(request.headers.get(name) for name in HEADERS)


def refuse(code, message='no', **state):
    """Answer an upload with a status; the image gets a state."""

    def answer(image, request):
        image.update(state)
        return stub.Answer(code, {'error': {'message': message}})

    return answer


take = stub.take


def lose(image, request):
    """Break off in the place of an answer."""
    return stub.Answer(0)


def babble(image, request):
    """Answer with JSON in which glanceclient does not find its way."""
    return stub.Answer(503, {'message': 'from a proxy'})
