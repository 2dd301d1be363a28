"""The real Glance and the real Nova, patched."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import proxy as cloud_proxy
from tests.functional import notes

MIB = 1 << 20
QEMU_IMG = 'qemu-img (Debian package qemu-utils)'


def pytest_configure(config):
    config.stash[notes] = []
    named = any('functional' in str(a) for a in config.invocation_params.args)
    if named and not shutil.which('qemu-img'):
        raise pytest.UsageError(f'the functional tests need {QEMU_IMG}')


def pytest_collection_modifyitems(config, items):
    """Without qemu-img there is no snapshot.

    These tests fail if they are asked for by name, and are skipped in a run
    of all tests, at whose end it is said how to get it.
    """
    if shutil.which('qemu-img'):
        return
    for item in items:
        if pathlib.Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f'needs {QEMU_IMG}'))


def pytest_sessionfinish(session):
    """Hand the notes of this process to the one that prints them."""
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['notes'] = session.config.stash[notes]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    if output := getattr(node, 'workeroutput', None):
        node.config.stash[notes] += output['notes']


def pytest_terminal_summary(terminalreporter, config):
    for note in config.stash[notes]:
        terminalreporter.write_line(note)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return tmp_path_factory.mktemp('cloud')


@pytest.fixture(scope='module')
def glance(root):
    """Stores ``cheap`` (default), ``fast``, ``reliable`` and ``web``."""
    (root / 'glance').mkdir()
    with cloud_glance.Glance(
        root / 'glance',
        # Older ones make an image in ``web`` only so.
    ) as glance:
        yield glance


@pytest.fixture(scope='module')
def sites(root):
    """A Glance with a central store, which is the default, and three sites.

    Its policy is in a file that it reads again when that changes.
    """
    directory = root / 'sites'
    directory.mkdir()
    policy = directory / 'policy.yaml'
    policy.write_text('{}')
    with cloud_glance.Glance(
        directory,
        stores={
            'central': 'file',
            'dcn0': 'file',
            'dcn1': 'file',
            'dcn2': 'file',
            'web': 'http',
        },
        default='central',
        **{'oslo_policy.policy_file': policy},
    ) as glance:
        yield glance


@pytest.fixture
def policy(sites):
    """Change rules of the policy of `sites`."""
    path = sites.root / 'policy.yaml'
    changed = {}

    def write(**rules):
        # Glance goes by the time of its last change, and may look any time.
        then = path.stat().st_mtime + 2
        new = path.with_name('new')
        new.write_text(json.dumps(rules))
        os.utime(new, (then, then))
        new.rename(path)
        changed.update(rules)

    yield write
    # Glance keeps a rule that is in the file no more.
    write(**dict.fromkeys(changed, 'role:admin'))


@pytest.fixture(scope='module')
def nova_is():
    """Return what Nova is besides, as its constructor has it."""
    return {}


@pytest.fixture(scope='module')
def patched_nova(root, glance, nova_is):
    """A Nova whose nova-compute was started with the package."""
    (root / 'nova').mkdir()
    try:
        with cloud_nova.Nova(
            root / 'nova', glance, before_compute=patch.apply, **nova_is
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


@pytest.fixture
def proxy(glance):
    """What can fail between a client and Glance."""
    with cloud_proxy.Proxy(glance.url) as proxy:
        yield proxy


@pytest.fixture
def boot(nova):
    """Boot a server, with data of its own on its disk."""
    servers = set()

    def boot(image_id):
        server = nova.create_server(image_id)
        servers.add(server)
        nova.write_disk(server, os.urandom(MIB))
        return server

    yield boot
    left = {server['id'] for server in nova.api.get_servers(detail=False)}
    for server in servers & left:
        nova.delete_server(server)


@pytest.fixture(scope='module')
def qcow2(root):
    """The file of a base image of 4 MiB."""
    raw, qcow2 = root / 'base.raw', root / 'base.qcow2'
    raw.write_bytes(os.urandom(4 * MIB))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    return qcow2
