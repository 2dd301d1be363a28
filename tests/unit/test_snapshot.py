"""The decision at the driver's door."""

from __future__ import annotations

import functools
import logging
import threading
import time

from keystoneauth1 import loading
from nova import exception as nova_exception
import nova.conf
from nova.image import glance as nova_image
from nova.virt import driver as virt_driver
from nova.virt import fake
import pytest

from nova_multistore import lookup
from nova_multistore import record
from nova_multistore import selection
from nova_multistore.compute import ceph
from nova_multistore.compute import snapshot_state
from nova_multistore.compute import validation
from tests.unit import stub

pytestmark = pytest.mark.usefixtures('patched')


class Driver(fake.FakeDriver):
    """Says what was selected when its own snapshot begins.

    It looks at the image first, as libvirt's does.
    """

    def __init__(self):
        self.selections = []
        self.records = []
        self.properties = []
        self.error = None

    def snapshot(self, context, instance, image_id, update_task_state):
        self.selections.append(snapshot_state.get(image_id).selection)
        self.properties.append(snapshot_state.get(image_id).properties)
        self.records.append(nova_image.API().get(context, image_id))
        if self.error:
            raise self.error


@pytest.fixture
def driver(monkeypatch, glance):
    """A driver as nova-compute loads it."""
    own = Driver()
    monkeypatch.setattr(
        'oslo_utils.importutils.import_object', lambda *args: own
    )
    return virt_driver.load_compute_driver(None, 'a.driver')


@pytest.fixture
def take(driver, context, server, image):
    """Take a snapshot, and return what was selected for it."""

    def take():
        driver.snapshot(context, server, image['id'], lambda **kwargs: None)
        return driver.selections[-1]

    return take


def test_selection_lasts_as_long_as_the_snapshot(driver, take, image):
    """It is there for the driver, and gone afterwards."""
    assert take().store == 'fast'
    assert snapshot_state.get(image['id']) is None


def test_selection_is_forgotten_after_a_failure(driver, take, glance, image):
    """The error is the driver's own, and deleting the image is Nova's."""
    driver.error = nova_exception.InstanceNotRunning(instance_id='x')

    with pytest.raises(nova_exception.InstanceNotRunning):
        take()

    assert snapshot_state.get(image['id']) is None
    assert image['id'] in glance.images


def test_decision_is_one_line(take, server, base, image, caplog):
    """It has all that an operator asks for."""
    caplog.set_level(logging.INFO, 'nova_multistore')

    take()

    [line] = [r for r in caplog.records if r.name.startswith('nova_multi')]
    assert line.levelno == logging.INFO
    assert line.getMessage() == (
        f'Image {image["id"]} (snapshot) goes to store fast: the base image '
        f'is in it [rule base-image, base image {base["id"]}]'
    )
    assert line.instance is server


@pytest.fixture
def own_requests(glance, image):
    """What is asked beside the driver's own look at the image."""

    def own_requests():
        paths = [r.path for r in glance.requests]
        paths.remove('/v2/images/' + image['id'])
        return [path for path in paths if path != '/v2/schemas/image']

    return own_requests


def test_requests_of_a_decision(take, glance, base, own_requests):
    """One, once the catalogue is known."""
    take()
    assert own_requests() == ['/v2/info/stores', f'/v2/images/{base["id"]}']

    glance.requests.clear()
    take()
    assert own_requests() == [f'/v2/images/{base["id"]}']


def test_requests_of_an_order(conf, take, glance, own_requests):
    """None, once the catalogue is known."""
    conf.config(group='glance', store='fast')
    take()
    glance.requests.clear()

    take()

    assert own_requests() == []


def test_volume_backed(take, server, own_requests):
    """Nobody is asked anything."""
    server.image_ref = ''

    assert take().headers(None) == {}
    assert own_requests() == []


