"""Where an image lands whose request names a store."""

from __future__ import annotations

import collections
import logging
import threading
import time

from oslo_log import formatters as log_formatters
import pytest

from nova_multistore import lookup
from nova_multistore import timed_calls
from nova_multistore.compute import patch
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional.api_filter import PROJECT
from tests.functional.api_filter import PROPERTY
from tests.functional.api_filter import RULES
from tests.functional.api_filter import STORES
from tests.functional.api_filter import check
from tests.functional.api_filter import look
from tests.functional.api_filter import made
from tests.functional.api_filter import refused

pytestmark = pytest.mark.eventlet
PREFIXES = ['/v2.1', f'/v2.1/{PROJECT}', '/v2', f'/v2/{PROJECT}']


@pytest.fixture
def marked(glance, qcow2):
    """A base image on which a user has set the property."""
    return glance.create_image(
        qcow2, stores=['fast'], project=PROJECT, **{PROPERTY: 'reliable'}
    )


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


def test_allowed_role(nova, glance, ask, rules, server):
    """Whoever has the role may."""
    rules(**{f'{RULES["createImage"]}:store': 'role:archivist'})

    answer = ask(
        f'/v2.1/servers/{server}/action',
        {'createImage': {'name': 'x', 'store': 'reliable'}},
        **{'X-Roles': 'member,reader,archivist'},
    )

    check(glance, nova, made(nova, answer), 'reliable', server)


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
