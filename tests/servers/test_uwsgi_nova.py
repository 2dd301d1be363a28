"""nova-api with the filter under uWSGI, as the tools configure it."""

from __future__ import annotations

import contextlib

import pytest

from tests.cloud import glance as cloud_glance
from tests.cloud import nova_api as cloud_nova_api
from tests.cloud import proxy as cloud_proxy
from tests.cloud import uwsgi as cloud_uwsgi

ACTIONS = {
    'createImage': {},
    'createBackup': {'backup_type': 'daily', 'rotation': 1},
}
#: What OpenStack-Ansible has for nova-api is what devstack has.
CONFIGURATIONS = [
    name for name in cloud_uwsgi.CONFIGURATIONS if name != 'OpenStack-Ansible'
]


@pytest.fixture(scope='module')
def glance(tmp_path_factory):
    with cloud_glance.Glance(tmp_path_factory.mktemp('glance')) as glance:
        yield glance


@pytest.fixture(scope='module')
def proxy(glance):
    with cloud_proxy.Proxy(glance.url) as proxy:
        yield proxy


@pytest.fixture(scope='module')
def databases(tmp_path_factory):
    root = tmp_path_factory.mktemp('databases')
    with cloud_nova_api.Databases(root) as databases:
        yield databases


@pytest.fixture(scope='module')
def start(tmp_path_factory, databases, proxy):
    """Start nova-api; the caller enters what it returns."""

    @contextlib.contextmanager
    def start(name):
        tool, settings = cloud_uwsgi.CONFIGURATIONS[name]
        root = tmp_path_factory.mktemp('nova-api')
        with cloud_nova_api.NovaAPI(
            root, databases, proxy.url, tool, settings
        ) as api:
            api.has_threads = name != 'no threads'
            yield api

    return start


@pytest.fixture(scope='module', params=CONFIGURATIONS)
def api(request, start):
    with start(request.param) as api:
        yield api


@pytest.fixture(params=ACTIONS)
def act(request, databases, api):
    """Ask for a snapshot or a backup; return the status and the body."""
    databases.settle()

    def act(**entity):
        entity = {**ACTIONS[request.param], **entity}
        return api.act(request.param, entity)[:2]

    return act


def test_store(glance, act):
    """A store that Glance has is taken, and an image is made."""
    status, body = act(store='fast')

    assert status == 202
    assert glance.image(body['image_id'])['status'] == 'queued'


def test_unknown_store(act):
    status, body = act(store='fats')

    assert status == 404
    assert "'fats' is not one of Glance's" in body['itemNotFound']['message']


def test_two_names(act):
    status, body = act(store='fast', metadata={'nova_multistore_store': 'x'})

    assert status == 400
    assert 'differs from' in body['badRequest']['message']


def test_warning(api):
    """It is said what to set, where threads stand still."""
    said = "Set 'enable-threads = true' in the uwsgi.ini of nova-api."

    assert (said in api.log.read_text()) != api.has_threads


def test_glance_that_hangs(start, proxy):
    """Without threads, too, requests are answered in time."""
    proxy.fail('GET', '/v2/info/stores', cloud_proxy.Hang(30), times=None)
    with start('no threads') as api:
        try:
            status, _, seconds = api.act('createImage', {'store': 'fats'})
        finally:
            proxy.heal()

        assert status == 503
        assert 5 < seconds < 25

        status, _, seconds = api.act('createImage', {'store': 'fats'})
        while status == 503 and seconds < 25:
            status, _, again = api.act('createImage', {'store': 'fats'})
            seconds += again
        assert status == 404