@pytest.mark.parametrize('task_state', ['image_snapshot', 'image_backup'])
@pytest.mark.parametrize('store', ['fats', 'web'])
def test_bad_order(
    conf, driver, take, server, glance, caplog, task_state, store
):
    """It fails before the driver is called, and says what is valid."""
    conf.config(group='glance', store=store)
    server.task_state = task_state

    with pytest.raises(
        nova_exception.InvalidConfiguration, match=f"'{store}'.*cheap, fast"
    ):
        take()

    assert driver.selections == []
    [line] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert 'cheap, fast' in line.getMessage()
    # One that is listed is no other API server's.
    rounds = 1 if store == 'web' else lookup.ROUNDS
    assert len(glance.made('GET', '/v2/info/stores')) == 2 * rounds


def test_order_for_a_store_that_is_new(conf, take, glance):
    """The catalogue is refreshed before an order is refused."""
    take()
    conf.config(group='glance', store='new')
    glance.answers['GET', '/v2/info/stores'] = stub.Answer(
        200, {'stores': [{'id': 'new'}]}
    )

    assert take().store == 'new'


@pytest.mark.parametrize(
    'task_state', ['shelving', 'resize_migrating', 'whatever', None]
)
def test_bad_order_does_not_concern_others(conf, take, server, task_state):
    """Their guests are off already: they follow the base image."""
    conf.config(group='glance', store='nosuch')
    server.task_state = task_state

    assert take().store == 'fast'


BROKEN = [
    stub.Answer(500, {'error': {'message': 'no'}}),
    stub.Answer(200, b'<html>'),
    stub.Answer(200, {'stores': 7}),
    stub.Answer(200, b'{"stores": ['),
    stub.Answer(401),
]


@pytest.mark.parametrize('answer', BROKEN)
def test_broken_discovery(take, glance, answer):
    """A derived choice is the default store then, with the reason."""
    glance.answers['GET', '/v2/info/stores'] = answer

    chosen = take()

    assert chosen.store is None
    assert chosen.base_image_ref
    assert chosen.reason.startswith("Glance's stores are unknown (")


@pytest.mark.parametrize('answer', BROKEN)
def test_broken_discovery_of_an_order(conf, take, glance, answer, caplog):
    """An order stands, with a warning that it was not checked."""
    conf.config(group='glance', store='fast')
    glance.answers['GET', '/v2/info/stores'] = answer

    assert take().store == 'fast'
    [line] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert 'not checked' in line.getMessage()


def test_one_store(take, glance, own_requests):
    """404 says that Glance does not have several."""
    glance.answers['GET', '/v2/info/stores'] = stub.Answer(404)

    assert take().reason == 'Glance does not have several stores'
    assert own_requests() == ['/v2/info/stores'] * lookup.ROUNDS


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (stub.Answer(404), 'the base image is deleted or not visible'),
        (stub.Answer(500), 'the base image could not be looked up (Glance'),
        (stub.Answer(200, b'nothing'), 'the base image could not be'),
        (stub.Answer(200, {'stores': [1]}), 'the base image could not be'),
        (stub.Answer(200, {}), 'the base image is in no store'),
        (
            stub.Answer(200, {'status': 'deactivated'}),
            'the base image is deactivated, and Glance does not show its '
            'stores',
        ),
    ],
)
def test_base_image_that_cannot_tell(take, glance, base, answer, reason):
    """The default store gets the data, with the reason."""
    glance.answers['GET', f'/v2/images/{base["id"]}'] = answer

    chosen = take()

    assert chosen.store is None
    assert chosen.reason.startswith(reason)


@pytest.mark.parametrize('path', ['/v2/info/stores', '/v2/images/BASE'])
def test_hanging_glance(monkeypatch, conf, take, glance, base, path):
    """One bound for all, whatever Nova's own settings are."""
    monkeypatch.setattr('nova_multistore.stores.TIMEOUT', 0.5)
    conf.config(group='glance', num_retries=5, timeout=60)
    go = threading.Event()
    glance.answers['GET', path.replace('BASE', base['id'])] = stub.Answer(
        200, lambda: go.wait(30)
    )

    begin = time.monotonic()
    chosen = take()
    spent = time.monotonic() - begin
    go.set()

    assert chosen.store is None
    assert 'no answer came in time' in chosen.reason or (
        'Timed out' in chosen.reason or 'timed out' in chosen.reason
    )
    assert spent < 5


