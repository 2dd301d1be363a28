"""Uploads into a Glance whose pipeline holds the filter."""

from __future__ import annotations

import ast
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import uuid

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from tests.cloud import glance as cloud_glance
from tests.functional import FOLLOWED
from tests.functional import connect
from tests.functional import unwritable
from tests.functional import upgrade_check

MIB = 1 << 20
FLAVORS = [
    '',
    'caching',
    'cachemanagement',
    'keystone',
    'keystone+caching',
    'keystone+cachemanagement',
]
BASE = selection.BASE_IMAGE_REF_HEADER
STORE = selection.STORE_HEADER


@contextlib.contextmanager
def started(directory, **kwargs):
    """Start a Glance that has the filter."""
    directory.mkdir(exist_ok=True)
    with cloud_glance.Glance(
        directory,
        filters=cloud_glance.FILTER,
        **kwargs,
    ) as glance:
        yield glance


@pytest.fixture(scope='module')
def glance(root):
    """One for all tests, instead of the one without the filter."""
    with started(root / 'glance') as glance:
        yield glance


@pytest.fixture(scope='module')
def base(glance):
    """Make, once each, base images by the stores in which they are."""
    made = {}

    def base(*stores):
        if stores not in made:
            made[stores] = lasting(glance, *stores)
        return made[stores]

    return base


@pytest.fixture
def own(tmp_path):
    """Start a Glance of a test's own, which an unprivileged one can reach."""
    tmp_path.chmod(0o755)
    with contextlib.ExitStack() as stack:
        yield lambda **kwargs: stack.enter_context(started(tmp_path, **kwargs))


@pytest.fixture
def log(glance):
    """Read what the filter has said of late."""
    return Log(glance)


class Log:
    """What the filter says from now on."""

    def __init__(self, glance):
        self._path = glance.log
        self._begin = self._path.stat().st_size

    def lines(self, level=''):
        """Return the lines of a level, or all."""
        with self._path.open('rb') as log:
            log.seek(self._begin)
            text = log.read().decode(errors='replace')
        return [
            line.removesuffix('\x1b[00m')
            for line in text.split('\n')
            if f'{level} nova_multistore.glance' in line
        ]


def ask(glance, *args, **kwargs):
    """Send a request that succeeds, and return what is answered."""
    status, body = glance.request(*args, **kwargs)
    assert status < 300, body
    return json.loads(body) if body else None


def queued(glance):
    return glance.create_queued_image()


def put(glance, image_id, data, headers):
    """Send an image's data, and return the answer's status and body."""
    return glance.request(
        'PUT',
        f'/v2/images/{image_id}/file',
        data,
        headers={'Content-Type': 'application/octet-stream', **headers},
    )


def land(glance, headers):
    """Upload some data.

    :returns: the store in which it is, whole, and nowhere else
    """
    image_id, data = queued(glance), os.urandom(1000)
    assert put(glance, image_id, data, headers) == (204, b'')
    return where(glance, image_id, data)


def where(glance, image_id, data):
    """Return the store in which an image is, whole, and nowhere else."""
    assert glance.image(image_id)['status'] == 'active'
    [(store, path)] = glance.files(image_id).items()
    assert path.read_bytes() == data
    assert glance.stores_of(image_id) == [store]
    return store


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


def change(glance, image_id, **attributes):
    """Change an image's attributes."""
    changes = (
        {'op': 'replace', 'path': f'/{name}', 'value': value}
        for name, value in attributes.items()
    )
    glance.change_image(image_id, *changes, admin=True)


def lasting(glance, *stores):
    """Create a base image, in ``fast`` if nothing is said.

    Unlike those of ``base`` a test may change it.
    """
    return glance.create_image(
        b'a base image', stores=stores or ['fast'], disk_format='raw'
    )


def absent(glance):
    return str(uuid.uuid4())


def deleted(glance):
    image_id = lasting(glance)
    glance.delete_image(image_id)
    return image_id


def deactivated(glance):
    image_id = lasting(glance)
    path = f'/v2/images/{image_id}/actions/deactivate'
    ask(glance, 'POST', path, admin=True)
    return image_id


def unlisted(glance):
    image_id = lasting(glance)
    change(glance, image_id, os_hidden=True)
    return image_id


@pytest.mark.parametrize(
    ('make', 'store'),
    [
        (absent, 'cheap'),
        (deleted, 'cheap'),
        (queued, 'cheap'),
        (deactivated, 'cheap'),
        (unlisted, 'fast'),
    ],
)
def test_state_of_base_image(glance, log, make, store):
    """It counts as long as it shows a store to who asks for it by its id."""
    assert land(glance, {BASE: make(glance)}) == store
    assert len(log.lines('INFO')) == len(log.lines()) == 1


def others(glance, visibility, status=None):
    """Create a base image of another project.

    :param status: of this project's membership; None without one
    """
    if visibility == 'shared' and not cloud_glance.HAS_MEMBERS:
        pytest.skip('this Glance does not show a shared image on SQLite')
    image_id = glance.create_image(
        b'a base image',
        stores=['fast'],
        disk_format='raw',
        visibility=visibility,
        project='other',
    )
    if status:
        path = f'/v2/images/{image_id}/members'
        body = {'member': cloud_glance.PROJECT}
        ask(glance, 'POST', path, body, project='other')
        if status != 'pending':
            path += f'/{cloud_glance.PROJECT}'
            ask(glance, 'PUT', path, {'status': status})
    return image_id


