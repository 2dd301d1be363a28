"""The direct snapshot, and what becomes of one that goes wrong.

Whatever happens, the snapshot is whole, and nothing of it stays in Ceph: the
fixture of the cloud sees to the latter after every test.
"""

from __future__ import annotations

from concurrent import futures
import hashlib
import logging
import subprocess
import threading
import time
from unittest import mock

from nova import exception as nova_exception
from nova.storage import rbd_utils
import pytest
import rbd

from nova_multistore import opts
from nova_multistore import stores
from nova_multistore.compute import ceph
from nova_multistore.compute import failed_image
from nova_multistore.compute import location
from nova_multistore.compute import patch
from tests.ceph.matrix import Landing
from tests.ceph.matrix import look
from tests.ceph.matrix import take
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import end_background

POST = ('POST', '/locations$')
PATCH = ('PATCH', '/v2/images/[^/]*$')
DETAIL = ('GET', '/v2/info/stores/detail$')


@pytest.fixture
def proxy(cloud):
    """Nova reaches Glance through it."""
    with cloud_proxy.Proxy(cloud.glance.url) as proxy:
        cloud.nova.conf(**{'glance.api_servers': [proxy.url]})
        yield proxy


@pytest.mark.eventlet
@pytest.mark.parametrize('operation', ['snapshot', 'backup', 'shelve'])
def test_operations(cloud, boot, operation):
    """Each is a clone."""
    server = boot('fast')
    with mock.patch.object(cloud.nova.driver, 'suspend') as suspend:
        landing = take(cloud, server, operation)

    assert Landing('fast', direct=True, whole=True) == landing
    assert not suspend.called


def test_shelved_server_comes_back(cloud, boot):
    """With the data that it had; and its next snapshot is a clone too."""
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    image_id = cloud.nova.shelve(server)
    assert Landing('fast', direct=True, whole=True) == look(
        cloud, image_id, digest, direct=True
    )

    cloud.nova.unshelve(server)

    assert digest == cloud.ceph.sha256(cloud.disk(server))
    assert Landing('fast', direct=True, whole=True) == take(cloud, server)


def test_snapshot_to_boot_from(cloud, boot):
    """The new server has the same data, and its snapshot the same store."""
    cloud.nova.conf(**{'glance.store': 'second'})
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    image_id = cloud.nova.snapshot(server)
    cloud.glance.finish_tasks(image_id)
    cloud.nova.conf(**{'glance.store': None})

    other = cloud.nova.create_server(image_id)

    assert digest == cloud.ceph.sha256(cloud.disk(other))
    assert Landing('second', direct=True, whole=True) == take(cloud, other)
    cloud.nova.delete_server(other)
    cloud.glance.delete_image(image_id)


def test_copied(cloud, boot):
    """To files and to another pool, once Glance is done with its hash."""
    cloud_nova.register_credentials(opts.COPY_GROUP)
    cloud.nova.conf(
        **{'nova_multistore.copy_to': ['cheap', 'second']},
        **cloud_nova.credentials(
            opts.COPY_GROUP, cloud.glance.url, cloud_glance.ADMIN
        ),
    )
    server = boot('fast')
    digest = cloud.ceph.sha256(cloud.disk(server))
    cloud.nova.records.clear()

    image_id = cloud.nova.snapshot(server)

    cloud.nova.conf(
        **{'nova_multistore.copy_to': [], 'nova_multistore.auth_type': None}
    )
    for store in ('cheap', 'second'):
        cloud.nova.wait_for_line(
            f'Image {image_id} has a copy in store {store}'
        )
    assert cloud.data(image_id) == dict.fromkeys(
        ('fast', 'cheap', 'second'), digest
    )
    cloud.glance.delete_image(image_id)


def test_base_image_that_was_deleted(cloud, boot):
    """Row 5: the store in the Ceph of the disk."""
    server = boot('cheap')
    cloud.glance.delete_image(cloud.nova.server(server)['image']['id'])

    landing = take(cloud, server)

    assert Landing('fast', direct=True, whole=True) == landing


def test_base_image_in_the_cache(cloud, boot):
    """Nova has no clone of it then."""
    server = boot('fast')
    image_id = cloud.nova.server(server)['image']['id']
    other = cloud.nova.create_server(image_id)
    assert list((cloud.nova.instances / '_base').iterdir())
    assert not cloud.has_parent(other)

    assert Landing('fast', direct=True, whole=True) == take(cloud, other)
    cloud.nova.delete_server(other)


def test_another_cluster(cloud, clone):
    """No clone goes there: the data is uploaded, without touching Ceph."""
    cloud.nova.conf(**{'glance.store': 'far'})

    with mock.patch.object(rbd_utils.RBDDriver, 'create_snap') as create:
        landing = take(cloud, clone)

    assert Landing('far', direct=False, whole=True) == landing
    assert not create.called


def test_base_image_in_another_cluster(cloud, boot):
    """Nova's own search finds no pool: it goes where the base image is."""
    server = boot('far')

    assert Landing('far', direct=False, whole=True) == take(cloud, server)


