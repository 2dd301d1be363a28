"""The digest of one copy, from the filter in the real Glance."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time

import pytest

from nova_multistore import digests
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from tests import command
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional import connect
from tests.functional import equal
from tests.functional import three_sites
from tests.functional.test_image_verify import HAS_PREFERENCE
from tests.functional.test_image_verify import make
from tests.functional.test_image_verify import sent
from tests.functional.test_image_verify import without_hash

MIB = 1 << 20
DATA = bytes(512) + os.urandom(8 * MIB - 512)
#: What reading it takes many seconds, and no disk.
LARGE = 256 << 30
#: How long a Glance may take to see that a client is gone, in seconds.
PATIENCE = 30
ONE = {
    'multistore': {
        'use': cloud_glance.FILTER['multistore'],
        'digests': '1',
    }
}


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """A Glance for all tests, which computes one digest at a time."""
    with three_sites(tmp_path_factory.mktemp('glance'), filters=ONE) as glance:
        yield glance


@pytest.fixture
def glance(running):
    """The Glance, without the images of another test."""
    yield running
    running.clear()


def create(glance):
    return glance.create_image(
        DATA, stores=['central', 'dcn0'], disk_format='raw'
    )


def ask(glance, store, image_id, algorithm='sha512', **how):
    """Ask for a digest, as a member."""
    path = f'/v2/stores/{store}/{image_id}?digest={algorithm}'
    return glance.request('GET', path, **how)


@pytest.mark.parametrize('algorithm', ['sha512', 'sha256', 'md5'])
def test_digest(glance, algorithm):
    """It is that of the store, and nothing else is sent."""
    image_id = create(glance)
    other = bytearray(DATA)
    other[-1] ^= 1
    (glance.directory('dcn0') / image_id).write_bytes(other)

    for store, data in ('central', DATA), ('dcn0', other):
        status, body = ask(glance, store, image_id, algorithm)

        assert status == 200
        assert json.loads(body.splitlines()[-1]) == {
            'image_id': image_id,
            'store': store,
            'algorithm': algorithm,
            'value': hashlib.new(algorithm, data).hexdigest(),
            'size': len(DATA),
        }
    assert ask(glance, 'central', image_id, 'nosuch') == (200, DATA)


def test_refused_as_a_download(glance):
    """Where there are no data, there is no digest: the answers are alike."""
    foreign = make(glance, 'central', project='other')
    own, lost = make(glance, 'central'), make(glance, 'central', 'dcn0')
    (glance.directory('dcn0') / lost).unlink()

    for store, image_id, status in (
        ('central', foreign, 404),
        ('central', own, 200),
        ('dcn0', own, 404),
        ('nosuch', own, 404),
        ('dcn0', lost, 410),
    ):
        path = f'/v2/stores/{store}/{image_id}'
        data = glance.request('GET', path)
        digest = ask(glance, store, image_id)
        assert (data[0], digest[0]) == (status, status)
        if status != 200:
            assert digest == data
    # A refusal takes nobody's place.
    assert ask(glance, 'central', own)[0] == 200


def test_policies(glance):
    """Glance's own rules say who may have a digest."""
    image_id = make(glance, 'central')
    rules = glance.root / 'policy.yaml'
    names = ['download_image']
    if HAS_PREFERENCE:
        names.append('download_from_store')
    for name in names:
        rules.write_text(f'"{name}": "role:admin"\n')
        with glance.configured(**{'oslo_policy.policy_file': rules}):
            assert ask(glance, 'central', image_id)[0] == 403
            assert ask(glance, 'central', image_id, admin=True)[0] == 200


def test_notification(glance):
    """Metering and audits see it, as they see a download."""
    image_id = make(glance, 'central')
    with glance.configured(**{'oslo_messaging_notifications.driver': 'log'}):
        glance.log.write_text('')
        glance.request('GET', f'/v2/stores/central/{image_id}')
        ask(glance, 'central', image_id)
        [download, digest] = sent(glance)

    assert digest == download
    assert digest[1]['image_id'] == image_id