@pytest.mark.parametrize('path', ['/v2/info/stores', '/v2/images/BASE'])
def test_silence_is_remembered(monkeypatch, take, glance, base, path):
    """The next snapshot asks, and does not wait for long."""
    monkeypatch.setattr('nova_multistore.stores.TIMEOUT', 2.0)
    monkeypatch.setattr('nova_multistore.lookup.SHORT', 0.2)
    go = threading.Event()
    path = ('GET', path.replace('BASE', base['id']))
    known = glance.answers.get(path) or stub.Answer(200, base)
    glance.answers[path] = stub.Answer(200, lambda: go.wait(30))

    begin = time.monotonic()
    assert take().store is None
    first = time.monotonic() - begin
    begin = time.monotonic()
    assert take().store is None
    second = time.monotonic() - begin
    go.set()
    glance.answers[path] = known

    assert second + 1 < first
    # A busy machine's answer may take longer than that.
    monkeypatch.setattr('nova_multistore.lookup.SHORT', 10.0)
    assert take().store == 'fast'


BLIPS = [
    stub.Answer(429),
    stub.Answer(500),
    stub.Answer(502),
    stub.Answer(503),
    stub.Answer(504),
    stub.Answer(200, b'<html>'),
]


@pytest.mark.parametrize('path', ['/v2/info/stores', '/v2/images/BASE'])
@pytest.mark.parametrize('answer', BLIPS)
@pytest.mark.parametrize('times', [1, 3])
def test_blip(take, glance, base, path, answer, times):
    """Glance is asked again, and the snapshot goes where it should."""
    path = ('GET', path.replace('BASE', base['id']))
    known = glance.answers.get(path) or stub.Answer(200, base)
    blips = [answer] * times
    glance.answers[path] = lambda: blips.pop() if blips else known

    assert take().store == 'fast'


@pytest.mark.parametrize('path', ['/v2/info/stores', '/v2/images/BASE'])
@pytest.mark.parametrize('status', [403, 502])
def test_glance_that_could_not_be_asked(
    take, driver, glance, base, path, status, caplog
):
    """A warning, and the image says so from its first update on."""
    path = ('GET', path.replace('BASE', base['id']))
    glance.answers[path] = stub.Answer(status)

    take()

    [properties] = driver.properties
    assert properties[record.RULE] == 'default'
    difference = properties[record.DIFFERENCE]
    assert difference.startswith(record.UNASKED)
    [line] = [r for r in caplog.records if 'goes to' in r.getMessage()]
    assert line.levelno == logging.WARNING
    assert len(glance.made('PATCH')) == 0


def test_base_image_that_is_gone(take, driver, glance, base, caplog):
    """Glance says so: that is no difference."""
    glance.answers['GET', f'/v2/images/{base["id"]}'] = stub.Answer(404)

    take()

    assert record.DIFFERENCE not in driver.properties[0]
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


@pytest.mark.parametrize('status', [401, 403])
def test_credentials_of_one_are_not_those_of_all(take, glance, status):
    """What Glance says to one caller is not remembered for the next."""
    path = ('GET', '/v2/info/stores')
    known = glance.answers[path]
    glance.answers[path] = stub.Answer(status)
    assert take().store is None

    glance.answers[path] = known
    assert take().store == 'fast'


def test_no_thread_to_be_had(monkeypatch, take):
    """A derived choice is the default store then."""

    def start(func):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr('nova_multistore.timed_calls.start', start)

    assert "can't start new thread" in take().reason


def test_glance_that_is_away(conf, driver, take):
    """It is the driver's own look at its image that fails then."""
    conf.config(
        group='glance', api_servers=['http://127.0.0.1:9'], num_retries=0
    )

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        take()

    [chosen] = driver.selections
    assert "Glance's stores are unknown" in chosen.reason


def configure_credentials(conf, glance):
    """Give nova-compute credentials in [service_user]."""
    loading.register_auth_conf_options(nova.conf.CONF, 'service_user')
    conf.config(group='service_user', auth_type='admin_token')
    conf.register_opts(
        loading.get_auth_plugin_conf_options('admin_token'),
        group='service_user',
    )
    conf.config(group='service_user', endpoint=glance.url, token='service')


