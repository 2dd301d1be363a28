"""The real Glance and the real Nova, patched."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova  # isort: split

from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance

MIB = 1 << 20


def pytest_configure(config):
    if shutil.which('qemu-img') is None:
        raise pytest.UsageError(
            'qemu-img is missing: install the Debian package qemu-utils'
        )


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tmp_path_factory.mktemp('cloud')


@pytest.fixture(scope='module')
def glance(root):
    """Stores ``cheap`` (default), ``fast``, ``reliable`` and ``web``."""
    (root / 'glance').mkdir()
    with cloud_glance.Glance(root / 'glance') as glance:
        yield glance


@pytest.fixture(scope='module')
def patched_nova(root, glance):
    """A Nova whose nova-compute was started with the package."""
    (root / 'nova').mkdir()
    try:
        with cloud_nova.Nova(
            root / 'nova', glance, before_compute=patch.apply
        ) as nova:
            yield nova
    finally:
        patch.remove()


@pytest.fixture
def nova(patched_nova, glance):
    """The same for every test: as configured, with nothing remembered."""
    yield patched_nova
    patched_nova.conf(
        **{'glance.store': None, 'glance.api_servers': [glance.url]}
    )


@pytest.fixture(scope='module')
def qcow2(root):
    """The file of a base image of 4 MiB."""
    raw, qcow2 = root / 'base.raw', root / 'base.qcow2'
    raw.write_bytes(os.urandom(4 * MIB))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    return qcow2
