"""Stock Nova on the test cloud: what there is before anything is patched."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import threading
from typing import Any
from unittest import mock

import pytest

from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova

pytestmark = pytest.mark.eventlet

MIB = 1 << 20


@pytest.fixture(scope='module')
def nova(root: Path, glance: cloud_glance.Glance) -> Iterator[cloud_nova.Nova]:
    (root / 'nova').mkdir()
    with cloud_nova.Nova(root / 'nova', glance) as nova:
        yield nova


@pytest.fixture(scope='module')
def base(root: Path, glance: cloud_glance.Glance) -> str:
    """Return the id of an image of 10 MiB in the store `fast`."""
    raw, qcow2 = root / 'base.raw', root / 'base.qcow2'
    raw.write_bytes(os.urandom(10 * MIB))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    return glance.create_image(qcow2, stores=['fast'])


@pytest.fixture(scope='module')
def server(nova: cloud_nova.Nova, base: str) -> str:
    return nova.create_server(base)


def assert_same_content(one: Path, other: Path) -> None:
    subprocess.run(['qemu-img', 'compare', one, other], check=True)


def test_a_snapshot_lies_in_the_default_store_alone(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    """Wherever the base image is; and it holds what the disk holds."""
    nova.write_disk(server, os.urandom(MIB))

    image_id = nova.snapshot(server)

    image = glance.image(image_id)
    assert image is not None
    assert image['status'] == 'active'
    assert glance.stores_of(image_id) == ['cheap']
    (path,) = glance.files(image_id).values()
    assert_same_content(path, nova.disk(server))
    assert nova.faults(server) == []


def test_snapshots_differ_when_the_disk_does(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    before = nova.snapshot(server)
    nova.write_disk(server, os.urandom(MIB), offset=MIB)
    after = nova.snapshot(server)

    assert glance.sha256(before) != glance.sha256(after)


def test_what_stock_nova_sends(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    """One chunked upload, which names neither store nor base nor size."""
    glance.forget_requests()

    nova.snapshot(server)

    (upload,) = (r for r in glance.requests() if r.is_upload)
    assert upload.status == 204
    assert upload.chunked
    assert upload.store is None
    assert upload.base_image_ref is None
    assert upload.announced_size is None


def test_snapshots_run_side_by_side(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, base: str
) -> None:
    """All are in the driver before the first one leaves it."""
    servers = [nova.create_server(base) for _ in range(3)]
    barrier = threading.Barrier(len(servers))
    snapshot = nova.driver.snapshot

    def together(*args: Any, **kwargs: Any) -> Any:
        barrier.wait(timeout=60)
        return snapshot(*args, **kwargs)

    with mock.patch.object(nova.driver, 'snapshot', together):
        images = [nova.start_snapshot(each) for each in servers]
        nova.wait_until_idle()

    for image_id in images:
        assert glance.stores_of(image_id) == ['cheap']
    for each in servers:
        nova.delete_server(each)


def test_backups_rotate(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    first = nova.backup(server, rotation=1)
    assert glance.stores_of(first) == ['cheap']

    second = nova.backup(server, rotation=1)

    assert glance.image(first) is None
    assert glance.stores_of(second) == ['cheap']


def test_a_shelved_server_comes_back(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, base: str
) -> None:
    server = nova.create_server(base)
    nova.write_disk(server, os.urandom(MIB))
    image_id = nova.shelve(server)
    assert glance.stores_of(image_id) == ['cheap']
    assert not nova.disk(server).exists()

    nova.unshelve(server)

    assert nova.disk(server).exists()
    nova.delete_server(server)


def test_a_volume_backed_server_leaves_an_empty_image(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance
) -> None:
    server = nova.create_server(volume_backed=True)

    image_id = nova.snapshot(server)

    image = glance.image(image_id)
    assert image is not None
    assert (image['status'], image['size']) == ('active', 0)
    nova.delete_server(server)


def test_a_snapshot_that_the_store_refuses(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    """Its image vanishes, and the server is as before, with a fault."""
    directory = glance.directory('cheap')
    directory.chmod(0)
    try:
        image_id = nova.snapshot(server)
    finally:
        directory.chmod(0o755)

    assert glance.image(image_id) is None
    assert nova.server(server)['status'] == 'ACTIVE'
    assert nova.faults(server)


def test_nova_compute_restarts(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, server: str
) -> None:
    old = nova.driver

    nova.restart_compute()

    assert nova.driver is not old
    assert glance.stores_of(nova.snapshot(server)) == ['cheap']


def test_a_base_image_in_several_stores(glance: cloud_glance.Glance) -> None:
    data = os.urandom(MIB)

    image_id = glance.create_image(
        data, stores=['reliable', 'cheap'], disk_format='raw'
    )

    assert {'cheap', 'reliable'} == set(glance.stores_of(image_id))
    assert len(set(glance.sha256(image_id).values())) == 1


def test_a_server_from_a_read_only_store(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance
) -> None:
    image_id = glance.create_image(
        os.urandom(MIB), stores=['web'], disk_format='raw'
    )
    assert glance.stores_of(image_id) == ['web']

    server = nova.create_server(image_id)

    assert nova.disk(server).exists()
    nova.delete_server(server)


def test_a_store_that_is_no_longer_configured(
    nova: cloud_nova.Nova, glance: cloud_glance.Glance, base: str, server: str
) -> None:
    everything = glance.stores
    glance.stop()
    glance.start(stores={'cheap': 'file', 'reliable': 'file'})
    try:
        assert glance.stores_of(base) == ['fast']
        assert glance.stores_of(nova.snapshot(server)) == ['cheap']
    finally:
        glance.stop()
        glance.start(stores=everything)