class TestCeph:
    """A compute with its disks in Ceph, whose id is ``fsid``."""

    DETAIL = ('GET', '/v2/info/stores/detail')
    DETAILS = stub.Answer(
        200,
        {
            'stores': [
                {'id': 'cheap', 'default': 'true', 'type': 'file'},
                {
                    'id': 'fast',
                    'type': 'rbd',
                    'properties': {'fsid': 'fsid', 'pool': 'images'},
                },
            ]
        },
    )

    @pytest.fixture(autouse=True)
    def _in_ceph(self, conf, monkeypatch):
        conf.config(group='libvirt', images_type='rbd')
        monkeypatch.setattr(ceph, '_fsid', functools.cache(lambda: 'fsid'))

    @pytest.fixture
    def credentials(self, conf, glance):
        """What nova-compute has in [service_user]."""
        configure_credentials(conf, glance)

    @pytest.fixture
    def details(self, glance):
        """Glance tells its details to whoever has the token."""

        def details(token):
            def answer():
                told = glance.requests[-1].headers['x-auth-token'] == token
                return self.DETAILS if told else stub.Answer(403)

            glance.answers[self.DETAIL] = answer

        return details

    def paths(self, glance):
        return [
            (r.path, r.headers['x-auth-token'])
            for r in glance.made('GET')
            if 'info' in r.path
        ]

    def test_details_for_the_user(self, take, glance, details):
        """They are asked for once, with the catalogue."""
        details('token')

        for _ in range(2):
            assert take().pool == 'images'

        assert self.paths(glance) == [
            ('/v2/info/stores', 'token'),
            (self.DETAIL[1], 'token'),
        ]

    def test_details_for_nova(self, take, glance, details, credentials):
        """They are asked for as Nova where the user may not."""
        details('service')

        for _ in range(2):
            assert take().pool == 'images'

        assert self.paths(glance) == [
            ('/v2/info/stores', 'token'),
            (self.DETAIL[1], 'token'),
            (self.DETAIL[1], 'service'),
        ]

    @pytest.mark.parametrize(
        'answer',
        [stub.Answer(404), stub.Answer(500), stub.Answer(200, b'<html>')],
    )
    def test_no_details(self, take, glance, answer):
        """The store is selected all the same."""
        glance.answers[self.DETAIL] = answer

        chosen = take()

        assert (chosen.store, chosen.pool) == ('fast', None)
        assert chosen.direct is selection.Direct.SEARCH

    def test_hanging_details(self, monkeypatch, take, glance):
        """What the catalogue has told counts."""
        monkeypatch.setattr('nova_multistore.stores.TIMEOUT', 2.0)
        go = threading.Event()
        glance.answers[self.DETAIL] = stub.Answer(200, lambda: go.wait(30))

        begin = time.monotonic()
        chosen = take()
        spent = time.monotonic() - begin
        go.set()

        assert chosen.store == 'fast'
        assert spent < 5

    def test_locations_tell(self, conf, take, glance, base):
        """Where the details are not told, also of an order."""
        glance.answers[self.DETAIL] = stub.Answer(403)
        base['stores'] = 'cheap,fast'
        base['locations'] = [
            {'url': 'file:///x', 'metadata': {'store': 'cheap'}},
            {'url': 'rbd://fsid/p/x/snap', 'metadata': {'store': 'fast'}},
        ]
        for store, direct, pool in (
            (None, selection.Direct.POOL_FIRST, 'p'),
            ('fast', selection.Direct.POOL, 'p'),
            ('cheap', selection.Direct.NO, None),
        ):
            conf.config(group='glance', store=store)
            chosen = take()
            assert (chosen.direct, chosen.pool) == (direct, pool)

    def test_requests_of_an_order(
        self, conf, take, glance, details, own_requests
    ):
        """None, once the catalogue is known."""
        details('token')
        conf.config(group='glance', store='fast')
        take()
        glance.requests.clear()

        assert take().pool == 'images'
        assert own_requests() == []

    def test_cluster_that_does_not_tell(self, monkeypatch, take, details):
        """Nova's own way is left alone."""

        def fail():
            raise OSError('no Ceph')

        details('token')
        monkeypatch.setattr(ceph, '_fsid', functools.cache(fail))

        assert take().direct is selection.Direct.SEARCH

    @pytest.mark.parametrize(
        ('store', 'level', 'words'),
        [
            (None, logging.INFO, 'store fast (Ceph pool images): '),
            ('fast', logging.INFO, 'store fast (Ceph pool images): '),
            ('cheap', logging.INFO, 'store cheap: '),
        ],
    )
    def test_line(self, conf, take, details, caplog, store, level, words):
        """It says whether the snapshot is made inside Ceph."""
        caplog.set_level(logging.INFO, 'nova_multistore')
        details('token')
        conf.config(group='glance', store=store)

        take()

        [line] = [r for r in caplog.records if 'goes to' in r.getMessage()]
        assert level == line.levelno
        assert f'goes to {words}' in line.getMessage()

    @pytest.mark.parametrize(
        ('store', 'level'), [(None, logging.INFO), ('cheap', logging.WARNING)]
    )
    def test_line_in_doubt(self, conf, take, glance, caplog, store, level):
        """It says so where Nova itself may find a pool."""
        caplog.set_level(logging.INFO, 'nova_multistore')
        glance.answers[self.DETAIL] = stub.Answer(403)
        conf.config(group='glance', store=store)

        take()

        [line] = [r for r in caplog.records if 'goes to' in r.getMessage()]
        assert level == line.levelno
        assert (
            f"store {store or 'fast'}, unless Nova's own search finds a pool "
            'in Ceph: ' in line.getMessage()
        )

    def test_option_names_its_own_store(self, conf, take, base):
        """It counts without any details."""
        conf.config(group='libvirt', images_rbd_glance_store_name='cheap')
        base['stores'] = 'web'

        assert take().store == 'cheap'


