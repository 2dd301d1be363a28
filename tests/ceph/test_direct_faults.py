"""What becomes of a direct snapshot that goes wrong.

Whatever happens, the snapshot is whole, and nothing of it stays in Ceph: the
fixture of the cloud sees to the latter after every test.
"""

from __future__ import annotations

from concurrent import futures
import logging
import threading
import time

from nova import exception as nova_exception
from nova.storage import rbd_utils
import pytest
import rbd

from nova_multistore.compute import failed_image
from nova_multistore.compute import location
from tests import patience
from tests.ceph.matrix import Landing
from tests.ceph.matrix import look
from tests.ceph.matrix import take
from tests.cloud import proxy as cloud_proxy
from tests.functional import end_background

POST = ('POST', '/locations$')
PATCH = ('PATCH', '/v2/images/[^/]*$')
# What Nova says of the image goes the same way as a location, and before it.
ONCE = (PATCH, None)
REFUSALS = {
    'POST 400': [(POST, 400)],
    'POST 403': [(POST, 403)],
    'POST 409': [(POST, 409)],
    'POST 500': [(POST, 500)],
    'POST 501, PATCH 400': [(POST, 501), ONCE, (PATCH, 400)],
    'POST 501, PATCH 403': [(POST, 501)],
    'POST 501, PATCH 409': [(POST, 501), ONCE, (PATCH, 409)],
    'POST 501, PATCH 501': [(POST, 501), ONCE, (PATCH, 501)],
}


@pytest.mark.parametrize('refusal', REFUSALS)
class TestLocationRefused:
    """Glance does not take the location of a clone."""

    @pytest.fixture
    def refused(self, proxy, refusal):
        for where, status in REFUSALS[refusal]:
            fault = status and cloud_proxy.Answer(status)
            proxy.fail(*where, fault, None if where is POST else 1)

    @pytest.mark.parametrize('store', [None, 'second'])
    def test_patched(self, cloud, server, refused, proxy, store):
        """The data is uploaded, to the same store."""
        cloud.nova.conf(**{'glance.store': store})

        landing = take(cloud, server)

        assert proxy.met
        assert Landing(store or 'fast', direct=False, whole=True) == landing

    def test_stock(self, cloud, clone, stock, refused):
        """There is no snapshot."""
        image_id = cloud.nova.snapshot(clone)

        assert cloud.glance.image(image_id) is None
        assert cloud.nova.faults(clone)


def test_locations_refused_to_users(cloud, server):
    """Without a service token Glance takes none."""
    cloud.nova.conf(**{'service_user.send_service_user_token': False})
    try:
        landing = take(cloud, server)
    finally:
        cloud.nova.conf(**{'service_user.send_service_user_token': True})

    assert Landing('fast', direct=False, whole=True) == landing


@pytest.mark.eventlet
def test_answer_lost(cloud, server, proxy):
    """The location was taken, though what Nova asks next is refused."""
    proxy.fail(*POST, cloud_proxy.LoseAnswer())

    landing = take(cloud, server)

    assert proxy.met == 1
    assert Landing('fast', direct=True, whole=True) == landing
    posts = [
        r for r in cloud.glance.requests() if r.path.endswith('/locations')
    ]
    assert [r.status for r in posts] == [202, 409]


def test_image_deleted_meanwhile(cloud, server, proxy):
    """The user may: the server goes on."""
    reached, go_on = threading.Event(), threading.Event()
    proxy.fail(*POST, cloud_proxy.Pause(None, reached, go_on))
    image_id = cloud.nova.start_snapshot(server)
    assert reached.wait(60)
    cloud.glance.delete_image(image_id)
    go_on.set()

    cloud.nova.wait(server)

    assert cloud.glance.image(image_id) is None
    assert cloud.nova.server(server)['status'] == 'ACTIVE'


IMAGE = '/v2/images/[^/]*$'


@pytest.mark.parametrize('operation', ['snapshot', 'shelve'])
def test_not_there_for_a_moment(cloud, boot, proxy, operation):
    """Glance has the image, though it says once that it has not."""
    server = boot('fast')
    reached, go_on = threading.Event(), threading.Event()
    proxy.fail(*POST, cloud_proxy.Pause(None, reached, go_on))
    with futures.ThreadPoolExecutor() as executor:
        taken = executor.submit(take, cloud, server, operation)
        assert reached.wait(60)
        proxy.fail('GET', IMAGE, cloud_proxy.Answer(404))
        go_on.set()
        landing = taken.result()

    assert proxy.met == 2
    assert Landing('fast', direct=True, whole=True) == landing


@pytest.fixture
def soon(monkeypatch):
    """What is left is looked after soon, and not for long."""
    monkeypatch.setattr(failed_image, 'PAUSE', 0.1)
    monkeypatch.setattr(failed_image, 'PATIENCE', 5.0)


