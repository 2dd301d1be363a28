"""A store in S3 or Swift that takes nothing, or fails on the way."""

from __future__ import annotations

import contextlib
import logging
import os

import pytest

from nova_multistore import copies
from nova_multistore import lookup
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore.compute import upload
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from tests import command
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional import connect
from tests.functional import expected_digest
from tests.servers import WAIT

MIB = 1 << 20
#: The bucket and the container; Glance does not make them.
NAME = 'faults'
#: More than one part in S3, and more than one piece of a large object.
SIZE = 6 * MIB
#: The path of data, of their second part, and of all if that is one object.
DATA = rf'/{NAME}/[0-9a-f-]{{36}}'
MIDDLE = {'s3': rf'partNumber=2|{DATA}$', 'swift': rf'-00002$|{DATA}$'}


class S3:
    """A bucket."""

    def __init__(self, s3, proxy):
        self.proxy = proxy
        self._s3 = s3
        self._client = s3.client()
        self._client.create_bucket(Bucket=NAME)

    def names(self):
        """Return the names of all that is kept, parts included."""
        listed = self._client.list_objects_v2(Bucket=NAME)
        parts = self._client.list_multipart_uploads(Bucket=NAME)
        return {
            entry['Key']
            for entry in (
                *listed.get('Contents', ()),
                *parts.get('Uploads', ()),
            )
        }

    @contextlib.contextmanager
    def gone(self):
        kept = {}
        for name in self.names():
            found = self._client.get_object(Bucket=NAME, Key=name)
            kept[name] = found['Body'].read()
            self._client.delete_object(Bucket=NAME, Key=name)
        self._client.delete_bucket(Bucket=NAME)
        yield
        self._client.create_bucket(Bucket=NAME)
        for name, data in kept.items():
            self._client.put_object(Bucket=NAME, Key=name, Body=data)

    @contextlib.contextmanager
    def wrong_key(self):
        self._s3.change_secret('other')
        yield
        self._s3.change_secret()

    @contextlib.contextmanager
    def full(self):
        quota = 'quota', '--quota-scope=bucket'
        self._s3.admin(quota[0], 'set', quota[1], '--max-size=1')
        self._s3.admin(quota[0], 'enable', quota[1])
        yield
        self._s3.admin(quota[0], 'disable', quota[1])


class Swift:
    """A container."""

    def __init__(self, swift, proxy):
        self.proxy = proxy
        self._keystone = swift.keystone
        self._connection = swift.connection()
        self._connection.put_container(NAME)

    def names(self):
        """Return the names of all that is kept, pieces included."""
        listed = self._connection.get_container(NAME)[1]
        return {entry['name'] for entry in listed}

    @contextlib.contextmanager
    def gone(self):
        kept = {}
        for name in self.names():
            kept[name] = self._connection.get_object(NAME, name)
            self._connection.delete_object(NAME, name)
        self._connection.delete_container(NAME)
        yield
        self._connection.put_container(NAME)
        for name, (headers, data) in kept.items():
            self._connection.put_object(NAME, name, data)
            assert 'x-object-manifest' not in headers

    @contextlib.contextmanager
    def wrong_key(self):
        self._keystone.refused.add('glance')
        yield
        self._keystone.refused.clear()

    @contextlib.contextmanager
    def full(self):
        quota = 'X-Container-Meta-Quota-Bytes'
        self._connection.post_container(NAME, {quota: '1'})
        yield
        self._connection.post_container(NAME, {quota: ''})


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, s3, swift, running):
    with (
        pytest.MonkeyPatch.context() as patcher,
        cloud_proxy.Proxy(s3.url) as before_s3,
        cloud_proxy.Proxy(swift.url) as before_swift,
    ):
        # boto3 in Glance's process tries once, and does not wait.
        patcher.setenv('AWS_MAX_ATTEMPTS', '1')
        stores = {'s3': S3(s3, before_s3), 'swift': Swift(swift, before_swift)}
        with (
            cloud_glance.Glance(
                tmp_path_factory.mktemp('glance'),
                stores={'cheap': 'file', 's3': 's3', 'swift': 'swift'},
                default='cheap',
                filters=cloud_glance.FILTER,
                **s3.store(
                    's3',
                    bucket=NAME,
                    s3_store_host=before_s3.url,
                    s3_store_create_bucket_on_put=False,
                ),
                **swift.store(
                    'swift',
                    container=NAME,
                    swift_store_endpoint=swift.account(before_swift.url),
                    swift_store_create_container_on_put=False,
                ),
            ) as glance,
            running(glance) as cloud,
        ):
            cloud.stores = stores
            cloud.servers = {
                store: cloud.boot(store, SIZE) for store in stores
            }
            yield cloud


@pytest.fixture(params=['s3', 'swift'])
def store(request):
    return request.param


@pytest.fixture(autouse=True)
def quick(quick, cloud, monkeypatch):
    """A copy is tried once; nothing fails any more in the end."""
    monkeypatch.setattr(copies, 'TRIES', 1)
    monkeypatch.setattr(copies, 'PAUSES', (0.05, 1.0))
    monkeypatch.setattr(relocation, 'PAUSE', 0.05)
    monkeypatch.setattr(upload, 'HANG', WAIT - 0.5)
    cloud.nova.records.clear()
    yield
    cloud.nova.conf(**{'glance.store': None})
    for each in cloud.stores.values():
        each.proxy.heal()


