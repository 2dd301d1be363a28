"""Ceph, as the functional tests have it."""

from __future__ import annotations

from pathlib import Path

from tests.cloud import ceph as cloud_ceph
from tests.e2e import site as e2e_site

#: The pools in which Glance and Nova keep their images.
IMAGES = 'images'
DISKS = 'vms'


def configuration(site: e2e_site.Site) -> Path:
    """Return the path of ceph.conf."""
    return _ceph(site).configuration


def start(site: e2e_site.Site) -> None:
    """Start Ceph and make its pools."""
    try:
        _ceph(site).start()
    except cloud_ceph.CephFailed as exc:
        raise e2e_site.CloudFailed(str(exc)) from exc


def _ceph(site: e2e_site.Site) -> cloud_ceph.Ceph:
    return cloud_ceph.Ceph(
        site.directory('ceph'),
        (IMAGES, DISKS),
        ports=(site.ports['ceph'], site.ports['ceph-legacy']),
        # It ends with the namespaces of the cloud, and the thread that starts
        # it long before.
        launcher=(),
    )
