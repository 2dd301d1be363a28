"""Requests that name a store, in nova-api's own pipelines."""

from __future__ import annotations

import collections
import contextlib
import copy
import json
import logging
import os
import threading
import time
import types
from unittest import mock

import hypothesis
from hypothesis import strategies as st
from nova import context as nova_context
from nova import policy as nova_policy
from oslo_log import formatters as log_formatters
from paste import deploy
import pytest
import webob
import webob.exc
import yaml

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.api import store as api_store
from nova_multistore.compute import patch
from nova_multistore.osc import explain
from tests import command
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import connect
from tests.functional import expected_digest

pytestmark = pytest.mark.eventlet

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
PREFIXES = ['/v2.1', f'/v2.1/{PROJECT}', '/v2', f'/v2/{PROJECT}']


@pytest.fixture(scope='module')
def nova_is():
    """The filter in nova-api's pipelines, and a project."""
    return {'project': PROJECT, 'filtered': True}


@pytest.fixture
def nova(nova):
    """Nothing is remembered of what Glance said."""
    lookup.forget()
    nova.records.clear()
    return nova


@pytest.fixture(scope='module')
def base(glance, qcow2):
    """A base image in ``fast``."""
    return glance.create_image(qcow2, stores=['fast'], project=PROJECT)


@pytest.fixture
def marked(glance, qcow2):
    """The same, on which a user has set the property."""
    return glance.create_image(
        qcow2, stores=['fast'], project=PROJECT, **{PROPERTY: 'reliable'}
    )


@pytest.fixture(scope='module')
def server(patched_nova, base):
    """A server that lasts, with data of its own on its disk."""
    server = patched_nova.create_server(base)
    patched_nova.write_disk(server, os.urandom(MIB))
    return server


@pytest.fixture(scope='module')
def volume_backed(patched_nova):
    return patched_nova.create_server(volume_backed=True)


def headers(nova):
    """Say who is asking."""
    return {
        'X-Auth-User': nova.project,
        'X-Auth-Project-Id': nova.project,
        'X-Roles': 'member,reader',
    }


@pytest.fixture
def ask(nova, glance):
    """Send nova-api a request, past every client."""

    def ask(path, body, version='2.93', method='POST', **more):
        request = webob.Request.blank(
            path,
            method=method,
            body=body
            if isinstance(body, bytes)
            else json.dumps(body).encode(),
            content_type='application/json',
            headers={
                **headers(nova),
                'OpenStack-API-Version': f'compute {version}',
                **more,
            },
        )
        return request.get_response(nova.application)

    return ask


@pytest.fixture
def act(ask):
    """Ask for a snapshot or a backup."""

    def act(
        server, action='createImage', prefix='/v2.1', version='2.93', **more
    ):
        entity = {'name': 'x', **more}
        if action == 'createBackup':
            entity.update(backup_type='daily', rotation=1)
        path = f'{prefix}/servers/{server}/action'
        return ask(path, {action: entity}, version)

    return act


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


@pytest.fixture
def untouched(nova, glance, server):
    """No image was made, and the server is as it was."""

    def state():
        after = nova.server(server)
        return (
            {image['id'] for image in glance.images(nova.project)},
            after['OS-EXT-STS:task_state'],
            after['updated'],
        )

    before = state()
    yield
    assert state() == before


@pytest.fixture
def rules(nova, tmp_path):
    """Write Nova's policy file."""

    def rules(**changed):
        path = tmp_path / 'policy.yaml'
        path.write_text(yaml.safe_dump(changed))
        nova.conf(**{'oslo_policy.policy_file': str(path)})
        nova_policy.reset()

    before = cloud_nova.CONF.oslo_policy.policy_file
    yield rules
    nova.conf(**{'oslo_policy.policy_file': before})
    nova_policy.reset()


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


@pytest.mark.parametrize(
    ('prefix', 'version'),
    [
        *((prefix, '2.1') for prefix in PREFIXES),
        (PREFIXES[0], '2.45'),
        (PREFIXES[0], '2.93'),
    ],
)
def test_every_path_and_version(nova, glance, act, server, prefix, version):
    """The snapshot is where the request says."""
    answer = act(server, prefix=prefix, version=version, store='reliable')

    check(glance, nova, made(nova, answer), 'reliable', server)


