"""A Ceph at the far end of a line that is long, narrow and counted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
import socket
import subprocess
import time
import types

import fixtures
import pytest
import rados
import rbd

from tests import patience
from tests.ceph import deltas
from tests.cloud import ceph as cloud_ceph
from tests.cloud import line as cloud_line

MIB = 1 << 20
SIZE = 16 * MIB
#: In bits per second, and in seconds.
RATE, RTT = 100e6, 0.02
#: What the heads of packets and of Ceph's messages, and what else Ceph has to
#: say, may add.
OVERHEAD = 1.06
USERS = {
    'plain': 'profile rbd pool=images',
    'trusted': {
        'osd': 'profile rbd pool=images',
        'mgr': 'profile rbd pool=images',
    },
}

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason='network namespaces need root'
)


@pytest.fixture(scope='module')
def line():
    """As quick as this machine, while Ceph is started."""
    with cloud_line.Line() as line:
        yield line


@pytest.fixture(scope='module')
def started(line, tmp_path_factory):
    """One for all tests."""
    with cloud_ceph.Ceph(
        tmp_path_factory.mktemp('far'),
        ['images'],
        size=1 << 30,
        users=USERS,
        address=line.there,
        launcher=line.launcher,
        runner=line.launcher,
        tasks=True,
    ) as ceph:
        yield ceph


@pytest.fixture
def far(line, started):
    """It is far while a test runs."""
    line.shape(RATE, RTT)
    yield started
    line.shape(0, 0)


@pytest.fixture
def ioctx(far):
    """Its pool, as it is opened from here."""
    with (
        rados.Rados(conffile=str(far.configuration)) as cluster,
        cluster.open_ioctx('images') as ioctx,
    ):
        yield ioctx


@needs_root
def test_image(line, far, ioctx):
    """What is written and read crosses the line, at no more than its rate."""
    data = os.urandom(SIZE)
    rbd.RBD().create(ioctx, 'image', SIZE)
    with rbd.Image(ioctx, 'image') as image:
        sent, begin = line.sent(), time.monotonic()
        image.write(data, 0)
        image.flush()
        wrote = time.monotonic() - begin
        sent = line.sent() - sent

        received, begin = line.received(), time.monotonic()
        assert image.read(0, SIZE) == data
        read = time.monotonic() - begin
        received = line.received() - received

    assert SIZE <= sent <= OVERHEAD * SIZE
    assert SIZE <= received <= OVERHEAD * SIZE
    assert min(wrote, read) >= 8 * SIZE / RATE

    received = line.received()
    assert far.sha256('images/image') == hashlib.sha256(data).hexdigest()
    assert line.received() - received < MIB, 'it was read from here'


@needs_root
def test_round_trip(ioctx):
    """Nothing is answered sooner than a packet is there and back."""
    ioctx.write_full('thing', b'')
    for _ in range(5):
        begin = time.monotonic()
        ioctx.stat('thing')
        assert time.monotonic() - begin >= RTT


@needs_root
def test_shape(line, ioctx):
    """The line can become another while it is in use."""
    ioctx.write_full('thing', b'')
    line.shape(RATE, 10 * RTT)
    begin = time.monotonic()
    ioctx.stat('thing')
    assert time.monotonic() - begin >= 10 * RTT
    line.shape(0, 0)
    taken = []
    for _ in range(20):
        begin = time.monotonic()
        ioctx.stat('thing')
        taken.append(time.monotonic() - begin)
    assert min(taken) < RTT


@needs_root
def test_tasks(far, ioctx):
    """The far manager makes a clone whole, for whom it may."""
    if not far.tasks:
        pytest.skip(deltas.NO_TASKS)
    rbd.RBD().create(ioctx, 'parent', MIB)
    with rbd.Image(ioctx, 'parent') as parent:
        parent.create_snap('snap')
        parent.protect_snap('snap')
    rbd.RBD().clone(ioctx, 'parent', 'snap', ioctx, 'child')
    flatten = 'rbd', 'task', 'add', 'flatten', 'images/child'

    with pytest.raises(cloud_ceph.CephFailed, match='access denied'):
        far.ceph('--id', 'plain', *flatten)
    far.ceph('--id', 'trusted', *flatten)

    left = patience.Patience(60)
    with rbd.Image(ioctx, 'child') as child:
        while has_parent(child):
            assert left, 'it is a clone still'
            time.sleep(0.1)


@needs_root
def test_namespace():
    """A program is alone at the far end; nothing is left in the end."""
    with cloud_line.Line() as line:
        assert line.name in interfaces()
        shown = subprocess.run(
            [*line.launcher, 'ip', '-brief', 'address'],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f'{line.name} ' in shown
        assert f' {line.there}/30' in shown
        assert ' 127.0.0.1/8' in shown
        assert line.here not in shown
        assert (line.sent(), line.received()) == (0, 0)
        namespace = Path(line.namespace)
        assert namespace.exists()
    assert not namespace.exists()
    assert line.name not in interfaces()


@needs_root
def test_half_way(monkeypatch):
    """Nothing is left of a line that does not come up."""
    network = types.SimpleNamespace(hosts=lambda: ('198.18.0.1', 'nowhere'))
    monkeypatch.setattr(cloud_line, '_free_network', lambda: network)
    line = cloud_line.Line()
    assert "'nowhere" in failure(line)
    assert line.name not in interfaces()


@pytest.mark.parametrize(
    ('place', 'value', 'words'),
    [
        ('os.geteuid', lambda: 1000, 'needs root'),
        ('_TUN', Path('/nowhere'), 'needs /nowhere'),
        ('shutil.which', lambda _: None, 'iproute2'),
    ],
)
def test_needs(monkeypatch, place, value, words):
    """It says what is missing."""
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    monkeypatch.setattr(f'tests.cloud.line.{place}', value)
    assert words in failure(cloud_line.Line())


def failure(line):
    """Return what a line says that does not come up."""
    with pytest.raises(fixtures.MultipleExceptions) as raised:
        line.setUp()
    _, exc, _ = raised.value.args[0]
    assert isinstance(exc, cloud_line.LineFailed)
    return str(exc)


def has_parent(image):
    """Tell whether an image is a clone."""
    try:
        image.parent_info()
    except rbd.ImageNotFound:
        return False
    return True


def interfaces():
    """Return the names of this machine's network interfaces."""
    return {name for _, name in socket.if_nameindex()}
