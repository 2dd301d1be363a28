"""Requests as nobody sends them, and as Nova itself refuses them."""

from __future__ import annotations

import copy
import json
from unittest import mock

import hypothesis
from hypothesis import strategies as st
from nova import context as nova_context
from paste import deploy
import pytest
import webob
import webob.exc

from nova_multistore import stores
from nova_multistore.api import store as api_store
from tests import inputs
from tests.cloud import glance as cloud_glance
from tests.functional.api_filter import PROJECT
from tests.functional.api_filter import PROPERTY
from tests.functional.api_filter import RULES
from tests.functional.api_filter import check
from tests.functional.api_filter import headers
from tests.functional.api_filter import made
from tests.functional.api_filter import refused
from tests.functional.api_filter import without_the_filter

pytestmark = pytest.mark.eventlet
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


@inputs.HOSTILE
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
