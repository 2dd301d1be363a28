"""Where an upload lands that names a base image, a store, or both."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import socket
import time
import uuid

import pytest

from tests import patience
from tests.cloud import glance as cloud_glance
from tests.functional import FOLLOWED
from tests.functional import connect
from tests.functional import unwritable
from tests.functional import upgrade_check
from tests.functional.glance_filter import BASE
from tests.functional.glance_filter import MIB
from tests.functional.glance_filter import STORE
from tests.functional.glance_filter import Log
from tests.functional.glance_filter import ask
from tests.functional.glance_filter import land
from tests.functional.glance_filter import lasting
from tests.functional.glance_filter import put
from tests.functional.glance_filter import queued
from tests.functional.glance_filter import where

FLAVORS = [
    '',
    'caching',
    'cachemanagement',
    'keystone',
    'keystone+caching',
    'keystone+cachemanagement',
]


def test_it_can_be_told_that_it_is_there(glance, tmp_path):
    """By what answers an upload to an image that is not there."""
    base = str(uuid.uuid4())
    connection = http.client.HTTPConnection('127.0.0.1', glance.port)
    with contextlib.closing(connection):
        connection.request(
            'PUT',
            f'/v2/images/{uuid.uuid4()}/file',
            b'',
            {
                'X-Auth-Token': cloud_glance.token(),
                'Content-Type': 'application/octet-stream',
                BASE: base.upper(),
            },
        )
        answer = connection.getresponse()

    assert (answer.status, answer.headers[BASE]) == (404, base)
    images = glance.images()
    code, told = upgrade_check(tmp_path, glance.url)
    assert code == 0, told
    assert "It is in Glance's pipeline." in told
    assert glance.images() == images


@pytest.mark.parametrize(('stores', 'store'), FOLLOWED)
def test_base_image_tells(glance, base, log, stores, store):
    """The store of the base image; one line says so, with the reason."""
    assert land(glance, {BASE: base(*stores)}) == store

    [line] = log.lines()
    assert ' INFO ' in line
    if stores == ('web',):
        why = "Glance's default store: the base image is only in web, where"
    else:
        why = f'store {store}: the base image is in it'
    assert f'goes to {why}' in line
    assert f'[base image {base(*stores)}]' in line


def test_without_the_filter(tmp_path):
    """The same request lands in the default store."""
    tmp_path.chmod(0o755)
    with cloud_glance.Glance(tmp_path) as stock:
        assert land(stock, {BASE: lasting(stock)}) == 'cheap'


@pytest.mark.parametrize('flavor', FLAVORS)
def test_flavors(own, tmp_path, flavor):
    """Each of Glance's pipelines."""
    options = {}
    if 'keystone' not in flavor:
        # Nobody has a role there.
        policies = tmp_path / 'policy.yaml'
        rules = ('add_image', 'get_image', 'upload_image', 'download_image')
        policies.write_text('\n'.join(f'{rule}: "@"' for rule in rules))
        options['oslo_policy.policy_file'] = policies
    glance = own(flavor=flavor, **options)
    image_id = lasting(glance)

    assert land(glance, {BASE: image_id}) == 'fast'
    assert land(glance, {}) == 'cheap'
    assert glance.request('GET', f'/v2/images/{image_id}/file') == (
        200,
        b'a base image',
    )


def test_one_store(own):
    """Without `enabled_backends` there is no filter."""
    glance = own(multi_store=False)
    log = Log(glance)
    image_id = glance.create_image(b'a base image', disk_format='raw')

    for value in (image_id, 'no UUID'):
        upload, data = queued(glance), os.urandom(1000)
        assert put(glance, upload, data, {BASE: value}) == (204, b'')
        assert glance.files(upload)['cheap'].read_bytes() == data
    assert log.lines() == []


@pytest.mark.parametrize('value', ['reliable', 'cheap', 'web', 'nosuch', ''])
def test_explicit_store(glance, base, log, value):
    """It wins, even if Glance refuses it."""
    image_id, data = queued(glance), os.urandom(1000)
    answer = put(glance, image_id, data, {STORE: value})
    if answer[0] == 204:
        image_id = queued(glance)

    headers = {BASE: base('fast'), STORE: value}
    assert put(glance, image_id, data, headers) == answer

    if answer[0] == 204:
        assert where(glance, image_id, data) == value
    else:
        assert value not in ('reliable', 'cheap')
    assert log.lines() == []


