"""What becomes of a snapshot when the network or Glance fails.

Whatever happens, an image that is active holds what was sent, and none is
left behind that is neither active nor gone.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import threading
import time

import pytest

from nova_multistore import lookup
from nova_multistore import record
from nova_multistore.compute import failed_image
from nova_multistore.compute import upload
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional import expected_digest
from tests.functional import notes
from tests.functional import small
from tests.functional import unwritable

pytestmark = pytest.mark.eventlet

MIB = 1 << 20
UPLOAD = ('PUT', '/file$')
DISCOVERY = ('GET', '/v2/info/stores$')


@pytest.fixture(scope='module')
def module_proxy(glance):
    with cloud_proxy.Proxy(glance.url) as proxy:
        yield proxy


@pytest.fixture(scope='module')
def server(patched_nova, glance, qcow2):
    """A server whose base image is in ``fast``."""
    server = patched_nova.create_server(
        glance.create_image(qcow2, stores=['fast'])
    )
    patched_nova.write_disk(server, os.urandom(MIB))
    return server


@pytest.fixture(scope='module')
def digest(patched_nova, server):
    return expected_digest(patched_nova.disk(server))


@pytest.fixture(scope='module')
def size(patched_nova, glance, server):
    """How many bytes a snapshot of the server has."""
    return glance.image(patched_nova.snapshot(server))['size']


@pytest.fixture
def proxy(nova, glance, module_proxy, monkeypatch):
    """Nova reaches Glance through it; afterwards nothing is half done."""
    monkeypatch.setattr(upload, 'PAUSE', 0.1)
    monkeypatch.setattr(failed_image, 'PAUSE', 0.1)
    nova.conf(**{'glance.api_servers': [module_proxy.url]})
    nova.records.clear()
    lookup.forget()
    yield module_proxy
    module_proxy.heal()
    lookup.forget()
    assert [
        (image['id'], image['status'])
        for image in glance.images(nova.project)
        if image['status'] != 'active'
    ] == []


@pytest.fixture
def whole(glance, digest):
    """Check that an image is active and whole, in one store."""

    def whole(image_id, store='fast'):
        assert glance.image(image_id)['status'] == 'active'
        assert glance.stores_of(image_id) == [store]
        assert glance.sha256(image_id) == {store: digest}

    return whole


PLACES = [1, 13, 50, 99]


@pytest.mark.parametrize('percent', PLACES)
def test_connection_cut_once(nova, proxy, server, size, whole, percent):
    """The snapshot is whole, in the store that was selected."""
    proxy.fail(*UPLOAD, cloud_proxy.Cut(size * percent // 100))

    whole(nova.snapshot(server))

    assert proxy.met == 1


@pytest.mark.parametrize('percent', PLACES)
def test_connection_cut_every_time(nova, glance, proxy, server, size, percent):
    """The snapshot fails, and leaves nothing."""
    proxy.fail(*UPLOAD, cloud_proxy.Cut(size * percent // 100), times=None)

    image_id = nova.snapshot(server)

    assert glance.image(image_id) is None
    assert nova.faults(server)
    # As often as Nova tries, at the store of the base image and then at the
    # default store.
    assert proxy.met == 8


@pytest.mark.parametrize('operation', ['backup', 'shelve'])
def test_connection_cut_in_other_operations(
    nova, glance, qcow2, proxy, size, operation
):
    """They share the upload."""
    other = nova.create_server(glance.create_image(qcow2, stores=['reliable']))
    digest = expected_digest(nova.disk(other))
    proxy.fail(*UPLOAD, cloud_proxy.Cut(size // 2))

    image_id = getattr(nova, operation)(other)

    assert glance.sha256(image_id) == {'reliable': digest}
    nova.delete_server(other)


def test_shelve_that_fails(nova, glance, qcow2, proxy, size):
    """Nova would leave its image behind; the server is as before."""
    other = nova.create_server(glance.create_image(qcow2, stores=['cheap']))
    before = {image['id'] for image in glance.images(nova.project)}
    proxy.fail(*UPLOAD, cloud_proxy.Cut(size // 2), times=None)

    nova.api.post_server_action(other, {'shelve': None})
    nova.wait(other)

    assert {image['id'] for image in glance.images(nova.project)} == before
    proxy.heal()
    nova.delete_server(other)


@pytest.mark.parametrize('operation', ['snapshot', 'backup', 'shelve'])
@pytest.mark.parametrize('times', [1, 3])
def test_deletion_that_fails(nova, glance, qcow2, proxy, operation, times):
    """Nova asks once to delete the image; it is gone nevertheless."""
    other = nova.create_server(glance.create_image(qcow2, stores=['fast']))
    before = {image['id'] for image in glance.images(nova.project)}
    proxy.fail(*UPLOAD, cloud_proxy.Answer(500), times=None)
    proxy.fail('DELETE', '/v2/images/', cloud_proxy.Answer(500), times=times)

    if operation == 'shelve':
        nova.api.post_server_action(other, {'shelve': None})
        nova.wait(other)
    else:
        getattr(nova, operation)(other)
    # Nova asks once more for a backup, so any of them may be the one.
    enough = patience.Patience(cloud_glance.PATIENCE)
    while enough:
        left = {image['id'] for image in glance.images(nova.project)} - before
        if not left:
            break
        time.sleep(0.05)

    assert left == set()
    nova.delete_server(other)


def test_deletion_that_fails_for_long(
    nova, glance, proxy, server, monkeypatch
):
    """What is left is named."""
    monkeypatch.setattr(failed_image, 'PATIENCE', 0.5)
    proxy.fail(*UPLOAD, cloud_proxy.Answer(500), times=None)
    proxy.fail('DELETE', '/v2/images/', cloud_proxy.Answer(503), times=None)

    image_id = nova.snapshot(server)
    said = nova.wait_for_line('was not deleted', logging.WARNING)

    assert f'openstack image delete {image_id}' in said
    assert glance.image(image_id)['status'] == 'queued'
    glance.delete_image(image_id)


def test_answer_lost(nova, glance, proxy, server, whole):
    """The image has all of it: nothing is sent twice."""
    glance.forget_requests()
    proxy.fail(*UPLOAD, cloud_proxy.LoseAnswer())

    whole(nova.snapshot(server))

    assert proxy.met == 1
    assert len([r for r in glance.requests() if r.is_upload]) == 1


def test_unavailable_once(nova, proxy, server, whole):
    """The same store gets the data then."""
    proxy.fail(*UPLOAD, cloud_proxy.Answer(503))

    whole(nova.snapshot(server))

    assert proxy.met == 1


@pytest.mark.parametrize('status', [408, 429, 502, 504])
@pytest.mark.parametrize('order', [None, 'reliable'])
def test_gateway_in_trouble_once(nova, proxy, server, whole, status, order):
    """It is not the store that said so: it gets the data then."""
    nova.conf(**{'glance.store': order})
    proxy.fail(*UPLOAD, cloud_proxy.Answer(status))

    whole(nova.snapshot(server), order or 'fast')

    assert proxy.met == 1


@pytest.mark.parametrize('option', ['image_size_cap', 'user_storage_quota'])
def test_image_too_large(nova, glance, proxy, server, option):
    """It is in any store: the data are sent once, as stock Nova does."""
    with glance.configured(**{option: 100_000}):
        glance.forget_requests()
        image_id = nova.snapshot(server)
        uploads = [r for r in glance.requests() if r.is_upload]

    assert [r.status for r in uploads] == [413]
    assert glance.image(image_id) is None
    assert 'HTTP 413' in nova.faults(server)[0]


@pytest.fixture
def odd(tmp_path, glance):
    """An API server of the same Glance, configured without its stores."""
    tmp_path.chmod(0o755)
    database = f'sqlite:///{glance.root / "glance.sqlite"}?timeout=30'
    with cloud_glance.Glance(
        tmp_path,
        multi_store=False,
        **{
            'database.connection': database,
            'glance_store.filesystem_store_datadir': glance.directory('cheap'),
        },
    ) as odd:
        yield odd


@pytest.mark.parametrize('order', [None, 'reliable'])
def test_api_server_without_the_stores(
    nova, glance, proxy, odd, server, digest, monkeypatch, order
):
    """It takes the data and puts them elsewhere: log and image say so."""
    # Whatever is asked, it is the first one.
    monkeypatch.setattr(random, 'shuffle', lambda servers: None)
    monkeypatch.setattr(random, 'sample', lambda servers, _number: [*servers])
    nova.conf(**{'glance.store': order})
    nova.conf(**{'glance.api_servers': [odd.url, proxy.url]})
    lookup.forget()

    image_id = nova.snapshot(server)

    store = order or 'fast'
    image = glance.image(image_id)
    assert glance.stores_of(image_id) == ['cheap']
    assert glance.sha256(image_id) == {'cheap': digest}
    assert image[record.STORE] == store
    assert image[record.DIFFERENCE] == (
        f'{record.ELSEWHERE}in cheap instead of {store}'
    )
    assert any(
        'Glance has it in cheap' in line
        for line in nova.log_lines(logging.WARNING)
    )


def test_store_full(nova, proxy, server, whole):
    """The default store gets the data, and the log says so."""
    proxy.fail(*UPLOAD, cloud_proxy.Answer(413))

    whole(nova.snapshot(server), 'cheap')

    assert any(
        'Store fast did not take image' in line
        for line in nova.log_lines(logging.WARNING)
    )


def test_file_system_full(nova, full_glance, qcow2):
    """It is found out half-way: the same data goes there from its start."""
    nova.conf(**{'glance.api_servers': [full_glance.url]})
    lookup.forget()
    server = nova.create_server(
        full_glance.create_image(qcow2, stores=['fast'])
    )
    digest = expected_digest(nova.disk(server))

    image_id = nova.snapshot(server)

    lookup.forget()
    assert full_glance.image(image_id)['status'] == 'active'
    assert full_glance.sha256(image_id) == {'cheap': digest}
    assert any(
        'Store fast did not take image' in line
        for line in nova.log_lines(logging.WARNING)
    )
    nova.delete_server(server)


@pytest.fixture
def full_glance(tmp_path, request):
    """A Glance whose ``fast`` has room for a base image and a bit.

    Where a file system of such a size may not be mounted, a proxy answers as
    that Glance would.
    """
    tmp_path.chmod(0o755)
    mount = small(tmp_path / 'stores' / 'fast', 6)
    if subprocess.run([*mount, 'true'], check=False).returncode == 0:
        request.config.stash[notes] += ['Full store: a tmpfs of 6 MiB.']
        with cloud_glance.Glance(tmp_path, launcher=mount) as glance:
            yield glance
        return
    request.config.stash[notes] += [
        'Full store: a 413 of the proxy, as unshare -rm is not allowed here.'
    ]
    with (
        cloud_glance.Glance(tmp_path) as glance,
        cloud_proxy.Proxy(glance.url) as proxy,
    ):
        proxy.fail(*UPLOAD, cloud_proxy.Answer(413))
        yield _Behind(glance, proxy.url)


class _Behind:
    """A Glance that is reached by another URL."""

    def __init__(self, glance, url):
        self._glance = glance
        self.url = url

    def __getattr__(self, name):
        return getattr(self._glance, name)


def test_store_unwritable(nova, glance, proxy, server, whole):
    """The same, with a store that really is: Glance runs unprivileged."""
    with unwritable(glance.directory('fast')):
        image_id = nova.snapshot(server)

    whole(image_id, 'cheap')


def test_ordered_store_unwritable(nova, glance, proxy, server):
    """An order goes nowhere else."""
    nova.conf(**{'glance.store': 'reliable'})
    with unwritable(glance.directory('reliable')):
        image_id = nova.snapshot(server)

    assert glance.image(image_id) is None
    assert nova.faults(server)


@pytest.mark.parametrize(
    'fault',
    [
        cloud_proxy.Answer(500),
        cloud_proxy.Answer(200, b'<html>no</html>'),
        cloud_proxy.Answer(200, b'{"stores": [{"no": "id"}]}'),
        cloud_proxy.Hang(12),
    ],
    ids=['500', 'garbage', 'no id', 'hanging'],
)
def test_broken_discovery(nova, proxy, server, whole, fault):
    """The default store gets the data, and soon."""
    proxy.fail(*DISCOVERY, fault, times=None)
    begin = time.monotonic()

    whole(nova.snapshot(server), 'cheap')

    assert time.monotonic() - begin < 25
    assert any(
        "goes to Glance's default store: Glance's stores are unknown" in line
        for line in nova.log_lines()
    )
    # A failure is remembered: the next snapshot waits for a short time only.
    begin = time.monotonic()
    whole(nova.snapshot(server), 'cheap')
    assert time.monotonic() - begin < 9
    # And there is no third one that goes to the wrong store.
    proxy.heal()
    whole(nova.snapshot(server))


@pytest.fixture
def base_image(nova, server):
    """What a question for the base image is."""
    return ('GET', f'/v2/images/{nova.server(server)["image"]["id"]}$')


@pytest.mark.parametrize(
    'fault',
    [
        cloud_proxy.Answer(429),
        cloud_proxy.Answer(502),
        cloud_proxy.Answer(503),
        cloud_proxy.LoseAnswer(),
    ],
    ids=['429', '502', '503', 'lost'],
)
def test_base_image_at_the_second_try(
    nova, glance, proxy, server, whole, base_image, fault
):
    """The snapshot goes where it should, and has no difference."""
    proxy.fail(*base_image, fault)

    image_id = nova.snapshot(server)

    whole(image_id)
    assert proxy.met == 1
    assert record.DIFFERENCE not in glance.image(image_id)


def test_base_image_that_is_never_told(
    nova, glance, proxy, server, whole, base_image
):
    """The image says why it is in the default store, and so does the log."""
    proxy.fail(*base_image, cloud_proxy.Answer(502), times=None)

    image_id = nova.snapshot(server)

    whole(image_id, 'cheap')
    difference = glance.image(image_id)[record.DIFFERENCE]
    assert difference.startswith(record.UNASKED)
    assert any(
        "goes to Glance's default store" in line
        for line in nova.log_lines(logging.WARNING)
    )


def test_discovery_not_found(nova, proxy, server, whole):
    """Glance has one store, it says."""
    proxy.fail(*DISCOVERY, cloud_proxy.Answer(404), times=None)

    whole(nova.snapshot(server), 'cheap')


def test_ordered_store_where_discovery_is_broken(nova, proxy, server, whole):
    """Glance itself knows its stores."""
    nova.conf(**{'glance.store': 'reliable'})
    proxy.fail(*DISCOVERY, cloud_proxy.Answer(500), times=None)

    whole(nova.snapshot(server), 'reliable')


def test_glance_killed_during_the_upload(
    nova, glance, proxy, server, size, monkeypatch
):
    """Its image stays in ``saving`` for good: the snapshot fails clean."""
    monkeypatch.setattr(upload, 'SETTLE', 10.0)
    image_id, go_on = begin(nova, proxy, server, size // 2)
    wait_for_saving(glance, image_id)
    glance.kill()
    go_on.set()
    glance.start()
    assert glance.image(image_id)['status'] == 'saving'

    nova.wait(server)

    assert glance.image(image_id) is None


def begin(nova, proxy, server, after):
    """Begin a snapshot, and hold its upload after so many bytes.

    :returns: the image's id, and the event that lets the upload go on
    """
    reached, go_on = threading.Event(), threading.Event()
    proxy.fail(*UPLOAD, cloud_proxy.Pause(after, reached, go_on))
    image_id = nova.start_snapshot(server)
    assert reached.wait(60)
    return image_id, go_on


def wait_for_saving(glance, image_id):
    """Wait until Glance has begun to take the data."""
    left = patience.Patience(30)
    while glance.image(image_id)['status'] != 'saving':
        assert left
        time.sleep(0.1)


def test_glance_stopped_during_the_upload(
    nova, glance, proxy, server, size, whole
):
    """It ends what it has begun, and is away for a moment then."""
    image_id, go_on = begin(nova, proxy, server, size // 2)
    wait_for_saving(glance, image_id)
    stopper = threading.Thread(target=glance.stop)
    # However long Glance takes to start.
    nova.conf(**{'glance.num_retries': 20})
    try:
        stopper.start()
        go_on.set()
        stopper.join()
        glance.start()
        nova.wait(server)
    finally:
        nova.conf(**{'glance.num_retries': 3})

    whole(image_id)


def test_glance_away_before_the_upload(nova, glance, proxy, server, whole):
    """It is back within the bound: the data is sent then."""
    image_id, go_on = begin(nova, proxy, server, None)
    glance.kill()
    go_on.set()
    glance.start()

    nova.wait(server)

    whole(image_id)


def test_image_deleted_during_the_upload(nova, glance, proxy, server, size):
    """The user may: the server goes on."""
    image_id, go_on = begin(nova, proxy, server, size // 2)
    wait_for_saving(glance, image_id)
    glance.delete_image(image_id)
    go_on.set()

    nova.wait(server)

    assert glance.image(image_id) is None
    assert nova.server(server)['status'] == 'ACTIVE'


@pytest.mark.parametrize('number', range(5))
def test_dead_api_server(nova, proxy, server, whole, number):
    """The other one gets the data, in whatever turn they are."""
    nova.conf(**{'glance.api_servers': ['http://127.0.0.1:9', proxy.url]})
    lookup.forget()

    whole(nova.snapshot(server))