VISIBILITIES = [
    ('private', None, False),
    ('shared', None, False),
    # Glance shows it to who knows the id; it is only left out of lists.
    ('shared', 'pending', True),
    ('shared', 'rejected', True),
    ('shared', 'accepted', True),
    ('community', None, True),
    ('public', None, True),
]


@pytest.mark.parametrize(('visibility', 'status', 'visible'), VISIBILITIES)
def test_base_image_of_another_project(
    glance, log, visibility, status, visible
):
    """What Glance does not show to who sends the data does not exist."""
    image_id = others(glance, visibility, status)
    assert (glance.image(image_id) is not None) is visible

    assert land(glance, {BASE: image_id}) == ('fast' if visible else 'cheap')

    [line] = log.lines()
    assert ('the base image is deleted or not visible' in line) is not visible


def test_answers_tell_nothing(glance, base):
    """Whatever the base image is, they are alike.

    And what is hidden takes as long as what does not exist, but for less than
    the noise: Glance itself spends a little more on the former, and so does a
    GET of it. These uploads are refused, since the image has its data already,
    after the filter did all that it does.
    """
    refs = {
        (visibility, status): others(glance, visibility, status)
        for visibility, status, _ in VISIBILITIES
    }
    hidden = {name: [] for name in refs if (*name, False) in VISIBILITIES}
    refs['absent'] = absent(glance)
    hidden['absent'] = []

    def answer(name):
        return put(glance, base('fast'), b'data', {BASE: refs[name]})

    answers = {answer(name) for name in refs}
    for _ in range(60):
        for name, seconds in hidden.items():
            begin = time.perf_counter()
            answers.add(answer(name))
            seconds.append(time.perf_counter() - begin)

    assert [status for status, _ in answers] == [409]
    deciles = statistics.quantiles(hidden.pop('absent'), n=10)
    # On a machine that does nothing else there is next to none.
    noise, median = max(deciles[-1] - deciles[0], 0.002), deciles[4]
    for seconds in hidden.values():
        assert abs(statistics.median(seconds) - median) < noise


UUID = r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
# What a header can hold; a server refuses the three others by itself.
latin_1 = st.text(
    st.characters(max_codepoint=255, exclude_characters='\r\n\0')
)
uuids = st.uuids().map(str)
hostile = st.one_of(
    latin_1,
    st.text(st.characters(exclude_characters='\r\n\0')).map(
        lambda text: text.encode('utf-8', 'replace').decode('latin-1')
    ),
    st.builds('{}{}{}'.format, latin_1, uuids, latin_1),
    st.lists(uuids, min_size=2).map(','.join),
    st.builds(
        '{2}{0}{1}'.format,
        st.sampled_from(
            [
                "' OR '1'='1",
                "'; DROP TABLE images; --",
                '../../../etc/passwd',
                '/v2/images/%2e%2e/',
                '?limit=1#',
                '%00%0d%0aX-Image-Meta-Store: fast',
                '{{7*7}}${jndi:ldap://x}%s%n',
                '\x1b[2J\x07\x08',
            ]
        ),
        uuids,
        st.sampled_from(['', ' ', '\t', '\x0b', '\xa0']),
    ),
    st.sampled_from(['urn:uuid:{}', '{{{}}}', '0x{:.30}', '+{:.31}']).flatmap(
        lambda form: st.uuids().map(lambda u: form.format(u.hex))
    ),
    st.builds(
        lambda text, size: (text * size)[:size],
        st.sampled_from(['x', '0', '-', '\xff', 'a, ']),
        st.sampled_from([65, 8191, MIB]),
    ),
    uuids,
)


