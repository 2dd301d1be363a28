"""``nova-multistore-status`` on a compute with its disks in Ceph."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.ceph import cloud as ceph_cloud


@pytest.mark.parametrize(
    ('store', 'code', 'words'),
    [
        ('fast', 0, 'Result: Success'),
        ('cheap', 1, "[glance] store 'cheap' is elsewhere"),
        ('far', 1, "[glance] store 'far' is elsewhere"),
    ],
)
def test_store(stock_cloud, tmp_path, store, code, words):
    """A store that is elsewhere is a warning, for what it costs."""
    glance, ceph = stock_cloud.glance, stock_cloud.ceph
    path = tmp_path / 'nova.conf'
    path.write_text(
        f'[glance]\nendpoint_override = {glance.url}\nstore = {store}\n'
        f'[libvirt]\nimages_type = rbd\n'
        f'images_rbd_pool = {ceph_cloud.DISKS}\n'
        f'images_rbd_ceph_conf = {ceph.configuration}\n'
        f'[service_user]\nauth_type = admin_token\nendpoint = {glance.url}\n'
        f'token = {ceph_cloud.SERVICE}\n'
    )

    program = pathlib.Path(sys.executable).with_name('nova-multistore-status')
    done = subprocess.run(
        [program, '--config-file', path, 'upgrade', 'check'],
        capture_output=True,
        text=True,
        check=False,
    )

    text = ' '.join(
        line.strip('|+-').strip() for line in done.stdout.splitlines()
    )
    assert done.returncode == code, text
    assert words in text