def test_other_requests(glance, base, log):
    """Only an upload is looked at."""
    path = f'/v2/images/{base("fast")}'
    headers = {BASE: 'no UUID', 'Content-Type': 'application/octet-stream'}

    for method, end in (
        ('GET', ''),
        ('GET', '/file'),
        ('PUT', ''),
        ('PUT', '/stage'),
        ('PUT', '/tags/file'),
        ('POST', '/file'),
        ('PUT', '/file/more'),
    ):
        glance.request(method, path + end, b'', headers=headers)
    glance.request('PUT', '/v2/images/no-uuid/file', b'', headers=headers)

    assert log.lines() == []


@pytest.mark.parametrize('version', ['v2.0', 'v2.9', 'v2.15'])
def test_versions(glance, base, version):
    """The path is as Glance's version negotiation leaves it."""
    image_id, data = queued(glance), os.urandom(1000)

    assert glance.request(
        'PUT',
        f'/{version}/images/{image_id}/file',
        data,
        headers={
            'Content-Type': 'application/octet-stream',
            BASE: base('fast'),
        },
    ) == (204, b'')

    assert where(glance, image_id, data) == 'fast'


def test_ids_are_not_case_sensitive(glance, base):
    """As everywhere in OpenStack."""
    assert land(glance, {BASE: base('fast').upper()}) == 'fast'


def send(glance, image_id, headers, body, wait=lambda: None):
    """Upload as by hand: headers may occur twice, and the body come late."""
    lines = [f'PUT /v2/images/{image_id}/file HTTP/1.1', 'Host: glance']
    lines += [f'X-Auth-Token: {cloud_glance.token()}']
    lines += ['Content-Type: application/octet-stream']
    lines += [f'Content-Length: {len(body)}']
    lines += [f'{name}: {value}' for name, value in headers]
    with socket.create_connection(
        ('127.0.0.1', glance.port), timeout=60
    ) as connection:
        connection.sendall('\r\n'.join([*lines, '', '']).encode())
        wait()
        connection.sendall(body)
        with connection.makefile('rb') as answer:
            assert b' 204 ' in answer.readline()


def test_two_base_images(glance, base, log):
    """Neither counts."""
    image_id, data = queued(glance), os.urandom(1000)
    headers = [(BASE, base('fast')), (BASE, base('reliable'))]

    send(glance, image_id, headers, data)

    assert where(glance, image_id, data) == 'cheap'
    assert len(log.lines('WARNING')) == len(log.lines()) == 1


def test_body_is_not_waited_for(glance, base, log):
    """The filter has decided before the first byte of it is sent."""
    image_id, data = queued(glance), os.urandom(MIB)

    def wait():
        left = patience.Patience(20)
        while not log.lines() and left:
            time.sleep(0.01)
        assert len(log.lines('INFO')) == 1

    send(glance, image_id, [(BASE, base('fast'))], data, wait)

    assert where(glance, image_id, data) == 'fast'


def test_store_that_glance_lacks(own):
    """Of the stores of the base image, those that can be written count."""
    glance = own()
    one, two = lasting(glance), lasting(glance, 'fast', 'reliable')
    glance.stop()
    glance.start({'cheap': 'file', 'reliable': 'file', 'web': 'http'})

    assert land(glance, {BASE: one}) == 'cheap'
    assert land(glance, {BASE: two}) == 'reliable'


def test_store_that_could_not_be_set_up(own):
    """Glance lists it, and would refuse the data."""
    glance = own()
    one, two = lasting(glance), lasting(glance, 'fast', 'reliable')
    glance.stop()
    glance.options['fast.filesystem_store_datadir'] = '/proc/no/such'
    glance.start()
    log = Log(glance)
    answer = put(glance, queued(glance), b'data', {STORE: 'fast'})
    assert answer[0] == 410

    assert land(glance, {BASE: one}) == 'cheap'
    assert land(glance, {BASE: two}) == 'reliable'

    assert 'is only in fast, where Glance takes no data' in log.lines()[0]


