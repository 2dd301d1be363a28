"""Requests that name a store, in nova-api's own pipelines."""

from __future__ import annotations

import contextlib
from unittest import mock

from nova_multistore import selection
from nova_multistore.api import store as api_store
from tests.functional import expected_digest

MIB = 1 << 20
PROPERTY = selection.STORE_PROPERTY
FAULTS = {
    400: 'badRequest',
    403: 'forbidden',
    404: 'itemNotFound',
    500: 'computeFault',
    503: 'serviceUnavailable',
}
RULES = {
    'createImage': 'os_compute_api:servers:create_image',
    'createBackup': 'os_compute_api:os-create-backup',
}
#: Of the form that Nova takes for a project in a URL.
PROJECT = 'c0ffee'
STORES = '/v2/info/stores$'


def headers(nova):
    """Say who is asking."""
    return {
        'X-Auth-User': nova.project,
        'X-Auth-Project-Id': nova.project,
        'X-Roles': 'member,reader',
    }


def made(nova, answer):
    """Return the id of the image that was asked for, when it is done."""
    assert answer.status_int == 202, answer.text
    image_id = answer.headers.get('Location', '').rpartition('/')[2]
    nova.wait_until_idle()
    return image_id or answer.json['image_id']


def refused(answer, status):
    """Return the words of a refusal, in Nova's own format."""
    assert answer.status_int == status, answer.text
    assert answer.content_type == 'application/json'
    [(name, fault)] = answer.json.items()
    assert (name, fault['code']) == (FAULTS[status], status)
    return fault['message']


def look(glance, image_id):
    """Return an image as the user sees it, None if it is not there."""
    return glance.image(image_id, project=PROJECT)


def check(glance, nova, image_id, store, server):
    """The image is whole, in that store alone, and says nothing of it."""
    image = look(glance, image_id)
    assert image['status'] == 'active'
    assert PROPERTY not in image
    assert glance.sha256(image_id) == {
        store: expected_digest(nova.disk(server))
    }


@contextlib.contextmanager
def without_the_filter():
    """Another nova-api."""

    def call(self, environ, start_response):
        return self._application(environ, start_response)

    with mock.patch.object(api_store.StoreFilter, '__call__', call):
        yield
