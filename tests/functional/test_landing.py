"""Where the snapshots of a patched Nova land, and that they land whole."""

from __future__ import annotations

import collections
import functools
import logging
import os
import time

import pytest

from nova_multistore import lookup
from nova_multistore import record
from nova_multistore.compute import patch
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.functional import FOLLOWED
from tests.functional import expected_digest

pytestmark = pytest.mark.eventlet

MIB = 1 << 20


@pytest.fixture(scope='module')
def base(glance, qcow2):
    """Make, once each, base images by the stores in which they are."""

    @functools.cache
    def base(*stores):
        if stores == ('web',):
            return glance.create_image(
                os.urandom(MIB), stores=stores, disk_format='raw'
            )
        return glance.create_image(qcow2, stores=stores)

    return base


def check(nova, glance, image_id, store, digest):
    """The image is active, whole, and in that store alone."""
    image = glance.image(image_id)
    assert image['status'] == 'active'
    assert glance.stores_of(image_id) == [store]
    assert glance.sha256(image_id) == {store: digest}


@pytest.mark.parametrize(('stores', 'store'), FOLLOWED)
def test_base_image_tells(nova, glance, base, boot, stores, store):
    """The store of the base image; the default store where it is no use."""
    server = boot(base(*stores))
    digest = expected_digest(nova.disk(server))

    for operate in (nova.snapshot, nova.backup, nova.shelve):
        check(nova, glance, operate(server), store, digest)


def test_option_tells(nova, glance, base, boot):
    """[glance] store is for what the user keeps, not for shelving."""
    nova.conf(**{'glance.store': 'reliable'})
    server = boot(base('fast'))
    digest = expected_digest(nova.disk(server))

    check(nova, glance, nova.snapshot(server), 'reliable', digest)
    check(nova, glance, nova.backup(server), 'reliable', digest)
    check(nova, glance, nova.shelve(server), 'fast', digest)


def test_nothing_to_move(nova, glance, base, boot):
    """A disk that is not in Ceph is uploaded to that store straight away."""
    nova.conf(**{'nova_multistore.move_to': 'reliable'})
    server = boot(base('fast'))
    digest = expected_digest(nova.disk(server))

    check(nova, glance, nova.snapshot(server), 'reliable', digest)
    backup = nova.backup(server)
    check(nova, glance, backup, 'reliable', digest)
    check(nova, glance, nova.shelve(server), 'fast', digest)
    image = glance.image(backup)
    assert image[record.RULE] == 'move'
    assert record.MOVE_FROM not in image
    nova.conf(**{'nova_multistore.move_to': None})


@pytest.mark.parametrize('operation', ['snapshot', 'backup'])
@pytest.mark.parametrize('store', ['nosuch', 'web'])
def test_bad_option(nova, glance, base, boot, store, operation):
    """Nothing is read, nothing is left, and both log and fault say why."""
    nova.conf(**{'glance.store': store})
    server = boot(base('fast'))
    before = nova.server(server)
    nova.records.clear()
    glance.forget_requests()

    image_id = getattr(nova, operation)(server)

    assert glance.image(image_id) is None
    after = nova.server(server)
    for key in ('status', 'OS-EXT-STS:task_state', 'OS-EXT-STS:vm_state'):
        assert before[key] == after[key]
    words = f"store '{store}'"
    assert any(
        words in line and 'cheap, fast, reliable' in line
        for line in nova.log_lines(logging.ERROR)
    )
    messages = [fault.splitlines()[0] for fault in nova.faults(server)]
    assert messages
    for message in messages:
        assert words in message
        assert 'cheap, fast, reliable' in message
    assert not any(r.is_upload for r in glance.requests())
    assert not any('Beginning' in line for line in nova.log_lines())


@pytest.fixture
def credentials(nova, glance):
    """Credentials of Nova itself, in [service_user]."""
    cloud_nova.register_credentials('service_user')
    token = cloud_glance.token('service')
    nova.conf(**cloud_nova.credentials('service_user', glance.url, token))
    yield
    nova.conf(**{'service_user.auth_type': None})


