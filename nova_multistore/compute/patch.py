"""Activation: the package checks Nova, wraps parts of it, and restores it."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING
from typing import Any

from nova import version as nova_version
import nova.conf
from oslo_config import cfg
from oslo_log import log as logging
import wrapt

import nova_multistore
from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore.compute import boot_copy
from nova_multistore.compute import ceph
from nova_multistore.compute import clients
from nova_multistore.compute import download
from nova_multistore.compute import glance_calls
from nova_multistore.compute import guest
from nova_multistore.compute import location
from nova_multistore.compute import ping
from nova_multistore.compute import rbd
from nova_multistore.compute import snapshot
from nova_multistore.compute import upload
from nova_multistore.compute import validation
from nova_multistore.seam import Seam

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

#: The oldest Nova that is supported, and the newest that was tested.
OLDEST, NEWEST = 27, 34


def _load_compute_driver(
    proceed: Callable[..., Any], _module: Any, /, **_arguments: Any
) -> Any:
    """Load the driver, and wrap its ``snapshot``.

    Wraps ``nova.virt.driver.load_compute_driver``.

    :raises UnsupportedNova: the driver is not as expected; nothing is patched
        then
    """
    driver = proceed()
    # Not earlier: only one of Nova's drivers has these seams. And now the
    # driver has read nova.conf, which says whether its disks are in Ceph.
    try:
        with _lock:
            _activate(_ceph_seams())
    except exception.UnsupportedNova as exc:
        LOG.critical('nova-compute is not started: %s', exc)
        remove()
        raise
    # On the class that defines it: whatever replaces it later does so there.
    owner = next(c for c in type(driver).__mro__ if 'snapshot' in vars(c))
    _wrap(owner, 'snapshot', _DRIVER_SNAPSHOT.adapt(snapshot.snapshot))
    versions = nova_multistore.__version__, nova_version.version_string()
    LOG.info('nova-multistore %s is active on Nova %s', *versions)
    if is_newer():
        LOG.warning(
            'nova-multistore %s was not tested with Nova %s, but finds in it '
            'all that it needs',
            *versions,
        )
    validation.start()
    return driver


_DRIVER_SNAPSHOT = Seam(
    'nova.virt.driver',
    'ComputeDriver.snapshot',
    ('self', 'context', 'instance', 'image_id', 'update_task_state'),
)
_SEAMS = (
    Seam(
        'nova.virt.driver',
        'load_compute_driver',
        ('virtapi', 'compute_driver'),
        _load_compute_driver,
    ),
    _DRIVER_SNAPSHOT,
    Seam(
        'nova.compute.manager',
        'ComputeManager._snapshot_instance',
        ('self', 'context', 'image_id', 'instance', 'expected_task_state'),
        snapshot.snapshot_instance,
    ),
    Seam(
        'nova.compute.manager',
        'ComputeManager._do_build_and_run_instance',
        (
            'self',
            'context',
            'instance',
            'image',
            'request_spec',
            'filter_properties',
            'admin_password',
            'injected_files',
            'requested_networks',
            'security_groups',
            'block_device_mapping',
            'node',
            'limits',
            'host_list',
            'accel_uuids',
        ),
        boot_copy.build,
    ),
    Seam(
        'nova.image.glance',
        'GlanceImageServiceV2._upload_data',
        ('self', 'context', 'image_id', 'data'),
        upload.upload_data,
    ),
    Seam(
        'nova.image.glance',
        'GlanceImageServiceV2._add_location',
        ('self', 'context', 'image_id', 'location'),
        location.add_location,
    ),
    Seam(
        'nova.image.glance',
        'GlanceImageServiceV2.download',
        (
            'self',
            'context',
            'image_id',
            'data',
            'dst_path',
            'trusted_certs',
        ),
        download.download,
    ),
    Seam(
        'nova.image.glance',
        'GlanceClientWrapper.call',
        (
            'self',
            'context',
            'version',
            'method',
            'controller',
            'args',
            'kwargs',
        ),
        glance_calls.call,
    ),
    Seam(
        'nova.baserpc',
        'BaseRPCAPI.ping',
        ('self', 'context', 'arg'),
        ping.ping,
    ),
    Seam(
        'nova.image.glance',
        'GlanceClientWrapper.__init__',
        ('self', 'context', 'endpoint'),
    ),
    Seam(
        'nova.image.glance',
        'GlanceClientWrapper._create_onetime_client',
        ('self', 'context', 'version'),
        clients.create,
    ),
    Seam(
        'nova.compute.utils',
        'delete_image',
        ('context', 'instance', 'image_api', 'image_id', 'log_exc_info'),
    ),
)

_IMAGE_BACKEND = 'nova.virt.libvirt.imagebackend'
_CEPH_SEAMS = (
    Seam(
        _IMAGE_BACKEND,
        'Rbd._get_parent_pool',
        ('self', 'context', 'base_image_id', 'fsid'),
        rbd.get_parent_pool,
    ),
    Seam(
        _IMAGE_BACKEND,
        'Rbd.direct_snapshot',
        (
            'self',
            'context',
            'snapshot_name',
            'image_format',
            'image_id',
            'base_image_id',
        ),
        rbd.direct_snapshot,
    ),
    Seam(
        _IMAGE_BACKEND,
        'Rbd.cleanup_direct_snapshot',
        ('self', 'location', 'also_destroy_volume', 'ignore_errors'),
        rbd.cleanup_direct_snapshot,
    ),
    Seam(
        _IMAGE_BACKEND,
        'Rbd.copy_to_store',
        ('self', 'context', 'image_meta'),
        boot_copy.copy_to_store,
    ),
    Seam(
        'nova.storage.rbd_utils',
        'RBDDriver.destroy_volume',
        ('self', 'volume', 'pool'),
    ),
    Seam(
        'nova.storage.rbd_utils',
        'RBDDriver.exists',
        ('self', 'name', 'pool', 'snapshot'),
    ),
    Seam('nova.storage.rbd_utils', 'RBDDriver.get_fsid', ('self',)),
    Seam(
        'nova.storage.rbd_utils',
        'RBDVolumeProxy.__init__',
        ('self', 'driver', 'name', 'pool', 'snapshot', 'read_only'),
    ),
    Seam('nova.storage.rbd_utils', 'RBDDriver.parse_url', ('self', 'url')),
    Seam(
        'nova.virt.libvirt.driver',
        'LibvirtDriver._resume_guest_after_snapshot',
        (
            'self',
            'context',
            'live_snapshot',
            'original_power_state',
            'instance',
            'guest',
        ),
        guest.resume_after_snapshot,
    ),
    Seam(
        'nova.virt.libvirt.driver',
        'LibvirtDriver._suspend_guest_for_snapshot',
        (
            'self',
            'context',
            'live_snapshot',
            'current_power_state',
            'instance',
        ),
    ),
    Seam('nova.virt.libvirt.host', 'Host.get_guest', ('self', 'instance')),
    Seam('nova.virt.libvirt.utils', 'find_disk', ('guest',)),
    Seam('nova.virt.libvirt.utils', 'get_disk_type_from_path', ('path',)),
    Seam(
        'nova.storage.rbd_utils',
        'RBDDriver.remove_snap',
        ('self', 'volume', 'name', 'ignore_errors', 'pool', 'force'),
    ),
)

_lock = threading.Lock()
# What was replaced: by module or class, and name.
_originals: dict[tuple[Any, str], Any] = {}


def _wrap(parent: Any, attribute: str, wrapper: Callable[..., Any]) -> None:
    """Wrap a function, unless it is wrapped already."""
    if (parent, attribute) not in _originals:
        original = vars(parent)[attribute]
        wrapt.wrap_function_wrapper(parent, attribute, wrapper)
        _originals[parent, attribute] = original


def problems() -> list[str]:
    """Compare the installed Nova with what the package expects.

    This also registers the package's options.

    :returns: what does not fit, in words; empty if everything does
    """
    found = []
    release = _release()
    if release is not None and release < OLDEST:
        found.append(f'it is older than {OLDEST}')
    seams = *_SEAMS, *_ceph_seams()
    found += [p for p in (seam.problem() for seam in seams) if p]
    try:
        opts.register_opts(nova.conf.CONF)
    except cfg.DuplicateOptError as exc:
        found.append(f'it has an option of that name already ({exc})')
    return found


def _ceph_seams() -> tuple[Seam, ...]:
    """Return the seams that concern disks in Ceph.

    There are none if Nova has not loaded the modules of libvirt's driver and
    is not going to: they are large, and are not loaded for this alone.
    """
    loaded = _IMAGE_BACKEND in sys.modules
    return _CEPH_SEAMS if loaded or lookup.disks_in_ceph() else ()


def is_newer() -> bool:
    """Tell whether the installed Nova is newer than any that was tested."""
    release = _release()
    return release is None or release > NEWEST


def _release() -> int | None:
    first = nova_version.version_string().split('.')[0]
    return int(first) if first.isdigit() else None


def apply() -> None:
    """Activate everything that nova-compute needs, in this process.

    Call it before Nova loads its compute driver. A second call does nothing.

    :raises UnsupportedNova: the installed Nova is not as expected; nothing is
        patched then
    """
    with _lock:
        if _originals:
            return
        _activate((*_SEAMS, *_ceph_seams()))


def _activate(seams: tuple[Seam, ...]) -> None:
    """Wrap the seams that have a wrapper, if Nova is as expected."""
    if found := problems():
        raise exception.UnsupportedNova(nova_version.version_string(), found)
    for seam in seams:
        if seam.wrapper is not None:
            parent, attribute, _ = seam.find()
            _wrap(parent, attribute, seam.adapt(seam.wrapper))


def remove() -> None:
    """Restore Nova, and the drivers that were loaded since :func:`apply`."""
    with _lock:
        while _originals:
            (parent, attribute), original = _originals.popitem()
            setattr(parent, attribute, original)
        lookup.forget()
        ceph.forget()
        clients.forget()


def is_applied() -> bool:
    """Tell whether :func:`apply` is in force."""
    return bool(_originals)