@pytest.mark.usefixtures('soon')
def test_token_that_expires(cloud, server, proxy):
    """Nova has failed. Glance has not: the image keeps its data."""
    digest = cloud.ceph.sha256(cloud.disk(server))
    reached, go_on = threading.Event(), threading.Event()
    proxy.fail(*POST, cloud_proxy.Pause(None, reached, go_on))
    image_id = cloud.nova.start_snapshot(server)
    assert reached.wait(60)
    for method in ('GET', 'DELETE'):
        proxy.fail(method, IMAGE, cloud_proxy.Answer(401), times=None)
    go_on.set()
    cloud.nova.wait(server)

    said = cloud.nova.wait_for_line('does not say whether it took', 30)
    assert image_id in said
    landing = look(cloud, image_id, digest, direct=True)
    assert Landing('fast', direct=True, whole=True) == landing
    end_background()
    assert look(cloud, image_id, digest, direct=True) == landing
    cloud.glance.delete_image(image_id)


@pytest.mark.usefixtures('soon')
def test_location_that_never_arrived(cloud, server, proxy):
    """The clone is deleted, once it is certain that the image is."""
    proxy.fail(*POST, cloud_proxy.Hang(0.5), times=None)
    image_id = cloud.nova.start_snapshot(server)
    left = patience.Patience(60)
    while not proxy.met and left:
        time.sleep(0.01)
    proxy.fail('GET', IMAGE, cloud_proxy.Answer(401), times=None)
    cloud.nova.wait(server)
    assert image_id in cloud.ceph.images('images')
    assert image_id in cloud.nova.wait_for_line('does not say whether', 30)
    proxy.heal()

    end_background()

    assert cloud.glance.image(image_id) is None
    assert image_id not in cloud.ceph.images('images')


STEPS = ['create_snap', 'clone', 'flatten', 'snap']


@pytest.fixture
def break_at(monkeypatch):
    """Have a step of the direct snapshot fail in Ceph, after its work."""

    def break_at(step, pool, error):
        name = 'create_snap' if step == 'snap' else step
        original = getattr(rbd_utils.RBDDriver, name)

        def broken(self, *args, **kwargs):
            original(self, *args, **kwargs)
            where = kwargs.get('pool', kwargs.get('dest_pool'))
            if where == (None if step == 'create_snap' else pool):
                raise error

        monkeypatch.setattr(rbd_utils.RBDDriver, name, broken)

    return break_at


@pytest.mark.eventlet
@pytest.mark.parametrize('store', [None, 'second'])
@pytest.mark.parametrize('step', STEPS)
def test_broken_step(cloud, server, break_at, step, store):
    """The data is uploaded, to the same store."""
    cloud.nova.conf(**{'glance.store': store})
    pool = {None: 'images', 'second': 'other'}[store]
    break_at(step, pool, rbd.OSError('no luck', errno=5))

    landing = take(cloud, server)

    assert Landing(store or 'fast', direct=False, whole=True) == landing
    assert any(
        f'Ceph pool {pool} did not take it' in line and 'no luck' in line
        for line in cloud.nova.log_lines(logging.WARNING)
    )


def test_flatten_that_does_not_end_its_work(cloud, server, monkeypatch):
    """Its clone still hangs on the disk: both are cleared up in order."""

    def flatten(self, volume, pool=None):
        raise rbd.OSError('no luck', errno=5)

    monkeypatch.setattr(rbd_utils.RBDDriver, 'flatten', flatten)

    landing = take(cloud, server)

    assert Landing('fast', direct=False, whole=True) == landing
    assert any(
        'no luck' in line for line in cloud.nova.log_lines(logging.WARNING)
    )


def test_no_permission(cloud, server, break_at):
    """As Nova translates it."""
    cloud.nova.conf(**{'glance.store': 'second'})
    break_at('clone', 'other', nova_exception.Forbidden('not yours'))

    landing = take(cloud, server)

    assert Landing('second', direct=False, whole=True) == landing


@pytest.mark.eventlet
@pytest.mark.parametrize(
    ('order', 'expected'),
    [
        (None, Landing('second', direct=True, whole=True)),
        ('fast', Landing('fast', direct=False, whole=True)),
    ],
)
def test_another_pool(cloud, clones, break_at, order, expected):
    """Nova's own search finds one, which is no place for an order."""
    cloud.nova.conf(**{'glance.store': order})
    server = clones['second', 'fast']
    assert 'other/' in cloud.ceph.rbd('info', cloud.disk(server))
    break_at('clone', 'images', nova_exception.Forbidden('not yours'))

    assert expected == take(cloud, server)