def test_disks_elsewhere(conf, take, glance, base):
    """Nothing is asked that concerns Ceph, and its option does not count."""
    conf.config(group='libvirt', images_rbd_glance_store_name='cheap')
    base['stores'] = 'web'

    assert take().store is None
    assert not glance.made('GET', '/detail')


class TestShelve:
    """Nova leaves its image behind when it fails."""

    @pytest.fixture(autouse=True)
    def _shelving(self, server):
        server.task_state = 'shelving'

    def test_failure(self, driver, take, glance, image):
        """The image is deleted."""
        driver.error = nova_exception.ImageUnacceptable(
            image_id='x', reason='a test'
        )

        with pytest.raises(nova_exception.ImageUnacceptable):
            take()

        assert image['id'] not in glance.images

    def test_success(self, take, glance, image):
        """The image stays."""
        take()

        assert image['id'] in glance.images


class TestValidation:
    """[glance] store when nova-compute starts."""

    @pytest.fixture(autouse=True)
    def _credentials(self, conf, glance):
        configure_credentials(conf, glance)

    @pytest.mark.parametrize(
        ('store', 'level', 'words'),
        [
            ('fast', None, ''),
            ('nosuch', logging.ERROR, 'cheap, fast'),
            ('web', logging.ERROR, 'is read-only'),
        ],
    )
    def test_store(self, conf, caplog, store, level, words):
        """A wrong one is an error that names the valid ones."""
        conf.config(group='glance', store=store)

        validation._check()

        records = [
            r for r in caplog.records if r.name.startswith('nova_multistore')
        ]
        assert [level] * bool(level) == [r.levelno for r in records]
        assert all(words in r.getMessage() for r in records)

    def test_glance_is_silent(self, conf, glance, caplog):
        """A warning: it will be checked at each snapshot."""
        conf.config(group='glance', store='fast')
        glance.answers['GET', '/v2/info/stores'] = stub.Answer(500)

        validation._check()

        assert [
            r.levelno
            for r in caplog.records
            if r.name.startswith('nova_multistore')
        ] == [logging.WARNING]

    def test_no_credentials(self, conf, caplog):
        """A warning that names the section."""
        conf.config(group='glance', store='fast')
        conf.config(group='service_user', auth_type=None)

        validation._check()

        assert '[service_user]' in caplog.text
