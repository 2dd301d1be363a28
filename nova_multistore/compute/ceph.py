"""The Ceph cluster that has the disks of this compute's servers."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING
from typing import Any
import uuid

import nova.conf
from oslo_log import log as logging

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore import timed_calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nova.objects.instance import Instance

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Beginning of the name of an image that is made as a trial.
TRIAL = 'nova-multistore-check-'
#: Glance's name for the snapshot of an image that its clones are made from.
IMAGE_SNAPSHOT = 'snap'
# How many clones of an image are named.
_SHOWN = 3


def has_disk(driver: Any, server: Instance) -> bool:
    """Tell whether the root disk of a server is in Ceph.

    ``[libvirt] images_type`` is about new disks: after it was changed, older
    disks stay where they are. So libvirt is asked for the guest's disk, as
    ``nova.virt.libvirt.driver.LibvirtDriver.snapshot`` does.

    :param driver: the compute driver
    :param server: the server
    """
    libvirt = sys.modules.get('nova.virt.libvirt.driver')
    if libvirt is None or not isinstance(driver, libvirt.LibvirtDriver):
        return lookup.disks_in_ceph()
    try:
        guest = driver._host.get_guest(server)
        path, _format = libvirt.libvirt_utils.find_disk(guest)
    except Exception as exc:
        # The driver is about to fail with the same error.
        LOG.debug('The disk is not known: %s', exc, instance=server)
        return lookup.disks_in_ceph()
    found = bool(libvirt.libvirt_utils.get_disk_type_from_path(path) == 'rbd')
    if found:
        lookup.found_disk_in_ceph()
    return found


def named_store() -> str | None:
    """Return the store that ``[libvirt] images_rbd_glance_store_name`` names.

    :returns: store id; None if it names none
    """
    store: str | None = CONF.libvirt.images_rbd_glance_store_name or None
    return store


def takes_clones() -> bool:
    """Tell whether a clone of a disk can be a snapshot.

    A clone has the bytes of the disk, which are raw.
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


def clones(pool: str, image_id: str) -> str | None:
    """Tell whether an image of Glance has clones that need it, in words.

    With clone format 1, Ceph does not let Glance delete such an image. With
    format 2 it does, and keeps the data in the trash of the pool, out of
    sight.

    :param pool: the pool of the image
    :param image_id: the image's UUID
    :returns: None if it has no clone of format 2
    """
    # The module is large, and loaded already where disks are in Ceph.
    from nova.storage import rbd_utils

    rbd = rbd_utils.rbd
    try:
        with rbd_utils.RBDVolumeProxy(
            rbd_utils.RBDDriver(),
            image_id,
            pool=pool,
            snapshot=IMAGE_SNAPSHOT,
            read_only=True,
        ) as image:
            if (
                not image.op_features()
                & rbd.RBD_OPERATION_FEATURE_CLONE_PARENT
            ):
                return None
            found = []
            # Listing them takes more rights.
            with contextlib.suppress(rbd.Error):
                found = [
                    f'{clone["pool"]}/{clone["image"]}'
                    for clone in image.list_children2()
                ]
    except Exception as exc:
        return f'Ceph does not say whether it has clones ({exc!r})'
    shown = ', '.join([*found[:_SHOWN], *(['...'] if found[_SHOWN:] else [])])
    return f'clones of it in Ceph need its data there: {shown or "not listed"}'


def user() -> str:
    """Return the name of Nova's own user in Ceph."""
    return CONF.libvirt.rbd_user or 'admin'


def refusal(pool: str) -> str | None:
    """Try whether Nova's user can make an image in a pool, as snapshots need.

    The image is empty, and is deleted at once.

    :param pool: the pool
    :returns: why it cannot, in words; None if it can
    """
    name = f'{TRIAL}{uuid.uuid4()}'
    trial = timed_calls.start(lambda: _try(pool, name))
    try:
        return timed_calls.wait(trial, stores.TIMEOUT)
    except exception.ServiceAway as exc:
        # A Ceph that is full makes writers wait.
        return (
            f"Ceph user '{user()}' may not be able to make images in pool "
            f"'{pool}' ({exc}); {pool}/{name} may be left there"
        )
    except KeyboardInterrupt:
        with contextlib.suppress(exception.ServiceAway):
            timed_calls.wait(trial, stores.TIMEOUT)
        raise


def _try(pool: str, name: str) -> str | None:
    """Make an image, and delete it; return why that failed, in words."""
    # The module is large, and loaded already where disks are in Ceph.
    from nova.storage import rbd_utils

    rbd = rbd_utils.rbd
    what = f"make images in pool '{pool}'"
    try:
        with rbd_utils.RADOSClient(rbd_utils.RBDDriver(), pool) as client:
            images = rbd_utils.RbdProxy()
            try:
                images.create(client.ioctx, name, 0)
            except Exception:
                # A part of the image may be there.
                with contextlib.suppress(rbd.Error):
                    images.remove(client.ioctx, name)
                raise
            what = f'delete {pool}/{name}, which is left there'
            images.remove(client.ioctx, name)
    except rbd.PermissionError as exc:
        return (
            f"Ceph user '{user()}' cannot {what} ({exc}): it lacks the osd "
            f"caps 'profile rbd pool={pool}'"
        )
    except Exception as exc:
        return f"Ceph user '{user()}' cannot {what} ({exc!r})"
    return None


@functools.cache
def _fsid() -> str:
    # The module is large, and loaded already where disks are in Ceph.
    from nova.storage import rbd_utils

    found: str = rbd_utils.RBDDriver().get_fsid()
    return found


def forget() -> None:
    """Forget the cluster's id, so that the cluster is asked again."""
    _fsid.cache_clear()
