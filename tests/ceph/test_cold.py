"""Snapshots for which the guest has to be suspended, in Ceph.

Nova resumes the guest as soon as the clone of its disk is made, and before
Glance is told where the clone is. If Glance does not take it, the guest has to
be suspended again: nobody may read the disk of a guest that runs.
"""

from __future__ import annotations

from nova.compute import power_state
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import imagebackend
import pytest

from tests.ceph.matrix import Landing
from tests.ceph.matrix import take


class Guest:
    """What is done to the guest, in this order."""

    def __init__(self):
        self.runs = True
        self.done = []
        #: How often libvirt suspends a guest before it fails.
        self.limit = 9


@pytest.fixture
def guest(cloud, server, monkeypatch):
    """The guest, as strict as libvirt is about what runs and what does not."""
    guest = Guest()
    domain = fakelibvirt.Domain
    extract = imagebackend.Rbd.snapshot_extract
    create = domain.createWithFlags

    def failure(words):
        return fakelibvirt.make_libvirtError(
            fakelibvirt.libvirtError, words, error_message=words
        )

    def save(self, flags):
        if self._state != fakelibvirt.VIR_DOMAIN_RUNNING:
            raise failure('the domain is not running')
        if guest.done.count('suspended') == guest.limit:
            raise failure('no luck')
        guest.runs = False
        self._state = fakelibvirt.VIR_DOMAIN_SHUTOFF
        guest.done.append('suspended')

    def start(self, flags):
        if self._state == fakelibvirt.VIR_DOMAIN_RUNNING:
            raise failure('the domain is already running')
        create(self, flags)
        guest.runs = True
        guest.done.append('resumed')

    def read(self, *args, **kwargs):
        guest.done.append('read while it runs' if guest.runs else 'read')
        return extract(self, *args, **kwargs)

    monkeypatch.setattr(domain, 'managedSave', save)
    monkeypatch.setattr(domain, 'createWithFlags', start)
    monkeypatch.setattr(imagebackend.Rbd, 'snapshot_extract', read)
    yield guest
    found = cloud.nova.server(server)
    assert guest.runs
    assert found['status'] == 'ACTIVE'
    assert found['OS-EXT-STS:power_state'] == power_state.RUNNING


@pytest.fixture
def cold(cloud):
    """A snapshot needs the guest suspended."""
    option = 'workarounds.disable_libvirt_livesnapshot'
    cloud.nova.conf(**{option: True})
    yield
    cloud.nova.conf(**{option: False})


@pytest.fixture
def refused(cloud):
    """Glance takes no location, as Nova sends it no service token."""
    cloud.nova.conf(**{'service_user.send_service_user_token': False})
    yield
    cloud.nova.conf(**{'service_user.send_service_user_token': True})


@pytest.mark.usefixtures('cold', 'refused', 'stock')
def test_stock(cloud, server, guest):
    """There is no pool to be found, so Nova uploads the data."""
    landing = take(cloud, server)

    assert Landing('cheap', direct=False, whole=True) == landing
    assert guest.done == ['suspended', 'read', 'resumed']


@pytest.mark.usefixtures('cold', 'refused')
@pytest.mark.parametrize('store', [None, 'second'])
@pytest.mark.parametrize('operation', ['snapshot', 'backup'])
def test_refused(cloud, server, guest, store, operation):
    """The data is uploaded, to the same store, from a disk at rest."""
    cloud.nova.conf(**{'glance.store': store})

    landing = take(cloud, server, operation)

    assert Landing(store or 'fast', direct=False, whole=True) == landing
    assert guest.done == [
        *('suspended', 'resumed'),
        *('suspended', 'read', 'resumed'),
    ]


@pytest.mark.usefixtures('refused')
def test_live(cloud, server, guest):
    """Nova suspends the guest by itself, once."""
    landing = take(cloud, server)

    assert Landing('fast', direct=False, whole=True) == landing
    assert guest.done == ['suspended', 'read', 'resumed']


@pytest.mark.usefixtures('cold')
def test_taken(cloud, server, guest):
    """The clone is the snapshot."""
    landing = take(cloud, server)

    assert Landing('fast', direct=True, whole=True) == landing
    assert guest.done == ['suspended', 'resumed']


@pytest.mark.usefixtures('cold')
def test_elsewhere(cloud, server, guest):
    """No clone is made, and the guest is suspended once."""
    cloud.nova.conf(**{'glance.store': 'cheap'})

    landing = take(cloud, server)

    assert Landing('cheap', direct=False, whole=True) == landing
    assert guest.done == ['suspended', 'read', 'resumed']


@pytest.mark.usefixtures('cold', 'refused')
def test_guest_that_cannot_be_suspended_again(cloud, server, guest):
    """There is no snapshot, and nobody reads the disk of what runs."""
    guest.limit = 1

    image_id = cloud.nova.snapshot(server)

    assert cloud.glance.image(image_id) is None
    assert guest.done == ['suspended', 'resumed']
    assert any('no luck' in fault for fault in cloud.nova.faults(server))


@pytest.mark.usefixtures('cold', 'refused')
def test_server_that_is_off(cloud, boot, guest):
    """It stays off."""
    server = boot('fast')
    cloud.nova.stop_server(server)
    guest.runs = False
    guest.done.clear()

    landing = take(cloud, server)

    assert Landing('fast', direct=False, whole=True) == landing
    assert guest.done == ['read']
    guest.runs = True
