"""Activation, its guard, and the way back."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys

from nova.image import glance as nova_glance
from nova.virt import driver as virt_driver
from nova.virt import fake
import pytest

from nova_multistore import exception
from nova_multistore.compute import patch


@pytest.fixture(autouse=True)
def _removed(conf):
    yield
    patch.remove()


def attributes():
    """What the package replaces in Nova."""
    return (
        virt_driver.load_compute_driver,
        vars(nova_glance.GlanceImageServiceV2)['_upload_data'],
    )


def test_remove_restores_the_same_objects():
    """However often either is called."""
    before = attributes()

    patch.apply()
    applied = attributes()
    patch.apply()
    assert all(a is b for a, b in zip(applied, attributes()))
    assert not any(a is b for a, b in zip(before, applied))
    assert patch.is_applied()

    for _ in range(2):
        patch.remove()
        assert all(a is b for a, b in zip(before, attributes()))
        assert not patch.is_applied()


class Own(fake.FakeDriver):
    """A driver with a snapshot of its own."""

    def __init__(self, virtapi):
        pass

    def snapshot(self, context, instance, image_id, update_task_state):
        pass


class Inherited(Own):
    """A driver without one."""


@pytest.mark.parametrize('driver_class', [Own, Inherited])
def test_remove_restores_drivers(monkeypatch, driver_class):
    """Those that were loaded in between, however often."""
    monkeypatch.setattr(
        'oslo_utils.importutils.import_object',
        lambda name, *args: driver_class(*args),
    )
    before = vars(Own)['snapshot'], dict(vars(driver_class))
    patch.apply()

    for _ in range(2):
        driver = virt_driver.load_compute_driver(None, 'a.driver')

    assert driver.snapshot.__wrapped__.__func__ is before[0]
    patch.remove()
    assert before == (vars(Own)['snapshot'], dict(vars(driver_class)))
    assert driver.snapshot.__func__ is before[0]


def test_seam_that_differs(monkeypatch):
    """Nothing is patched, and the error says what differs."""

    def _upload_data(self, context, image_id, data, store):
        pass

    monkeypatch.setattr(
        nova_glance.GlanceImageServiceV2, '_upload_data', _upload_data
    )
    monkeypatch.delattr(
        nova_glance.GlanceClientWrapper, '_create_onetime_client'
    )
    before = attributes()

    with pytest.raises(exception.UnsupportedNova) as caught:
        patch.apply()

    assert all(a is b for a, b in zip(before, attributes()))
    assert not patch.is_applied()
    assert len(caught.value.problems) == 2
    assert '(self, context, image_id, data, store)' in str(caught.value)
    assert '_create_onetime_client cannot be found' in str(caught.value)


def test_older_nova(monkeypatch):
    """It is refused."""
    monkeypatch.setattr(patch.nova_version, 'version_string', lambda: '26.3.0')

    with pytest.raises(exception.UnsupportedNova, match=r'26\.3\.0.*older'):
        patch.apply()


@pytest.mark.parametrize('version', ['35.0.0', '99.0.0.dev5', 'unknown'])
def test_newer_nova(monkeypatch, caplog, version):
    """It is patched with a warning, as its seams are as expected."""
    monkeypatch.setattr(patch.nova_version, 'version_string', lambda: version)
    monkeypatch.setattr(
        'oslo_utils.importutils.import_object', lambda name, *args: Own(*args)
    )

    patch.apply()
    virt_driver.load_compute_driver(None, 'a.driver')

    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert version in record.getMessage()


IMAGE_BACKEND = 'nova.virt.libvirt.imagebackend'


class TestCeph:
    """What is wrapped of libvirt's disks in Ceph."""

    def test_another_driver(self):
        """Nothing of it is imported, or looked at."""
        done = subprocess.run(
            [sys.executable, '-c', UNLOADED],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.split() == ['False', 'False'], done.stderr

    @pytest.fixture
    def backend(self):
        return importlib.import_module(IMAGE_BACKEND)

    def test_with_the_driver(self, monkeypatch, backend):
        """It is wrapped when the driver is loaded, and restored."""
        monkeypatch.setattr(
            'oslo_utils.importutils.import_object',
            lambda name, *args: Own(*args),
        )
        before = vars(backend.Rbd)['direct_snapshot']
        monkeypatch.delitem(sys.modules, IMAGE_BACKEND)
        patch.apply()
        assert vars(backend.Rbd)['direct_snapshot'] is before
        monkeypatch.setitem(sys.modules, IMAGE_BACKEND, backend)

        virt_driver.load_compute_driver(None, 'a.driver')

        assert vars(backend.Rbd)['direct_snapshot'].__wrapped__ is before
        patch.remove()
        assert vars(backend.Rbd)['direct_snapshot'] is before

    def test_seam_that_differs_is_found_with_the_driver(
        self, monkeypatch, backend, caplog
    ):
        """Nova is as it was, and nova-compute is told why it ends."""
        monkeypatch.setattr(
            'oslo_utils.importutils.import_object',
            lambda name, *args: Own(*args),
        )
        monkeypatch.setattr(
            backend.Rbd, '_get_parent_pool', lambda self, context: None
        )
        before, snapshot = attributes(), vars(Own)['snapshot']
        monkeypatch.delitem(sys.modules, IMAGE_BACKEND)
        patch.apply()
        monkeypatch.setitem(sys.modules, IMAGE_BACKEND, backend)

        with pytest.raises(exception.UnsupportedNova, match='_parent_pool'):
            virt_driver.load_compute_driver(None, 'a.driver')

        assert all(a is b for a, b in zip(before, attributes()))
        assert vars(Own)['snapshot'] is snapshot
        [record] = [r for r in caplog.records if r.levelname == 'CRITICAL']
        assert '_parent_pool' in record.getMessage()

    def test_seam_that_differs(self, monkeypatch, backend):
        """nova-compute does not run."""
        monkeypatch.setattr(
            backend.Rbd, '_get_parent_pool', lambda self, context: None
        )

        with pytest.raises(exception.UnsupportedNova, match='_parent_pool'):
            patch.apply()

    def test_seam_that_differs_is_found_before_the_start(
        self, monkeypatch, backend, conf
    ):
        """The check of a compute with disks in Ceph loads what it needs."""
        monkeypatch.setattr(
            backend.Rbd, '_get_parent_pool', lambda self, context: None
        )
        monkeypatch.delitem(sys.modules, IMAGE_BACKEND)
        assert patch.problems() == []

        conf.config(group='libvirt', images_type='rbd')
        monkeypatch.setitem(sys.modules, IMAGE_BACKEND, backend)
        assert len(patch.problems()) == 1


UNLOADED = """
import sys
from nova.virt import driver
from nova.virt import fake
from nova_multistore.compute import patch
from oslo_utils import importutils
importutils.import_object = lambda name, *args: fake.FakeDriver(*args)
patch.apply()
print('nova.virt.libvirt' in sys.modules)
driver.load_compute_driver(None, 'a.driver')
print('nova.virt.libvirt' in sys.modules)
"""


def test_installed_nova(caplog):
    """It is one that was tried."""
    patch.apply()

    assert caplog.records == []
    assert patch.problems() == []