class TestDetailsDenied:
    """Glance does not tell Nova which store is where."""

    @pytest.fixture(autouse=True)
    def _denied(self, proxy):
        proxy.fail(*DETAIL, cloud_proxy.Answer(403), times=None)

    @pytest.mark.parametrize(
        ('order', 'level'), [(None, logging.INFO), ('cheap', logging.WARNING)]
    )
    def test_clone(self, cloud, clone, order, level):
        """Nova's own way, and the log says so."""
        cloud.nova.conf(**{'glance.store': order})

        landing = take(cloud, clone)

        assert Landing('fast', direct=True, whole=True) == landing
        first, second = (
            record
            for record in cloud.nova.records
            if record.getMessage().startswith('Image ')
        )
        assert "unless Nova's own search" in first.getMessage()
        assert 'was made in Ceph pool images' in second.getMessage()
        assert first.levelno == second.levelno == level

    def test_no_clone(self, cloud, server):
        """Nova's own search finds nothing: it goes to the store selected."""
        landing = take(cloud, server)

        assert Landing('fast', direct=False, whole=True) == landing

    def test_locations_tell(self, cloud, boot):
        """Glance shows the same with the base image."""
        server = boot('fast', 'cheap')
        cloud.show_locations(True)
        try:
            found = []
            for order in (None, 'fast', 'cheap'):
                cloud.nova.conf(**{'glance.store': order})
                found.append(take(cloud, server))
        finally:
            cloud.show_locations(False)

        assert found == [
            Landing('fast', direct=True, whole=True),
            Landing('fast', direct=True, whole=True),
            Landing('cheap', direct=False, whole=True),
        ]


class TestDetailsFail:
    """Glance does not tell Nova which store is where, just now."""

    @pytest.fixture(autouse=True)
    def _away(self, proxy):
        # As the user, and as Nova itself.
        proxy.fail(*DETAIL, cloud_proxy.Answer(503), times=2)

    @pytest.mark.parametrize('order', ['fast', 'second', 'cheap'])
    def test_orders(self, cloud, clone, proxy, order):
        """They are obeyed: nobody knows that they may be lost."""
        cloud.nova.conf(**{'glance.store': order})

        landings = [take(cloud, clone) for _ in range(3)]

        assert proxy.met == 2
        assert landings == [Landing(order, direct=False, whole=True)] * 3

    def test_asked_again(self, cloud, clone, monkeypatch):
        """Half a minute later they are clones."""
        monkeypatch.setattr(stores, 'FAILED', 0.5)
        cloud.nova.conf(**{'glance.store': 'second'})
        landings = [take(cloud, clone)]
        time.sleep(0.5)

        landings.append(take(cloud, clone))

        assert landings == [
            Landing('second', direct=direct, whole=True)
            for direct in (False, True)
        ]

    def test_last_known(self, cloud, clone, proxy, monkeypatch):
        """What was told before is still true."""
        monkeypatch.setattr(stores, 'FRESH', 0.0)
        cloud.nova.conf(**{'glance.store': 'second'})
        proxy.heal()
        found = [take(cloud, clone)]
        proxy.fail(*DETAIL, cloud_proxy.Answer(503), times=None)
        found.append(take(cloud, clone))

        assert proxy.met
        assert found == [Landing('second', direct=True, whole=True)] * 2


def test_requests(cloud, clone, stock):
    """No more than stock Nova's, once the catalogue is known.

    That is but for the questions whether Glance has taken the location.
    """

    def requests():
        cloud.glance.forget_requests()
        image_id = cloud.nova.snapshot(clone)
        made = cloud.glance.requests()
        cloud.glance.finish_tasks(image_id)
        cloud.glance.delete_image(image_id)
        [location] = [r for r in made if r.path.endswith('/locations')]
        questions = [
            r
            for r in made
            if r.time > location.time
            and (r.method, r.path) == ('GET', f'/v2/images/{image_id}')
        ]
        return len(made) - len(questions), len(questions)

    before, _ = requests()
    patch.apply()
    cloud.nova.restart_compute()
    requests()
    after, questions = requests()
    assert after <= before
    assert 1 <= questions <= 12
    cloud.nova.conf(**{'glance.store': 'second'})
    assert requests()[0] < before


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
    deadline = time.monotonic() + 60
    while not proxy.met and time.monotonic() < deadline:
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
    deadline = time.monotonic() + 60
    while 'full' not in cloud.ceph.ceph('osd', 'pool', 'ls', 'detail'):
        assert time.monotonic() < deadline
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


