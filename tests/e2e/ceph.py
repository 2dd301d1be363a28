"""Ceph, as small as it gets: a monitor, a manager, an OSD in memory."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import uuid

from tests.e2e import site as e2e_site

#: The pools in which Glance and Nova keep their images.
IMAGES = 'images'
DISKS = 'vms'
_NAME = 'cloud'


def configuration(site: e2e_site.Site) -> Path:
    """Return the path of ceph.conf."""
    return site.root / 'ceph' / 'ceph.conf'


def start(site: e2e_site.Site) -> None:
    """Start Ceph and make its pools."""
    home = site.directory('ceph')
    fsid = str(uuid.uuid4())
    address = (
        f'[v2:{e2e_site.LOCALHOST}:{site.ports["ceph"]},'
        f'v1:{e2e_site.LOCALHOST}:{site.ports["ceph-legacy"]}]'
    )
    path = configuration(site)
    site.write(
        path,
        {
            'global': {
                'auth_client_required': 'none',
                'auth_cluster_required': 'none',
                'auth_service_required': 'none',
                'fsid': fsid,
                'log_to_stderr': True,
                'log_file': '',
                'mon_host': address,
                'mon_initial_members': _NAME,
                'mgr_data': home / 'mgr',
                'mon_data': home / 'mon',
                'osd_data': home / 'osd',
                'public_addr': e2e_site.LOCALHOST,
                'cluster_addr': e2e_site.LOCALHOST,
                'run_dir': site.directory('ceph', 'run'),
                'mon_allow_pool_size_one': True,
                'mon_cluster_log_to_file': False,
                'osd_crush_chooseleaf_type': 0,
                'osd_pool_default_size': 1,
                'osd_pool_default_min_size': 1,
                'osd_objectstore': 'memstore',
                # Nothing is set aside: it is what Nova may count on.
                'memstore_device_bytes': 64 << 30,
                'osd_class_load_list': '*',
                'mgr_initial_modules': '',
            }
        },
    )
    monmap = home / 'monmap'
    site.run(
        'ceph',
        *('monmaptool', '--create', '--addv', _NAME, address),
        *('--fsid', fsid, monmap),
    )
    site.run(
        'ceph',
        *('ceph-mon', '--conf', path, '--mkfs', '--id', _NAME),
        *('--monmap', monmap),
    )
    site.start('ceph-mon', 'ceph-mon', '--conf', path, '-f', '--id', _NAME)
    site.wait('ceph-mon', lambda: _asked(site, 'mon', 'stat'))
    site.directory('ceph', 'mgr')
    site.start('ceph-mgr', 'ceph-mgr', '--conf', path, '-f', '--id', _NAME)
    osd = str(uuid.uuid4())
    site.directory('ceph', 'osd')
    site.run('ceph', 'ceph', '--conf', path, 'osd', 'new', osd)
    site.run(
        'ceph',
        *('ceph-osd', '--conf', path, '--mkfs', '--id', '0'),
        *('--osd-uuid', osd),
    )
    site.start('ceph-osd', 'ceph-osd', '--conf', path, '-f', '--id', '0')
    for pool in (IMAGES, DISKS):
        site.run(
            'ceph', 'ceph', '--conf', path, 'osd', 'pool', 'create', pool, '8'
        )
        site.run('ceph', 'rbd', '--conf', path, 'pool', 'init', pool)


def images(site: e2e_site.Site, pool: str) -> list[str]:
    """Return the names of a pool's RBD images, also of those in its trash."""
    names = []
    for command in (['ls'], ['trash', 'ls']):
        output = subprocess.run(
            [
                *('rbd', '--conf', configuration(site), '--format', 'json'),
                *(*command, pool),
            ],
            env=site.environment(),
            check=True,
            capture_output=True,
        ).stdout
        names += [
            each['name'] if isinstance(each, dict) else each
            for each in json.loads(output)
        ]
    return sorted(names)


def _asked(site: e2e_site.Site, *arguments: str) -> bool:
    """Tell whether the monitor answered a question."""
    return (
        subprocess.run(
            [
                'ceph',
                '--conf',
                configuration(site),
                '--connect-timeout',
                '5',
                *arguments,
            ],
            env=site.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
        == 0
    )
