"""glance-api with the filter under uWSGI, as the tools configure it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time

import pytest

from nova_multistore.osc import image_verify
from tests import command
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import uwsgi as cloud_uwsgi
from tests.functional import connect
from tests.functional import expected_digest
from tests.twin import servers

MIB = 1 << 20
#: A piece of data that uWSGI takes as a tool sets it.
HALF = MIB // 2
#: How long a copy may take, in seconds.
PATIENCE = 30
#: What reading it takes many seconds, and no disk.
LARGE = 256 << 30


class Beside(servers.Beside, cloud_uwsgi.Glance):
    """One more glance-api, behind uWSGI."""


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, running):
    root = tmp_path_factory.mktemp('glance')
    with (
        cloud_glance.Glance(root, filters=cloud_glance.FILTER) as glance,
        running(glance) as cloud,
    ):
        yield cloud


@pytest.fixture(scope='module')
def base(cloud):
    return cloud.glance.create_image(bytes(MIB), ['fast'], disk_format='raw')


@pytest.fixture(scope='module')
def server(cloud):
    return cloud.boot('fast', 4 * MIB)


@pytest.fixture(scope='module', params=cloud_uwsgi.CONFIGURATIONS)
def api(request, tmp_path_factory, cloud):
    """The glance-api behind uWSGI, with the same stores and images."""
    tool, settings = cloud_uwsgi.CONFIGURATIONS[request.param]
    root = tmp_path_factory.mktemp('uwsgi')
    with Beside(cloud.glance, root, tool=tool, settings=settings) as api:
        api.has_threads = request.param != 'no threads'
        yield api
        # What a stop would wait for stands still without threads.
        api.kill()


@pytest.mark.parametrize('chunked', [False, True])
def test_base_image_tells(api, base, chunked):
    """An upload goes to the store of the base image, as the answer says."""
    image_id = api.create_queued_image()
    data = bytes(512) + os.urandom(2 * HALF - 512)
    connection = http.client.HTTPConnection('127.0.0.1', api.port, timeout=60)
    connection.request(
        'PUT',
        f'/v2/images/{image_id}/file',
        iter([data[:HALF], data[HALF:]]) if chunked else data,
        {
            'Content-Type': 'application/octet-stream',
            'X-Auth-Token': cloud_glance.token(),
            'X-OpenStack-Base-Image-Ref': base,
        },
        encode_chunked=chunked,
    )
    answer = connection.getresponse()
    connection.close()

    assert answer.status == 204
    assert answer.headers['X-OpenStack-Base-Image-Ref'] == base
    digest = hashlib.sha256(data).hexdigest()
    assert api.sha256(image_id) == {'fast': digest}


def test_one_copy(api, base):
    """What one store has can be read."""
    status, data = api.request('GET', f'/v2/stores/fast/{base}')

    assert (status, data) == (200, bytes(MIB))
    assert api.request('GET', f'/v2/stores/cheap/{base}')[0] == 404


def test_digest(api, base):
    """So can its digest, whatever headers uWSGI removes."""
    result = command.run(image_verify.VerifyImages, connect(api.url), base)

    assert result.states == {'fast': 'good'}
    read = [each for each in api.requests() if base in each.path]
    assert read[-1].query == 'digest=sha512'


def test_digest_for_a_client_that_goes_away(api):
    """It is told while uWSGI reads; without a client, the work ends."""
    image_id = api.create_image(bytes(MIB), ['fast'], disk_format='raw')
    os.truncate(api.directory('fast') / image_id, LARGE)
    connection = http.client.HTTPConnection('127.0.0.1', api.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(
            'GET',
            f'/v2/stores/fast/{image_id}?digest=sha512',
            headers={'X-Auth-Token': cloud_glance.token()},
        )
        with connection.getresponse() as answer:
            lines = [json.loads(answer.readline()) for _ in range(2)]
            assert 0 < lines[0]['size'] < lines[1]['size'] < LARGE
            assert api.has_open('fast', image_id)

    left = patience.Patience(PATIENCE)
    while api.has_open('fast', image_id):
        assert left
        time.sleep(0.2)


def test_snapshot(cloud, api, server):
    """Nova's uploads are whole, and where the base image is.

    uWSGI as most tools have it does not take those of stock Nova, unless a
    proxy makes smaller pieces of them.
    """
    expected = expected_digest(cloud.nova.disk(server))
    cloud.nova.conf(**{'glance.api_servers': [api.url]})

    image = cloud.snapshot(server)

    assert cloud.glance.sha256(image['id']) == {'fast': expected}


def test_between_requests(api):
    """A copy goes on after its request, unless it is said that none does."""
    image_id = api.create_image(bytes(MIB), ['fast'], disk_format='raw')
    body = {
        'method': {'name': 'copy-image'},
        'stores': ['reliable'],
        'all_stores_must_succeed': True,
    }
    path = f'/v2/images/{image_id}/import'
    assert api.request('POST', path, body, admin=True)[0] == 202
    copy = api.directory('reliable') / image_id

    left = patience.Patience(PATIENCE if api.has_threads else 3)
    while left and not copy.exists():
        time.sleep(0.05)

    assert copy.exists() == api.has_threads
    said = "Set 'enable-threads = true' in the uwsgi.ini of glance-api."
    assert (said in api.log.read_text()) != api.has_threads