def test_client_goes_away(glance):
    """The connection is not idle; without it, the work ends.

    Until then, there is no place for another digest, and the data of a copy
    can be read.
    """
    image_id, other = make(glance, 'central'), make(glance, 'dcn0')
    os.truncate(glance.directory('central') / image_id, LARGE)
    connection = http.client.HTTPConnection(
        '127.0.0.1', glance.port, timeout=PATIENCE
    )
    with contextlib.closing(connection):
        connection.request(
            'GET',
            f'/v2/stores/central/{image_id}?digest=sha512',
            headers={'X-Auth-Token': cloud_glance.token()},
        )
        answer = connection.getresponse()
        lines = [json.loads(answer.readline()) for _ in range(2)]
        assert 0 < lines[0]['size'] < lines[1]['size'] < LARGE
        assert glance.has_open('central', image_id)

        status, body = ask(glance, 'dcn0', other)
        assert (status, b'1 digests already' in body) == (429, True)
        assert glance.request('GET', f'/v2/stores/dcn0/{other}')[0] == 200
        answer.close()

    left = patience.Patience(PATIENCE)
    while glance.has_open('central', image_id):
        assert left
        time.sleep(0.2)
    assert ask(glance, 'dcn0', other)[0] == 200


def test_commands_wait_for_each_other(glance):
    """Four images are verified at a time, and one digest is computed."""
    image_ids = [create(glance) for _ in range(4)]
    glance.flip('dcn0', image_ids[3])

    result = command.run(
        image_verify.VerifyImages, connect(glance.url), *image_ids
    )

    assert result.code == 1
    damaged = [row for row in result.rows if row['state'] != 'good']
    assert [(row['image_id'], row['state']) for row in damaged] == [
        (image_ids[3], 'damaged')
    ]
    read = [
        each
        for each in glance.requests()
        if each.path.startswith(('/v2/stores/central/', '/v2/stores/dcn0/'))
    ]
    assert len(read) >= 2 * len(image_ids)
    assert all('digest=sha512' in each.query for each in read)


@pytest.mark.parametrize('old', [False, True])
def test_nothing_of_an_image_is_sent(glance, old):
    """Commands that compare copies read them, where the filter can do it."""
    filters = {'multistore': {**ONE['multistore'], 'digests': '0'}}
    image_ids = [create(glance) for _ in range(2)]
    without_hash(glance)
    glance.flip('dcn0', image_ids[1])
    glance.forget_requests()
    with (
        glance.configured(filters=filters)
        if old
        else contextlib.nullcontext(),
        cloud_proxy.Proxy(glance.url) as proxy,
    ):
        cloud = connect(proxy.url)
        verified = command.run(image_verify.VerifyImages, cloud, *image_ids)
        relocated = [
            command.run(
                image_relocate.RelocateImage,
                cloud,
                image_id,
                *('--to', 'dcn0'),
            )
            for image_id in image_ids
        ]
        body = proxy.sent

    states = {row['image_id']: row['state'] for row in verified.rows}
    assert states == {image_ids[0]: 'good', image_ids[1]: 'different'}
    assert [result.code for result in relocated] == [0, 1]
    assert 'its copies are not alike' in relocated[1].words
    equal(glance, image_ids[0], 'dcn0')
    assert sorted(glance.stores_of(image_ids[1])) == ['central', 'dcn0']
    # Two copies of two images, twice.
    if old:
        assert body > 8 * len(DATA)
    else:
        assert body < 64 << 10


@pytest.mark.parametrize('fault', ['cut', 'lie'])
def test_answer_that_is_wrong(glance, fault):
    """Nothing is known then, and nothing is deleted."""
    image_id = create(glance)
    of_another = digests.encode(
        digests.Digest(image_id, 'dcn1', 'sha512', '0' * 128, len(DATA))
    )
    with cloud_proxy.Proxy(glance.url) as proxy:
        proxy.fail(
            'GET',
            '/v2/stores/central/.*digest=',
            cloud_proxy.CutAnswer(50)
            if fault == 'cut'
            else cloud_proxy.Answer(200, of_another, digests.CONTENT_TYPE),
            times=None,
        )
        result = command.run(
            image_verify.VerifyImages, connect(proxy.url), image_id, '--fix'
        )
        assert proxy.met == 1

    assert (result.code, result.states) == (
        3,
        {'central': 'unreadable', 'dcn0': 'good'},
    )
    equal(glance, image_id, 'central', 'dcn0')