@pytest.mark.parametrize(
    ('store', 'level', 'words'),
    [
        ('nosuch', logging.ERROR, 'cheap, fast, reliable'),
        ('web', logging.ERROR, 'is read-only'),
        ('fast', None, ''),
    ],
)
def test_option_is_checked_at_the_start(
    nova, credentials, store, level, words
):
    """nova-compute starts either way."""
    nova.conf(**{'glance.store': store})
    nova.records.clear()
    lookup.forget()

    nova.restart_compute()
    left = patience.Patience(20 if level else 2)
    while left and not found(nova):
        time.sleep(0.1)

    assert [record.levelno for record in found(nova)] == [level] * bool(level)
    assert all(words in record.getMessage() for record in found(nova))


def test_option_cannot_be_checked_at_the_start(nova):
    """Without credentials there is a warning."""
    nova.conf(**{'glance.store': 'fast'})
    nova.records.clear()
    lookup.forget()

    nova.restart_compute()
    left = patience.Patience(20)
    while left and not found(nova):
        time.sleep(0.1)

    [record] = found(nova)
    assert record.levelno == logging.WARNING
    assert '[service_user]' in record.getMessage()


def found(nova):
    """What was said of the option."""
    return [
        record
        for record in nova.records
        if record.getMessage().startswith('[glance] store')
    ]


def test_shelve_with_bad_option(nova, glance, base, boot):
    """It follows the base image, and comes back."""
    nova.conf(**{'glance.store': 'nosuch'})
    server = boot(base('fast'))
    digest = expected_digest(nova.disk(server))

    image_id = nova.shelve(server)

    check(nova, glance, image_id, 'fast', digest)
    nova.unshelve(server)


def test_snapshot_of_a_snapshot(nova, glance, base, boot):
    """The second one's base is the first one, which is elsewhere."""
    nova.conf(**{'glance.store': 'reliable'})
    first = nova.snapshot(boot(base('fast')))
    nova.conf(**{'glance.store': None})
    server = boot(first)
    digest = expected_digest(nova.disk(server))

    second = nova.snapshot(server)

    assert glance.image(second)['base_image_ref'] != first
    check(nova, glance, second, 'reliable', digest)


def test_snapshot_after_unshelve(nova, glance, base, boot):
    """The server's base is what it was."""
    server = boot(base('reliable'))
    nova.shelve(server)
    nova.unshelve(server)
    digest = expected_digest(nova.disk(server))

    check(nova, glance, nova.snapshot(server), 'reliable', digest)


def test_volume_backed(nova, glance):
    """The API activates an empty image, in the default store."""
    server = nova.create_server(volume_backed=True)
    glance.forget_requests()

    image_id = nova.snapshot(server)

    image = glance.image(image_id)
    assert (image['status'], image['size']) == ('active', 0)
    assert glance.stores_of(image_id) == ['cheap']
    [upload] = (r for r in glance.requests() if r.is_upload)
    assert upload.base_image_ref is None
    assert upload.store is None
    nova.delete_server(server)


def test_what_is_sent(nova, glance, base, boot):
    """The three headers, with the upload alone."""
    server = boot(base('fast'))
    glance.forget_requests()

    image_id = nova.snapshot(server)

    [upload] = (r for r in glance.requests() if r.is_upload)
    assert upload.base_image_ref == base('fast')
    assert upload.store == 'fast'
    assert upload.announced_size == glance.image(image_id)['size']
    assert all(
        (r.base_image_ref, r.store, r.announced_size) == (None, None, None)
        for r in glance.requests()
        if not r.is_upload
    )


def test_base_image_that_was_deleted(nova, glance, qcow2, boot):
    """The default store, with the reference that stock Nova does not send."""
    image_id = glance.create_image(qcow2, stores=['fast'])
    server = boot(image_id)
    glance.delete_image(image_id)
    digest = expected_digest(nova.disk(server))
    glance.forget_requests()

    check(nova, glance, nova.snapshot(server), 'cheap', digest)

    [upload] = (r for r in glance.requests() if r.is_upload)
    assert (upload.base_image_ref, upload.store) == (image_id, None)
    assert any('deleted or not visible' in line for line in nova.log_lines())


def test_base_image_of_another_project(nova, glance, qcow2, boot):
    """What the user may not see does not exist."""
    image_id = glance.create_image(
        qcow2, stores=['fast'], visibility='public', project='other'
    )
    server = boot(image_id)
    hide(glance, image_id)
    assert glance.image(image_id, project=nova.project) is None
    digest = expected_digest(nova.disk(server))

    check(nova, glance, nova.snapshot(server), 'cheap', digest)