def test_image_that_is_there_already(cloud, server, monkeypatch):
    """It is not the clone, and stays."""
    clone = rbd_utils.RBDDriver.clone

    def late(self, location, name, dest_pool=None):
        cloud.ceph.rbd('create', '--size', '1M', f'{dest_pool}/{name}')
        clone(self, location, name, dest_pool=dest_pool)

    monkeypatch.setattr(rbd_utils.RBDDriver, 'clone', late)

    image_id = cloud.nova.snapshot(server)

    cloud.ceph.rbd('rm', '--no-progress', f'images/{image_id}')
    # Glance cannot upload it there either.
    assert Landing('cheap', direct=False, whole=True) == look(
        cloud,
        image_id,
        cloud.ceph.sha256(cloud.disk(server)),
        direct=False,
    )


@pytest.fixture
def missing(cloud):
    """The pool of the store ``second`` is not there any more."""
    cloud.ceph.ceph('osd', 'pool', 'rename', 'other', 'renamed')
    yield
    cloud.ceph.ceph('osd', 'pool', 'rename', 'renamed', 'other')


def test_missing_pool(cloud, server, missing):
    """An order fails, as an upload to that store does."""
    cloud.nova.conf(**{'glance.store': 'second'})

    image_id = cloud.nova.snapshot(server)

    assert cloud.glance.image(image_id) is None
    assert any(
        'Ceph pool other did not take it' in line
        for line in cloud.nova.log_lines(logging.WARNING)
    )


@pytest.fixture
def full(cloud, tmp_path):
    """The pool of the store ``second`` takes no more.

    By itself Ceph has its clients wait then, for ever.
    """
    limited = tmp_path / 'ceph.conf'
    limited.write_text(
        f'{cloud.ceph.configuration.read_text()}rados_osd_op_timeout = 5\n'
    )
    cloud.ceph.ceph('osd', 'pool', 'set-quota', 'other', 'max_bytes', '4096')
    left = patience.Patience(60)
    while 'full' not in cloud.ceph.ceph('osd', 'pool', 'ls', 'detail'):
        assert left
        time.sleep(0.5)
    cloud.nova.conf(**{'libvirt.images_rbd_ceph_conf': str(limited)})
    yield
    cloud.nova.conf(
        **{'libvirt.images_rbd_ceph_conf': str(cloud.ceph.configuration)}
    )
    cloud.ceph.ceph('osd', 'pool', 'set-quota', 'other', 'max_bytes', '0')


@pytest.fixture
def in_second(boot):
    """A server from an image in ``second``."""
    return boot('second')


def test_full_pool(cloud, in_second, full):
    """Neither a clone nor an upload gets there: the default store has it."""
    landing = take(cloud, in_second)

    assert Landing('cheap', direct=False, whole=True) == landing
    assert any(
        'Ceph pool other did not take it' in line
        for line in cloud.nova.log_lines(logging.WARNING)
    )


class TestLocationThatComesToNothing:
    """Glance answers 202, and never makes the image active."""

    @pytest.fixture
    def make(self, cloud, proxy, monkeypatch):
        """Make an image; Glance ends while it looks at the clone for it."""
        monkeypatch.setattr(location, 'PATIENCE', 8.0)
        reached, go_on = threading.Event(), threading.Event()
        proxy.fail(*POST, cloud_proxy.Pause(None, reached, go_on))
        cloud.glance.forget_requests()

        def make(operation, server):
            with futures.ThreadPoolExecutor() as executor:
                made = executor.submit(getattr(cloud.nova, operation), server)
                assert reached.wait(60)
                # Glance takes the location, and then waits for Ceph.
                cloud.ceph.ceph('osd', 'pause')
                go_on.set()
                left = patience.Patience(60)
                while not any(
                    r.path.endswith('/locations') and r.status == 202
                    for r in cloud.glance.requests()
                ):
                    assert left
                    time.sleep(0.05)
                cloud.glance.kill()
                cloud.ceph.ceph('osd', 'unpause')
                cloud.glance.start()
                return made.result()

        return make

    @pytest.mark.parametrize('operation', ['snapshot', 'backup'])
    def test_upload(self, cloud, clone, make, operation):
        """The data is sent, to the same store."""
        digest = cloud.ceph.sha256(cloud.disk(clone))

        image_id = make(operation, clone)

        assert any(r.is_upload for r in cloud.glance.requests())
        assert cloud.glance.stores_of(image_id) == ['fast']
        assert cloud.data(image_id) == {'fast': digest}
        cloud.glance.delete_image(image_id)

    def test_shelve(self, cloud, boot, make):
        """The disk, which is deleted, comes back."""
        server = boot('fast')
        digest = cloud.ceph.sha256(cloud.disk(server))

        image_id = make('shelve', server)

        assert cloud.glance.image(image_id)['status'] == 'active'
        cloud.nova.unshelve(server)
        assert cloud.ceph.sha256(cloud.disk(server)) == digest