def test_store_that_refuses_the_data(glance, base):
    """Nobody can know before; the client can name the default store then."""
    image_id, data = queued(glance), os.urandom(1000)
    headers = {BASE: base('fast')}
    with unwritable(glance.directory('fast')):
        assert put(glance, image_id, data, headers)[0] == 503
        assert glance.image(image_id)['status'] == 'queued'

        headers[STORE] = 'cheap'
        assert put(glance, image_id, data, headers) == (204, b'')

    assert where(glance, image_id, data) == 'cheap'


@pytest.fixture
def misplaced(own, tmp_path):
    """A Glance whose filter is where nobody knows whose request it is."""
    glance = own()
    right = tmp_path / 'etc' / 'glance-api-paste.ini'
    wrong = tmp_path / 'wrong.ini'
    wrong.write_text(
        right.read_text().replace('context multistore', 'multistore context')
    )
    glance.stop()
    glance.options['paste_deploy.config_file'] = wrong
    glance.start()
    return glance


def test_behind_no_context(misplaced):
    """In the wrong place it does nothing but complain."""
    image_id = lasting(misplaced)
    log = Log(misplaced)

    assert land(misplaced, {BASE: image_id}) == 'cheap'

    said = ' '.join(log.lines('ERROR'))
    assert 'the filter does not stand behind `context`' in said


def test_check_of_a_wrong_place(misplaced, tmp_path):
    """It is no filter to count on: not for uploads, and not for proofs."""
    code, told = upgrade_check(
        tmp_path,
        misplaced.url,
        f'[nova_multistore]\nmove_to = fast\nauth_type = admin_token\n'
        f'endpoint = {misplaced.url}\ntoken = {cloud_glance.ADMIN}\n',
    )

    assert code == 1
    assert "It is in Glance's pipeline, and does not work there" in told
    assert not connect(misplaced.url).images.reads_copies()
    status, _ = misplaced.request(
        'GET', f'/v2/stores/fast/{lasting(misplaced)}', admin=True
    )
    assert status == 405


def test_file_is_deleted_while_it_is_read(glance):
    """It stays whole for who has opened it."""
    data = os.urandom(MIB) * 64
    image_id = glance.create_image(
        data, stores=['fast', 'reliable'], disk_format='raw'
    )

    for delete in (
        lambda store: ask(
            glance, 'DELETE', f'/v2/stores/{store}/{image_id}', admin=True
        ),
        lambda store: glance.delete_image(image_id),
    ):
        [store, *_] = glance.stores_of(image_id)
        with glance.reading(f'/v2/images/{image_id}/file') as read:
            delete(store)
            assert read() == data


def test_part_of_an_image(glance):
    image_id = glance.create_image(os.urandom(MIB), disk_format='raw')
    data = glance.files(image_id)['fast'].read_bytes()

    assert glance.request(
        'GET',
        f'/v2/images/{image_id}/file',
        headers={'Range': 'bytes=70000-200000'},
    ) == (206, data[70000:200001])


def test_side_by_side(glance, base):
    """Each goes by its own header."""
    kinds = [
        ({BASE: base('fast')}, 'fast'),
        ({BASE: base('reliable')}, 'reliable'),
        ({BASE: base('fast', 'cheap')}, 'cheap'),
        ({BASE: base('fast'), STORE: 'reliable'}, 'reliable'),
        ({BASE: 'no UUID'}, 'cheap'),
        ({}, 'cheap'),
    ]
    uploads = [
        (queued(glance), os.urandom(MIB), *kinds[i % len(kinds)])
        for i in range(50)
    ]

    with concurrent.futures.ThreadPoolExecutor(len(uploads)) as pool:
        answers = list(
            pool.map(lambda upload: put(glance, *upload[:3]), uploads)
        )

    assert answers == [(204, b'')] * len(uploads)
    for image_id, data, _, store in uploads:
        assert where(glance, image_id, data) == store
