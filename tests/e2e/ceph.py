"""Ceph, as the functional tests have it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cloud import ceph as cloud_ceph
from tests.e2e import site as e2e_site

#: The pools in which Glance, Nova and Cinder keep their images.
IMAGES = 'images'
DISKS = 'vms'
VOLUMES = 'volumes'


def configuration(site: e2e_site.Site) -> Path:
    """Return the path of ceph.conf."""
    return _ceph(site).configuration


def start(site: e2e_site.Site) -> None:
    """Start Ceph and make its pools."""
    try:
        _ceph(site).start()
    except cloud_ceph.CephFailed as exc:
        raise e2e_site.CloudFailed(str(exc)) from exc


def images(site: e2e_site.Site, pool: str) -> list[str]:
    """Return the names of a pool's RBD images, also of those in its trash."""
    ceph = _ceph(site)
    trash = json.loads(ceph.rbd('--format', 'json', 'trash', 'ls', pool))
    return sorted([*ceph.images(pool), *(each['name'] for each in trash)])


def _ceph(site: e2e_site.Site) -> cloud_ceph.Ceph:
    return cloud_ceph.Ceph(
        site.directory('ceph'),
        (IMAGES, DISKS, VOLUMES),
        # Nothing is set aside: it is what Nova may count on.
        size=64 << 30,
        ports=(site.ports['ceph'], site.ports['ceph-legacy']),
        # It ends with the namespaces of the cloud, and the thread that starts
        # it long before.
        launcher=(),
    )
