"""What nova-api refuses, and tells whoever asks first."""

from __future__ import annotations

import contextlib
import logging
import time
import types

from nova import context as nova_context
import pytest

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import explain
from tests import command
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import connect
from tests.functional.api_filter import PROPERTY
from tests.functional.api_filter import RULES
from tests.functional.api_filter import STORES
from tests.functional.api_filter import look
from tests.functional.api_filter import made
from tests.functional.api_filter import refused

pytestmark = pytest.mark.eventlet


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
        assert "Without 'store', createImage has Cinder make these" in message

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


class TestNeighbours:
    """What one does is no trouble to the others."""

    @pytest.fixture
    def proxy(self, nova, proxy):
        """nova-api reaches Glance through it."""
        nova.conf(**{'glance.api_servers': [proxy.url]})
        return proxy

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