def hide(glance, image_id):
    """Make an image its project's own."""
    private = {'op': 'replace', 'path': '/visibility', 'value': 'private'}
    glance.change_image(image_id, private, project='other', admin=True)


def test_store_that_glance_lacks(nova, glance, base, boot):
    """A site's Glance may know fewer stores than the image names."""
    server = boot(base('reliable'))
    digest = expected_digest(nova.disk(server))
    everything = glance.stores
    glance.stop()
    glance.start(stores={'cheap': 'file', 'fast': 'file'})
    try:
        lookup.forget()
        image_id = nova.snapshot(server)
        check(nova, glance, image_id, 'cheap', digest)
    finally:
        glance.stop()
        glance.start(stores=everything)
        lookup.forget()


def test_store_that_glance_lost_meanwhile(nova, glance, base, boot):
    """The data goes to the default store, and the catalogue is renewed."""
    server = boot(base('reliable'))
    digest = expected_digest(nova.disk(server))
    nova.snapshot(server)
    everything = glance.stores
    glance.stop()
    glance.start(stores={'cheap': 'file', 'fast': 'file'})
    try:
        image_id = nova.snapshot(server)
        check(nova, glance, image_id, 'cheap', digest)
        nova.conf(**{'glance.store': 'reliable'})
        assert glance.image(nova.snapshot(server)) is None
    finally:
        glance.stop()
        glance.start(stores=everything)
    # An order for a store that is back is met at once.
    check(nova, glance, nova.snapshot(server), 'reliable', digest)


def test_side_by_side(nova, glance, base, boot):
    """Each snapshot goes by its own selection."""
    stores = ['fast', 'reliable', 'cheap']
    servers = {boot(base(store)): store for store in stores * 2}
    digests = {s: expected_digest(nova.disk(s)) for s in servers}

    images = {server: nova.start_snapshot(server) for server in servers}
    nova.wait_until_idle()

    for server, store in servers.items():
        check(nova, glance, images[server], store, digests[server])


def test_requests(nova, glance, base, boot):
    """No more than stock Nova's, once the catalogue is known.

    The base image is asked for, and the image after its update is not. The
    schema is asked for once a minute at most.
    """
    schemas = 'GET', 'schemas'
    server = boot(base('fast'))

    def requests():
        glance.forget_requests()
        nova.snapshot(server)
        return collections.Counter(
            (r.method, r.path.split('/')[2]) for r in glance.requests()
        )

    nova.snapshot(server)
    warm = requests()
    nova.conf(**{'glance.store': 'reliable'})
    ordered = requests()
    nova.conf(**{'glance.store': None})
    patch.remove()
    try:
        stock = requests()
        assert glance.stores_of(nova.snapshot(server)) == ['cheap']
    finally:
        patch.apply()
        nova.restart_compute()

    assert warm.pop(schemas, 0) + ordered.pop(schemas, 0) <= 2
    assert stock.pop(schemas) > 2
    assert warm == stock
    assert ordered == stock - collections.Counter([('GET', 'images')])


class TestOneStore:
    """A Glance without several stores."""

    @pytest.fixture
    def single(self, tmp_path):
        """Such a Glance."""
        tmp_path.chmod(0o755)
        with cloud_glance.Glance(tmp_path, multi_store=False) as single:
            yield single

    def test_snapshot(self, nova, single, qcow2, boot):
        """Nothing changes, but for the reference."""
        nova.conf(**{'glance.api_servers': [single.url]})
        lookup.forget()
        try:
            image_id = single.create_image(qcow2)
            server = boot(image_id)
            single.forget_requests()
            image = single.image(nova.snapshot(server))
            [upload] = (r for r in single.requests() if r.is_upload)
        finally:
            lookup.forget()

        assert image['status'] == 'active'
        assert (upload.base_image_ref, upload.store) == (image_id, None)

    def test_dead_api_server(self, nova, single, qcow2, boot):
        """The other one gets the data, in whatever turn they are."""
        nova.conf(**{'glance.api_servers': [single.url]})
        server = boot(single.create_image(qcow2))
        nova.conf(**{'glance.api_servers': ['http://127.0.0.1:9', single.url]})
        lookup.forget()
        try:
            images = [nova.snapshot(server) for _ in range(5)]
        finally:
            lookup.forget()

        found = [single.image(image_id) for image_id in images]
        assert [i and i['status'] for i in found] == ['active'] * 5