def test_decision(nova, act, server):
    """Its line says who decided."""
    made(nova, act(server, store='reliable'))

    assert any(
        'goes to store reliable: the request names it' in line
        for line in nova.log_lines()
    )


def test_log(nova, act, server):
    """The order of a request does not look like the id of a server."""
    lines = []
    formatter = log_formatters.ContextFormatter(config=cloud_nova.CONF)

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(formatter.format(record))

    handler = Lines(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        for action in RULES:
            made(nova, act(server, action, store='reliable'))
    finally:
        logging.getLogger().removeHandler(handler)

    assert any('goes to store reliable' in line for line in lines)
    assert [line for line in lines if 'multistore_store=' in line] == []


def test_backups_rotate(nova, glance, act, server):
    """Each goes where its request says, and the older one is deleted."""
    first = made(nova, act(server, 'createBackup', store='reliable'))
    check(glance, nova, first, 'reliable', server)

    second = made(nova, act(server, 'createBackup', store='cheap'))

    check(glance, nova, second, 'cheap', server)
    wait_until_gone(glance, first)


def wait_until_gone(glance, image_id):
    """The server is idle before the superfluous backup is deleted."""
    for _ in range(100):
        if look(glance, image_id) is None:
            return
        time.sleep(0.1)
    raise AssertionError(f'{image_id} is still there')


def test_request_wins(nova, glance, act, server):
    """Over [glance] store."""
    nova.conf(**{'glance.store': 'reliable'})

    check(
        glance, nova, made(nova, act(server, store='cheap')), 'cheap', server
    )
    check(glance, nova, made(nova, act(server)), 'reliable', server)


def test_metadata_of_the_same_name(nova, glance, act, server):
    """It is a request like any other, and other metadata stay."""
    answer = act(server, metadata={PROPERTY: 'reliable', 'colour': 'red'})

    image_id = made(nova, answer)

    check(glance, nova, image_id, 'reliable', server)
    assert look(glance, image_id)['colour'] == 'red'


@pytest.mark.usefixtures('untouched')
@pytest.mark.parametrize('action', RULES)
class TestRefused:
    """Before anything is made."""

    def test_unknown(self, act, server, action):
        """404 names the valid ones."""
        message = refused(act(server, action, store='fats'), 404)

        assert message == (
            "Store 'fats' is not one of Glance's stores; the stores that can "
            'be written are cheap, fast, reliable.'
        )

    def test_unknown_in_metadata(self, act, server, action):
        answer = act(server, action, metadata={PROPERTY: 'fats'})

        assert "'fats'" in refused(answer, 404)

    def test_read_only(self, act, server, action):
        assert 'read-only' in refused(act(server, action, store='web'), 400)

    @pytest.mark.parametrize(
        'store', ['', 'x' * 256, None, 1, True, [], ['fast'], {'id': 'fast'}]
    )
    def test_no_name(self, act, server, action, store):
        message = refused(act(server, action, store=store), 400)

        assert "'store'" in message
        assert '255' in message

    def test_two_names(self, act, server, action):
        answer = act(
            server, action, store='fast', metadata={PROPERTY: 'cheap'}
        )

        assert PROPERTY in refused(answer, 400)

    def test_volume_backed(self, act, volume_backed, action):
        message = refused(act(volume_backed, action, store='fast'), 400)

        assert 'volume-backed' in message
        assert "Without 'store', createImage has Cinder make them" in message

    def test_no_server(self, act, action):
        unknown = '00000000-0000-4000-8000-000000000000'

        assert unknown in refused(act(unknown, action, store='fast'), 404)

    def test_policy(self, act, rules, server, action):
        """Its file denies the choice, and nothing else."""
        rule = f'{RULES[action]}:store'
        rules(**{rule: 'role:archivist'})

        for more in ({'store': 'fast'}, {'metadata': {PROPERTY: 'fast'}}):
            message = refused(act(server, action, **more), 403)
            assert message.startswith('You may not name a store for a ')
            assert f'(policy {rule})' in message

    def test_policy_of_the_action(self, act, rules, server, action):
        """What holds for the action holds for the choice."""
        rules(**{RULES[action]: 'role:archivist'})

        message = refused(act(server, action, store='fast'), 403)

        assert RULES[action] in message

    def test_glance_is_away(self, nova, glance, act, server, action):
        nova.conf(**{'glance.api_servers': ['http://127.0.0.1:9']})

        message = refused(act(server, action, store='fast'), 503)

        assert '127.0.0.1' not in message
        assert any('127.0.0.1' in line for line in nova.log_lines())

    @pytest.mark.parametrize('store', ['nosuch', 'web'])
    def test_option(self, nova, act, server, store, action):
        """The user is told that it is wrong, the log what is."""
        nova.conf(**{'glance.store': store})

        message = refused(act(server, action), 500)

        assert store not in message
        [line] = [
            line
            for line in nova.log_lines(logging.ERROR)
            if '[glance] store' in line
        ]
        assert f"'{store}'" in line
        assert 'cheap, fast, reliable' in line

    def test_version(self, act, server, action):
        """Faults carry the version, as Nova's do; not on the old path."""
        answer = act(server, action, version='2.45', store='fats')
        old = act(server, action, '/v2', version='2.45', store='fats')

        header = 'OpenStack-API-Version'
        assert answer.headers[header] == 'compute 2.45'
        assert header not in old.headers
        assert refused(old, 404) == refused(answer, 404)


def test_allowed_role(nova, glance, ask, rules, server):
    """Whoever has the role may."""
    rules(**{f'{RULES["createImage"]}:store': 'role:archivist'})

    answer = ask(
        f'/v2.1/servers/{server}/action',
        {'createImage': {'name': 'x', 'store': 'reliable'}},
        **{'X-Roles': 'member,reader,archivist'},
    )

    check(glance, nova, made(nova, answer), 'reliable', server)


@contextlib.contextmanager
def without_the_filter():
    """Another nova-api."""

    def call(self, environ, start_response):
        return self._application(environ, start_response)

    with mock.patch.object(api_store.StoreFilter, '__call__', call):
        yield


@pytest.fixture
def unfiltered():
    with without_the_filter():
        yield


@pytest.mark.usefixtures('unfiltered')
@pytest.mark.parametrize('action', RULES)
class TestPropertyIsNoOrder:
    """What a nova-api without the filter lets pass."""

    @pytest.mark.parametrize('store', ['reliable', 'nosuch', 'web', 'a\nb'])
    @pytest.mark.parametrize(
        ('option', 'expected'), [(None, 'fast'), ('reliable', 'reliable')]
    )
    def test_metadata(
        self, nova, glance, act, server, action, store, option, expected
    ):
        """A user cannot choose by it, nor keep it on the image."""
        nova.conf(**{'glance.store': option})

        answer = act(server, action, metadata={PROPERTY: store})

        check(glance, nova, made(nova, answer), expected, server)
        assert not any(
            PROPERTY in line or 'the request' in line
            for line in nova.log_lines()
        )

    def test_inherited(self, nova, glance, act, boot, marked, action):
        """Nor by that of the base image."""
        server = boot(marked)

        check(glance, nova, made(nova, act(server, action)), 'fast', server)

    def test_key(self, act, server, action):
        """Nova does not know it."""
        assert "'store'" in refused(act(server, action, store='fast'), 400)


@pytest.fixture
def explained(nova, glance, server):
    """Run ``explain`` for a request that names a store, as a member."""

    def explained(*args):
        token = cloud_glance.token(nova.project)
        with nova.served() as url:
            cloud = connect(glance.url, token, compute=url)
            done = command.run(
                explain.Explain, cloud, server, '--store', 'fast', *args
            )
        assert done.code == 0, done.words
        return done

    return explained


@pytest.mark.usefixtures('untouched')
class TestExplain:
    """The command asks nova-api whether the user may name a store."""

    def permissions(self, explained):
        found = explained().rows['policy']
        return {each['operation']: each['allowed'] for each in found}

    def test_allowed(self, explained):
        assert self.permissions(explained) == {
            'snapshot': True,
            'backup': True,
        }

    @pytest.mark.parametrize(
        ('action', 'expected'),
        [
            ('createImage', {'snapshot': False, 'backup': True}),
            ('createBackup', {'snapshot': True, 'backup': False}),
        ],
    )
    def test_refused(self, explained, rules, action, expected):
        """Each operation has its own rule, which is named."""
        rule = f'{RULES[action]}:store'
        rules(**{rule: 'role:archivist'})

        assert self.permissions(explained) == expected
        [line] = [
            line for line in explained('-f', 'table').table if rule in line
        ]
        assert ': refused: You may not name a store' in line

    @pytest.mark.usefixtures('unfiltered')
    @pytest.mark.parametrize('prefix', ['/v2.1', '/v2'])
    def test_no_filter(self, explained, monkeypatch, prefix):
        """Nothing is known; a nova-api of old passes over the store."""
        served = cloud_nova.Nova.served

        @contextlib.contextmanager
        def old(self):
            with served(self) as url:
                yield url.replace('/v2.1', prefix)

        monkeypatch.setattr(cloud_nova.Nova, 'served', old)

        found = explained().rows['policy']

        assert [each['allowed'] for each in found] == [None, None]
        assert all('does not have' in each['reason'] for each in found)

    def test_glance_is_away(self, nova, explained):
        """From nova-api."""
        nova.conf(**{'glance.api_servers': ['http://127.0.0.1:9']})

        found = explained().rows['policy']

        assert [each['allowed'] for each in found] == [None, None]
        assert all('HTTP 503' in each['reason'] for each in found)


def test_three_generations(nova, glance, act, boot, base):
    """Snapshot, boot, snapshot: a choice is for one image alone."""
    image_id = base
    for more, store in (
        ({'store': 'reliable'}, 'reliable'),
        ({'store': 'fast'}, 'fast'),
        # By its base alone.
        ({}, 'fast'),
    ):
        server = boot(image_id)
        image_id = made(nova, act(server, **more))
        check(glance, nova, image_id, store, server)

    shelved = nova.shelve(server)

    assert glance.stores_of(shelved) == ['fast']
    assert PROPERTY not in look(glance, shelved)
    nova.unshelve(server)


@pytest.mark.parametrize('store', ['reliable', 'cheap'])
def test_marked_image(nova, glance, act, boot, marked, store):
    """A user may set the property on an image: it is nobody's choice."""
    server = boot(marked)

    for more, expected in (({}, 'fast'), ({'store': store}, store)):
        image_id = made(nova, act(server, **more))
        check(glance, nova, image_id, expected, server)


def test_server_is_not_written_to(nova, glance, act, boot, marked):
    """What is written to it, while Glance is asked, is still there."""
    server = boot(marked)
    nova.write_system_metadata(server, **{f'image_{PROPERTY}': 'reliable'})
    before = nova.system_metadata(server)
    reached, go_on = threading.Event(), threading.Event()
    with cloud_proxy.Proxy(glance.url) as proxy:
        proxy.fail('GET', STORES, cloud_proxy.Pause(None, reached, go_on))
        nova.conf(**{'glance.api_servers': [proxy.url]})
        answer = timed_calls.start(lambda: act(server, store='cheap'))
        assert reached.wait(60)
        nova.write_system_metadata(server, key='value')
        go_on.set()
        image_id = made(nova, timed_calls.wait(answer, 60))

    check(glance, nova, image_id, 'cheap', server)
    assert {**before, 'key': 'value'}.items() <= (
        nova.system_metadata(server).items()
    )


def test_as_many_metadata_as_allowed(nova, glance, act, server):
    """The store is none of them, also where Nova counts them."""
    nova.conf(**{'quota.metadata_items': 3})
    metadata = dict.fromkeys('abc', 'value')
    try:
        more = {'metadata': {**metadata, 'd': 'value'}}
        refused(act(server, version='2.38', **more), 403)
        answers = [
            act(server, version='2.38', **more)
            for more in (
                {'store': 'reliable', 'metadata': metadata},
                {'metadata': {**metadata, PROPERTY: 'reliable'}},
            )
            if nova.wait_until_idle() is None
        ]
    finally:
        nova.conf(**{'quota.metadata_items': 128})

    for answer in answers:
        image_id = made(nova, answer)
        check(glance, nova, image_id, 'reliable', server)
        assert look(glance, image_id)['c'] == 'value'


@pytest.mark.parametrize('known', [True, False])
def test_store_that_vanishes(nova, glance, act, server, monkeypatch, known):
    """The snapshot fails clean, whether nova-compute still knows of it."""
    assert look(glance, made(nova, act(server, store='reliable')))
    before = nova.server(server)
    everything = glance.stores
    if not known:
        snapshot = nova.driver.snapshot

        def forgetful(self, *args, **kwargs):
            lookup.forget()
            return snapshot(*args, **kwargs)

        monkeypatch.setattr(type(nova.driver), 'snapshot', forgetful)
    glance.stop()
    glance.start(stores={'cheap': 'file', 'fast': 'file'})
    try:
        image_id = made(nova, act(server, store='reliable'))
    finally:
        glance.stop()
        glance.start(stores=everything)
        lookup.forget()

    assert look(glance, image_id) is None
    after = nova.server(server)
    for key in ('status', 'OS-EXT-STS:task_state', 'OS-EXT-STS:vm_state'):
        assert before[key] == after[key]
    [fault, *_] = nova.faults(server)
    # An older Glance hangs up on the data, and says nothing.
    assert known or "store 'reliable'" in fault


def test_requests(nova, glance, act, server):
    """No more than stock Nova's, once the catalogue is known."""

    def requests(**more):
        glance.forget_requests()
        image_id = made(nova, act(server, **more))
        return collections.Counter(
            (r.method, r.path.replace(image_id, 'ID'))
            for r in glance.requests()
            # What another test's failed snapshot has left is looked at later.
            if image_id in r.path or not r.path.startswith('/v2/images/')
        )

    requests(store='reliable')
    named = requests(store='reliable')
    patch.remove()
    try:
        stock = requests()
    finally:
        patch.apply()
        nova.restart_compute()

    assert named <= stock
    assert named['PUT', '/v2/images/ID/file'] == 1


def test_volume_backed_passes_a_wrong_option(nova, glance, act, volume_backed):
    """It has no data in Glance."""
    nova.conf(**{'glance.store': 'nosuch'})

    image_id = made(nova, act(volume_backed))

    assert look(glance, image_id)['status'] == 'active'


def test_option_that_cannot_be_checked(nova, act, server):
    """nova-compute will: nothing is refused that Nova itself does not."""
    nova.conf(
        **{
            'glance.store': 'nosuch',
            'glance.api_servers': ['http://127.0.0.1:9'],
            'glance.num_retries': 0,
        }
    )
    try:
        answer = act(server)
    finally:
        nova.conf(**{'glance.num_retries': 3})

    assert answer.status_int == 500
    assert 'GlanceConnectionFailed' in answer.text


names = st.sampled_from(['cheap', 'fast', 'reliable', 'web', 'nosuch', ''])
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
metadata = st.dictionaries(
    st.just(PROPERTY) | st.text(), names | st.text() | values, max_size=3
)
rest = {
    'name': st.text() | values,
    'metadata': metadata | values,
    'rotation': values,
    'x' * 1000: values,
}
orders = st.builds(
    lambda action, entity: {action: entity},
    st.sampled_from([*RULES]),
    st.fixed_dictionaries({'store': names}, optional=rest)
    | st.fixed_dictionaries({'store': values}, optional=rest)
    | st.fixed_dictionaries({'metadata': metadata}),
)
others = st.dictionaries(
    st.sampled_from([*RULES, 'createimage', 'os-start', 'store']),
    st.fixed_dictionaries({}, optional=rest) | values,
    max_size=2,
)


class Method:
    """What Nova has found for a request: takes whatever is let pass."""

    def __init__(self, wsgi_action):
        self.wsgi_action = wsgi_action
        self.body = None

    def __call__(self, request, action_args):
        self.body = action_args['body']
        return 202


@pytest.fixture
def send(nova, server, monkeypatch):
    """Send a decoded body to what checks it.

    Return the status, and what Nova would get to see. Nobody waits for a turn
    to ask for an unknown store.
    """
    monkeypatch.setattr(stores, 'REFRESH', 0.0)

    def send(body, action):
        request = webob.Request.blank('/')
        request.environ['nova.context'] = nova_context.RequestContext(
            PROJECT,
            PROJECT,
            roles=['member', 'reader'],
            auth_token=cloud_glance.token(PROJECT),
            overwrite=False,
        )
        method = Method(action)

        def application(environ, start_response):
            args = {'id': server, 'body': body}

            def proceed(action_args=args):
                return method(request, action_args)

            try:
                return api_store.dispatch(proceed, None, method, request, args)
            except webob.exc.HTTPException as exc:
                return exc.code

        status = api_store.StoreFilter(application)(request.environ, None)
        assert request.environ['nova.context'].read_only is False
        return status, method.body

    return send


@hypothesis.settings(
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(
    body=orders | others | values, action=st.sampled_from([*RULES, None])
)
def test_hostile_bodies(send, body, action):
    """Each is refused for a reason, taken for what it asks, or untouched."""
    if isinstance(body, dict) and len(body) == 1 and next(iter(body)) in RULES:
        [action] = body
    before = copy.deepcopy(body)
    status, passed = send(body, action)

    hypothesis.event(f'{status}, untouched: {passed == before}')
    assert status in (202, 400, 404)
    if status != 202:
        assert passed is None
    elif passed is not body:
        [(name, entity)] = passed.items()
        assert name == action
        named = before[action].pop('store', None)
        metadata = before[action].get('metadata')
        if isinstance(metadata, dict):
            named = metadata.pop(PROPERTY, named)
        assert named in ('cheap', 'fast', 'reliable')
        assert entity == before[action]


#: Ways to an action that Nova's own routes know.
DOORS = {
    'plain': ('POST', 'action'),
    'newline': ('POST', 'action%0A'),
    'method': ('PUT', 'action?_method=POST'),
}


@pytest.mark.parametrize('door', DOORS)
class TestDoors:
    """Whatever reaches Nova's action has passed the checks."""

    @pytest.fixture
    def knock(self, nova, ask, door):
        """Ask for a snapshot there; nothing else may be the answer."""

        def knock(server, store, action='createImage', **more):
            method, path = DOORS[door]
            entity = {'name': 'x', 'store': store}
            if action == 'createBackup':
                entity.update(backup_type='daily', rotation=1)
            return ask(
                f'/v2.1/servers/{server}/{path}',
                {action: entity},
                method=method,
                **more,
            )

        return knock

    def test_order(self, nova, glance, knock, server):
        answer = knock(server, 'reliable')

        check(glance, nova, made(nova, answer), 'reliable', server)

    @pytest.mark.parametrize('action', RULES)
    def test_policy(self, knock, rules, untouched, server, action):
        rules(**{f'{RULES[action]}:store': 'role:archivist'})

        assert knock(server, 'fast', action).status_int == 403

    def test_unknown(self, knock, untouched, server):
        assert knock(server, 'nosuch').status_int == 404

    def test_volume_backed(self, knock, untouched, volume_backed):
        assert knock(volume_backed, 'fast').status_int == 400


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-32', 'latin-1'])
def test_encodings(nova, glance, ask, server, encoding):
    """What Nova does not read is not read by the filter either."""
    body = {'createImage': {'name': '\xe9', 'store': 'reliable'}}
    text = json.dumps(body, ensure_ascii=False).encode(encoding)
    path = f'/v2.1/servers/{server}/action'
    before = {image['id'] for image in glance.images(nova.project)}

    answer = ask(path, text)

    with without_the_filter():
        stock = ask(path, text)
    assert answer.status_int == stock.status_int >= 400
    assert before == {image['id'] for image in glance.images(nova.project)}


def test_place_in_the_pipeline(nova, act, server, tmp_path):
    """Before Nova knows whose request it is, the filter is as good."""
    ini = nova.paste.read_text()
    ini = ini.replace(' multistore osapi', ' osapi')
    assert ' authtoken keystonecontext' in ini
    ini = ini.replace(' authtoken', ' multistore authtoken')
    path = tmp_path / 'api-paste.ini'
    path.write_text(ini)
    application = deploy.loadapp(f'config:{path}', name='osapi_compute')
    with mock.patch.object(type(nova), 'application', application):
        assert 'fast' in refused(act(server, store='nosuch'), 404)
        assert act(server, name=1).status_int == 400


class TestNeighbours:
    """What one does is no trouble to the others."""

    @pytest.fixture
    def proxy(self, nova, glance):
        with cloud_proxy.Proxy(glance.url) as proxy:
            nova.conf(**{'glance.api_servers': [proxy.url]})
            yield proxy

    def test_unknown_store(self, nova, proxy, act, server, monkeypatch):
        """Glance is away just when a stranger names one."""
        # The list counts as old.
        monkeypatch.setattr(stores, 'REFRESH', 0.0)
        made(nova, act(server, store='reliable'))
        proxy.fail('GET', STORES, cloud_proxy.Answer(503), times=None)

        refused(act(server, store='nosuch'), 503)

        for store in ('reliable', 'cheap'):
            made(nova, act(server, store=store))

    def test_unknown_store_again_and_again(
        self, nova, glance, act, server, monkeypatch
    ):
        """No worker of nova-api sleeps, and no request asks Glance anew."""

        def sleep(seconds):
            pytest.fail(f'a worker sleeps for {seconds} s')

        monkeypatch.setattr(
            stores,
            'time',
            types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep),
        )
        monkeypatch.setattr(stores, 'REFRESH', 60.0)
        glance.forget_requests()

        for store in ('nosuch', 'nosuch', 'other'):
            assert 'fast' in refused(act(server, store=store), 404)

        asked = [r.path for r in glance.requests()]
        assert asked.count('/v2/info/stores') == lookup.ROUNDS

    def test_revoked_token(self, nova):
        """Somebody asks again and again with one."""
        failed, asked, end = [], 0, time.monotonic() + 3

        def context(token):
            return nova_context.RequestContext(
                'x', 'x', auth_token=token, overwrite=False
            )

        def loop():
            while time.monotonic() < end:
                with pytest.raises(exception.LookupFailed):
                    lookup.catalogue_for(context('revoked'), 'nosuch')

        looping = timed_calls.start(loop)
        good = context(cloud_glance.token('x'))
        while time.monotonic() < end:
            asked += 1
            try:
                lookup.catalogue_for(good, 'fast').check_writable('fast')
            except exception.LookupFailed as exc:
                failed.append(exc)
        timed_calls.wait(looping, 60)

        assert asked > 100
        assert failed == []


@pytest.mark.parametrize('place', ['store', 'metadata'])
@pytest.mark.parametrize(
    'store', ['fast\nERROR forged', 'fa\x1b[2Kst', '\x00']
)
def test_control_characters(nova, act, server, store, place):
    """They are refused, and no line of the log is the user's."""
    more = {'store': store, 'metadata': {PROPERTY: store}}

    assert 'printed' in refused(act(server, **{place: more[place]}), 400)

    assert not any(store in line for line in nova.log_lines())


@pytest.mark.parametrize('chunked', [False, True])
@pytest.mark.parametrize('url', ['/v2.1', '/v2'])
def test_body_over_the_limit(nova, server, url, chunked):
    """The answer is Nova's own, to the letter."""
    body = json.dumps(
        {'createImage': {'name': 'x', 'store': 'fast', 'pad': 'x' * 120000}}
    ).encode()

    def answer():
        request = webob.Request.blank(
            f'{url}/servers/{server}/action',
            method='POST',
            body=body,
            content_type='application/json',
            headers=headers(nova),
        )
        if chunked:
            request.content_length = None
            request.environ['wsgi.input_terminated'] = True
        response = request.get_response(nova.application)
        for name in ('X-Compute-Request-Id', 'X-Openstack-Request-Id'):
            response.headers.pop(name, None)
        return response.status, [*response.headers.items()], response.body

    with without_the_filter():
        stock = answer()

    assert stock[0].startswith('413')
    assert answer() == stock


def test_chunked_body(nova, glance, server):
    """A body without a length is read all the same."""
    request = webob.Request.blank(
        f'/v2.1/servers/{server}/action',
        method='POST',
        body=b'{"createImage": {"name": "x", "store": "nosuch"}}',
        content_type='application/json',
        headers=headers(nova),
    )
    request.content_length = None
    request.environ['wsgi.input_terminated'] = True

    assert "'nosuch'" in refused(request.get_response(nova.application), 404)