class TestFormat:
    """A clone is raw: an image of another format is made as Nova makes it."""

    @pytest.fixture(autouse=True)
    def _qcow2(self, cloud):
        cloud.nova.conf(**{'libvirt.snapshot_image_format': 'qcow2'})
        yield
        cloud.nova.conf(**{'libvirt.snapshot_image_format': None})

    @pytest.fixture
    def contents(self, cloud, tmp_path):
        """Return what kind of image it is, and the digest of its disk."""

        def contents(image_id):
            path = f'/v2/images/{image_id}/file'
            status, data = cloud.glance.request('GET', path)
            assert status == 200
            image, disk = tmp_path / 'image', tmp_path / 'disk'
            image.write_bytes(data)
            kind = cloud.glance.image(image_id)['disk_format']
            subprocess.run(
                ['qemu-img', 'convert', '-f', kind, '-O', 'raw', image, disk],
                check=True,
            )
            return kind, hashlib.sha256(disk.read_bytes()).hexdigest()

        return contents

    @pytest.mark.parametrize('order', [None, 'second', 'cheap'])
    def test_snapshot(self, cloud, clone, contents, order):
        """It is in its store, and a server boots from it."""
        cloud.nova.conf(**{'glance.store': order})
        digest = cloud.ceph.sha256(cloud.disk(clone))

        image_id = cloud.nova.snapshot(clone)

        assert cloud.glance.stores_of(image_id) == [order or 'fast']
        assert contents(image_id) == ('qcow2', digest)
        other = cloud.nova.create_server(image_id)
        assert cloud.ceph.sha256(cloud.disk(other)) == digest
        cloud.nova.delete_server(other)
        cloud.glance.delete_image(image_id)

    def test_shelve(self, cloud, boot, contents):
        """The disk, which is deleted, comes back."""
        server = boot('fast')
        digest = cloud.ceph.sha256(cloud.disk(server))

        image_id = cloud.nova.shelve(server)

        assert cloud.glance.stores_of(image_id) == ['fast']
        assert contents(image_id) == ('qcow2', digest)
        cloud.nova.unshelve(server)
        assert cloud.ceph.sha256(cloud.disk(server)) == digest

    def test_stock_mislabels(self, cloud, clone, stock):
        """Where it clones, the image is raw, whatever Glance says."""
        digest = cloud.ceph.sha256(cloud.disk(clone))

        image_id = cloud.nova.snapshot(clone)

        cloud.glance.finish_tasks(image_id)
        assert cloud.glance.image(image_id)['disk_format'] == 'qcow2'
        assert cloud.data(image_id) == {'fast': digest}
        cloud.glance.delete_image(image_id)


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
                deadline = time.monotonic() + 60
                while not any(
                    r.path.endswith('/locations') and r.status == 202
                    for r in cloud.glance.requests()
                ):
                    assert time.monotonic() < deadline
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


class TestStrayPool:
    """Nova's own search finds a pool that is no store's."""

    @pytest.fixture
    def stray(self, cloud, boot):
        """A server whose disk is a clone of what is in such a pool."""
        cloud.ceph.ceph('osd', 'pool', 'create', 'stray', '8')
        cloud.ceph.rbd('pool', 'init', 'stray')
        server = boot('cheap')
        disk = cloud.disk(server)
        cloud.ceph.rbd('cp', '--no-progress', disk, 'stray/base')
        cloud.ceph.rbd('snap', 'create', '--no-progress', 'stray/base@snap')
        cloud.ceph.rbd('snap', 'protect', 'stray/base@snap')
        cloud.ceph.rbd('rm', '--no-progress', disk)
        cloud.ceph.rbd('clone', 'stray/base@snap', disk)
        yield server
        assert cloud.ceph.images('stray') == ['base']
        cloud.ceph.ceph(
            'tell', 'mon.*', 'injectargs', '--mon-allow-pool-delete=true'
        )
        cloud.ceph.ceph(
            *('osd', 'pool', 'delete', 'stray', 'stray'),
            '--yes-i-really-really-mean-it',
        )

    @pytest.mark.parametrize('operation', ['snapshot', 'backup', 'shelve'])
    def test_upload(self, cloud, stray, operation):
        """Glance could not read what is there."""
        landing = take(cloud, stray, operation)

        assert Landing('cheap', direct=False, whole=True) == landing

    def test_unshelve(self, cloud, stray):
        """The disk, which was deleted, comes back."""
        digest = cloud.ceph.sha256(cloud.disk(stray))
        cloud.nova.shelve(stray)

        cloud.nova.unshelve(stray)

        assert cloud.ceph.sha256(cloud.disk(stray)) == digest


class TestDisksThatStayed:
    """New disks are files, those from before are still in Ceph."""

    @pytest.fixture(autouse=True)
    def _files(self, cloud, clone):
        cloud.nova.conf(**{'libvirt.images_type': 'qcow2'})
        cloud.nova.restart_compute()
        ceph.forget()
        yield
        cloud.nova.conf(**{'libvirt.images_type': 'rbd'})
        cloud.nova.restart_compute()
        ceph.forget()

    @pytest.mark.parametrize(
        ('order', 'store', 'direct'),
        [
            (None, 'fast', True),
            ('fast', 'fast', True),
            ('second', 'second', True),
            ('cheap', 'cheap', False),
        ],
    )
    @pytest.mark.parametrize('operation', ['snapshot', 'backup'])
    def test_snapshot(self, cloud, clone, operation, order, store, direct):
        """It is decided by the disk: an order is obeyed."""
        cloud.nova.conf(**{'glance.store': order})

        landing = take(cloud, clone, operation)

        assert Landing(store, direct=direct, whole=True) == landing
