"""The Ceph cluster that has this compute's disks."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import nova.conf
from oslo_log import log as logging

from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nova_multistore import stores

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


def is_used() -> bool:
    """Tell whether the disks of this compute are in Ceph."""
    return bool(CONF.libvirt.images_type == 'rbd')


def cluster(places: Mapping[str, stores.Place]) -> selection.Cluster:
    """Return the cluster.

    :param places: where stores keep their images, by store id. If none of
        them is in Ceph, the cluster is not asked for its id.
    """
    fsid = None
    if any(place.fsid for place in places.values()):
        try:
            fsid = _fsid()
        except Exception as exc:
            LOG.warning("The id of this compute's Ceph is not known: %s", exc)
    return selection.Cluster(fsid, places)


@functools.cache
def _fsid() -> str:
    # What only a compute with disks in Ceph has loaded.
    from nova.storage import rbd_utils

    found: str = rbd_utils.RBDDriver().get_fsid()
    return found


def forget() -> None:
    """Forget the cluster's id, so that it is asked anew."""
    _fsid.cache_clear()
