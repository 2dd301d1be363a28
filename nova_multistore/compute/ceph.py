"""The Ceph cluster that has this compute's disks."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING
from typing import Any

import nova.conf
from oslo_log import log as logging

from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nova.objects.instance import Instance

    from nova_multistore import stores

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


# Whether a disk was found in Ceph, whatever nova.conf says of new ones.
_found = False


def is_used() -> bool:
    """Tell whether disks of this compute are in Ceph."""
    return _found or bool(CONF.libvirt.images_type == 'rbd')


def has_disk(driver: Any, server: Instance) -> bool:
    """Tell whether the root disk of a server is in Ceph.

    ``[libvirt] images_type`` is for new disks: those that were made before it
    was changed stay where they are. So the guest is asked, as
    ``nova.virt.libvirt.driver.LibvirtDriver.snapshot`` does.

    :param driver: the compute driver
    :param server: the server
    """
    global _found
    libvirt = sys.modules.get('nova.virt.libvirt.driver')
    if libvirt is None or not isinstance(driver, libvirt.LibvirtDriver):
        return is_used()
    try:
        guest = driver._host.get_guest(server)
        path, _format = libvirt.libvirt_utils.find_disk(guest)
    except Exception as exc:
        # The driver is about to fail over the same.
        LOG.debug('The disk is not known: %s', exc, instance=server)
        return is_used()
    found = bool(libvirt.libvirt_utils.get_disk_type_from_path(path) == 'rbd')
    _found = _found or found
    return found


def takes_clones() -> bool:
    """Tell whether a clone of a disk can be a snapshot.

    Its bytes are those of the disk, which are raw.
    """
    return CONF.libvirt.snapshot_image_format in (None, 'raw')


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
    """Forget the cluster's id and its disks, so that both are asked anew."""
    global _found
    _found = False
    _fsid.cache_clear()
