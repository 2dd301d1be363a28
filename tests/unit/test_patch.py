"""Activation, its guard, and the way back."""

from __future__ import annotations

import logging

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
    assert '_create_onetime_client is not there' in str(caught.value)


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


def test_installed_nova(caplog):
    """It is one that was tried."""
    patch.apply()

    assert caplog.records == []
    assert patch.problems() == []