@contextlib.contextmanager
def middle(cloud, store):
    """Some of the data are refused after others were taken."""
    answer = cloud_proxy.Answer(503, b'')
    there = cloud.stores[store]
    there.proxy.fail('PUT', MIDDLE[store], answer, None)
    yield
    assert there.proxy.met
    there.proxy.heal()


@pytest.fixture(params=['gone', 'wrong_key', 'full', 'middle'])
def failing(request, cloud, store):
    """Have a store fail for a while; nothing may be left in it then."""

    @contextlib.contextmanager
    def failing():
        there = cloud.stores[store]
        before = there.names()
        assert before
        fault = (
            middle(cloud, store)
            if request.param == 'middle'
            else getattr(there, request.param)()
        )
        with fault:
            yield
        assert there.names() == before

    return failing


@pytest.fixture
def run(cloud):
    """Run a command as an administrator, who is told at once of a 503."""
    shown = connect(cloud.glance.url)
    shown._image.status_code_retries = 0
    return lambda name, *args: command.run(name, shown, *args)


@pytest.fixture
def make(cloud):
    """Make an image that is one object; it is deleted in the end."""
    made = []

    def make(*stores):
        data = bytes(512) + os.urandom(MIB // 2)
        made.append(
            cloud.glance.create_image(data, stores=stores, disk_format='raw')
        )
        return made[-1]

    yield make
    for image_id in made:
        cloud.glance.delete_image(image_id)


def test_derived(cloud, store, failing):
    """The default store has it whole, as with stock Nova; it is said why."""
    server = cloud.servers[store]
    expected = expected_digest(cloud.nova.disk(server))

    with failing():
        image = cloud.snapshot(server)

    assert image['status'] == 'active'
    assert cloud.glance.stores_of(image['id']) == ['cheap']
    assert cloud.glance.sha256(image['id']) == {'cheap': expected}
    said = f'store {store} did not take it, it went to cheap'
    assert image[record.DIFFERENCE].startswith(said)
    [line] = [
        line
        for line in cloud.nova.log_lines(logging.WARNING)
        if line.startswith(f'Store {store} did not take image')
    ]
    assert 'it goes to the default store cheap' in line


def test_ordered(request, cloud, store, failing):
    """It fails, with Glance's words, and the server is as before."""
    server = cloud.servers[store]
    images = {image['id'] for image in cloud.glance.images()}
    cloud.nova.conf(**{'glance.store': store})

    with failing():
        image = cloud.snapshot(server)

    assert image is None
    assert {image['id'] for image in cloud.glance.images()} == images
    assert cloud.nova.server(server)['status'] == 'ACTIVE'
    words = f'store {store} did not take it (HTTP 500 Internal Server Error'
    if request.node.callspec.id == 'swift-full':
        # The only one of them of which Glance says what it is.
        words = 'Quota exceeded or out of space'
    assert words in cloud.nova.faults(server)[0].splitlines()[0]


def test_relocate(cloud, run, make, store, failing):
    """It stays where it is."""
    image_id = make('cheap')
    digest = cloud.glance.sha256(image_id)

    with failing():
        result = run(image_relocate.RelocateImage, image_id, '--to', store)

    assert (result.code, result.states) == (1, {store: 'failed'})
    assert cloud.glance.stores_of(image_id) == ['cheap']
    assert cloud.glance.sha256(image_id) == digest


@pytest.mark.parametrize(
    ('store', 'fault'),
    [
        ('s3', 'gone'),
        ('s3', 'wrong_key'),
        ('s3', 'cut'),
        ('swift', 'gone'),
        ('swift', 'cut'),
    ],
)
def test_verify(cloud, run, make, store, fault):
    """A copy that cannot be read is not deleted."""
    image_id = make('cheap', store)
    there = cloud.stores[store]
    kept = there.names()
    if fault == 'cut':
        cut = cloud_proxy.CutAnswer(1000)
        there.proxy.fail('GET', DATA, cut, None)
        result = run(image_verify.VerifyImages, image_id, '--fix')
        there.proxy.heal()
    else:
        with getattr(there, fault)():
            result = run(image_verify.VerifyImages, image_id, '--fix')

    state = 'missing' if fault == 'gone' else 'unreadable'
    assert result.states == {'cheap': 'good', store: state}
    assert result.code == (1 if fault == 'gone' else 3)
    assert there.names() == kept
    again = run(image_verify.VerifyImages, image_id)
    assert again.states == {'cheap': 'good', store: 'good'}


def test_slow(cloud, store):
    """The snapshot waits for it, and is where it was to be."""
    server = cloud.servers[store]
    expected = expected_digest(cloud.nova.disk(server))
    # The proxy waits for data that are announced, when Swift no longer does.
    lookup.hung_by_size('swift', None)
    there = cloud.stores[store]
    delay = cloud_proxy.Delay(WAIT + 0.5)
    there.proxy.fail('PUT', MIDDLE[store], delay, None)

    image = cloud.snapshot(server)

    assert there.proxy.met
    assert cloud.glance.stores_of(image['id']) == [store]
    assert record.DIFFERENCE not in image
    there.proxy.heal()
    assert cloud.digest(image) == expected
    cloud.glance.delete_image(image['id'])