def test_hostile_values(glance, base):
    """They change nothing, and what is no UUID is one WARNING."""
    image_id = base('cheap')
    expected = put(glance, image_id, b'data', {BASE: absent(glance)})

    @hypothesis.settings(
        max_examples=1000,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(hostile)
    def check(value):
        log = Log(glance)
        assert put(glance, image_id, b'data', {BASE: value}) == expected
        value = value.strip(' \t')
        [line] = log.lines()
        assert line.isascii()
        assert line.isprintable()
        if re.fullmatch(UUID, value, re.IGNORECASE | re.ASCII):
            assert 'the base image is deleted or not visible' in line
        else:
            assert ' WARNING ' in line
            quoted = line.partition('not a UUID: ')[2]
            assert ast.literal_eval(quoted) == value[:64]

    check()


@pytest.mark.parametrize(
    'value',
    [
        '',
        'x' * MIB,
        "'; DROP TABLE images; --",
        '../../../etc/passwd',
        'smörgåsbord'.encode().decode('latin-1'),
        '\x01\x1b[2J\x7f\x85\xa0',
    ],
    ids=len,
)
def test_upload_with_hostile_value(glance, value):
    """It lands in the default store, whole."""
    assert land(glance, {BASE: value}) == 'cheap'


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
        deadline = time.monotonic() + 20
        while not log.lines() and time.monotonic() < deadline:
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


def test_lookup_that_fails(glance, log):
    """The upload goes on."""
    image_id = lasting(glance)
    glance.change_database(
        'UPDATE image_locations SET meta_data = ? WHERE image_id = ?',
        *('no JSON', image_id),
    )
    assert glance.request('GET', f'/v2/images/{image_id}')[0] == 500

    assert land(glance, {BASE: image_id}) == 'cheap'

    assert any(
        f'base image {image_id} could not be looked up' in line
        for line in log.lines('ERROR')
    )


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


class TestCinder:
    """Cinder's own code, which sends the header."""

    @pytest.fixture
    def upload(self, tmp_path):
        """Upload a volume; return the store in which it then is."""

        def upload(glance, *arguments):
            image_id, data = queued(glance), os.urandom(MIB)
            volume = tmp_path / 'volume'
            volume.write_bytes(data)
            glance.forget_requests()
            command = ['-m', 'tests.cloud.cinder', '--glance', glance.url]
            command += ['--token', cloud_glance.token(), '--image', image_id]
            command += ['--volume', str(volume), *arguments]
            subprocess.run(
                [sys.executable, '-W', 'ignore', *command], check=True
            )
            return where(glance, image_id, data)

        return upload

    def test_base_image_tells(self, glance, base, upload):
        """It lands beside the image that the volume was made from."""
        assert upload(glance, '--base', base('fast')) == 'fast'
        [request] = (r for r in glance.requests() if r.is_upload)
        assert (request.base_image_ref, request.store) == (base('fast'), None)

    def test_volume_type_tells(self, glance, base, upload):
        """A store in the volume's type wins."""
        arguments = ['--base', base('fast'), '--store', 'reliable']
        assert upload(glance, *arguments) == 'reliable'

    def test_without_the_filter(self, tmp_path, upload):
        """It lands in the default store."""
        tmp_path.chmod(0o755)
        with cloud_glance.Glance(tmp_path) as stock:
            assert upload(stock, '--base', lasting(stock)) == 'cheap'


@pytest.mark.eventlet
class TestNova:
    """Nova's own code for snapshots, patched."""

    @pytest.fixture
    def images(self, glance, base, qcow2):
        """The base images of servers: as ``base``, but bootable."""
        return lambda *stores: (
            base(*stores)
            if stores == ('web',)
            else glance.create_image(qcow2, stores=stores)
        )

    @pytest.fixture
    def resolution(self, nova, monkeypatch):
        """Switch off what the compute side finds out of stores."""
        catalogue = lookup.catalogue

        def unknown(*args, **kwargs):
            raise exception.LookupFailed('the test switched it off')

        return lambda on: monkeypatch.setattr(
            lookup, 'catalogue', catalogue if on else unknown
        )

    @pytest.fixture
    def snapshot(self, nova, glance, resolution):
        """Take a snapshot, with or without Nova's own resolution.

        :returns: its store, and the one that Nova named
        """

        def snapshot(server, resolve):
            resolution(resolve)
            glance.forget_requests()
            image_id = nova.snapshot(server)
            assert glance.image(image_id)['status'] == 'active'
            [store] = glance.files(image_id)
            assert glance.stores_of(image_id) == [store]
            upload = [r for r in glance.requests() if r.is_upload][-1]
            return store, upload.store

        return snapshot

    @pytest.mark.parametrize(('stores', 'store'), FOLLOWED)
    def test_both_agree(self, nova, images, snapshot, stores, store):
        """The filter finds the store that Nova would have found."""
        server = nova.create_server(images(*stores))

        named = store if stores != ('web',) else None
        assert snapshot(server, resolve=True) == (store, named)
        assert snapshot(server, resolve=False) == (store, None)

        nova.delete_server(server)

    def test_both_agree_on_a_deleted_image(
        self, nova, glance, images, snapshot
    ):
        """The default store."""
        image_id = images('fast')
        server = nova.create_server(image_id)
        glance.delete_image(image_id)

        assert snapshot(server, resolve=True) == ('cheap', None)
        assert snapshot(server, resolve=False) == ('cheap', None)

        nova.delete_server(server)

    def test_order(self, nova, images, snapshot):
        """The filter obeys [glance] store."""
        nova.conf(**{'glance.store': 'reliable'})
        server = nova.create_server(images('fast'))

        for resolve in (True, False):
            assert snapshot(server, resolve) == ('reliable', 'reliable')

        nova.delete_server(server)

    def test_volume_backed(self, nova, glance, snapshot):
        """No header, no base image: the default store."""
        server = nova.create_server(volume_backed=True)

        assert snapshot(server, resolve=True) == ('cheap', None)

        nova.delete_server(server)

    def test_fallback(self, nova, glance, images, snapshot):
        """It is not sent back to the store that refused."""
        server = nova.create_server(images('fast'))

        with unwritable(glance.directory('fast')):
            assert snapshot(server, resolve=True) == ('cheap', 'cheap')

        nova.delete_server(server)
