"""The direct snapshot: a clone of the disk that Nova makes inside Ceph.

If it fails, nothing of it stays in Ceph, and Nova makes a full copy instead.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from oslo_log import log as logging

from nova_multistore import selection
from nova_multistore.compute import ceph
from nova_multistore.compute import snapshot_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class _Destination:
    """Where a direct snapshot goes."""

    #: None until Nova's own search has found it.
    pool: str | None
    #: A pool that failed before.
    failed: str | None = None
    #: Pools of Glance's stores, None if they are not all known.
    pools: frozenset[str] | None = None


_destination: contextvars.ContextVar[_Destination | None] = (
    contextvars.ContextVar('destination', default=None)
)


def get_parent_pool(
    proceed: Callable[..., Any], disk: Any, /, **_: Any
) -> Any:
    """Return the pool for a direct snapshot.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd._get_parent_pool``.

    :raises nova.exception.ImageUnacceptable: there is none
    """
    destination = _destination.get()
    if destination is None:
        return proceed()
    if destination.pool is None:
        pool = proceed()
        if pool == destination.failed:
            raise nova_exception.ImageUnacceptable(
                f'there is no other pool than {pool}'
            )
        if destination.pools is not None and pool not in destination.pools:
            raise nova_exception.ImageUnacceptable(
                f"Ceph pool {pool} is none of Glance's stores"
            )
        destination.pool = pool
    return destination.pool


def direct_snapshot(
    proceed: Callable[..., Any],
    disk: Any,
    /,
    snapshot_name: str,
    image_format: str,
    image_id: str,
    **_rest: Any,
) -> Any:
    """Clone the disk into the pool that was selected, or not at all.

    Stock Nova would register the clone as an image of any format. But a clone
    is raw, as the disk is: for another format, Nova makes a full copy.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd.direct_snapshot``.

    :returns: the location of the clone
    :raises nova.exception.ImageUnacceptable: Nova is to make a full copy
    """
    snapshot = snapshot_state.get(image_id)
    if snapshot is None:
        return proceed()
    if image_format != 'raw':
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'a clone of the disk is raw, not {image_format}',
        )
    selected = snapshot.selection

    def clone(destination: _Destination) -> Any:
        try:
            return _clone(proceed, disk, snapshot_name, image_id, destination)
        except nova_exception.ImageUnacceptable as exc:
            if destination.pool is not None:
                snapshot.differences.append(f'no direct snapshot: {exc}')
            raise

    if selected.direct is selection.Direct.NO:
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'store {selected.store} is not known to be in the Ceph of '
            'the disk',
        )
    if selected.direct is selection.Direct.POOL:
        return clone(_Destination(selected.pool))
    if selected.direct is selection.Direct.POOL_FIRST:
        try:
            return clone(_Destination(selected.pool))
        except nova_exception.ImageUnacceptable as exc:
            LOG.warning('%s; Nova searches for another pool', exc)
    destination = _Destination(
        None, failed=selected.pool, pools=selected.pools
    )
    location = clone(destination)
    LOG.log(
        logging.WARNING if selected.ordered else logging.INFO,
        'Image %(image)s was made in Ceph pool %(pool)s, which Nova found by '
        'itself',
        {'image': image_id, 'pool': destination.pool},
    )
    snapshot.differences.append(
        f"Nova's own search found Ceph pool {destination.pool}"
    )
    return location


def cleanup_direct_snapshot(
    proceed: Callable[..., Any],
    disk: Any,
    /,
    location: dict[str, str] | None = None,
    **_rest: Any,
) -> Any:
    """Delete the clone of a snapshot that failed, unless Glance may have it.

    If Glance may have the clone, it is deleted after the image, unless Glance
    does that itself.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd.cleanup_direct_snapshot``.
    """
    if not location:
        return proceed()
    _fsid, pool, image_id, _snap = disk.driver.parse_url(location['url'])
    snapshot = snapshot_state.get(image_id)
    if snapshot is None or not snapshot.clone_in_doubt:
        return proceed()

    def delete() -> None:
        if disk.driver.exists(image_id, pool=pool):
            proceed()

    snapshot.delete_clone = delete
    return None


def _clone(
    clone: Callable[[], Any],
    disk: Any,
    name: str,
    image_id: str,
    destination: _Destination,
) -> Any:
    """Clone the disk to one pool. After a failure, nothing is left there."""
    token = _destination.set(destination)
    try:
        return clone()
    except Exception as exc:
        if destination.pool is not None:
            _clean_up(disk.driver, image_id, destination.pool, exc)
            _remove_snapshot(disk.driver, disk.rbd_name, name, None)
        if isinstance(exc, nova_exception.ImageUnacceptable):
            raise
        # The error may come from Nova's clean-up, and hide the first one.
        reason = exc.__context__ or exc
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'Ceph pool {destination.pool} did not take it ({reason})',
        ) from exc
    finally:
        _destination.reset(token)


def _clean_up(driver: Any, image_id: str, pool: str, error: Exception) -> None:
    """Delete the clone."""
    from nova.storage import rbd_utils

    # The image was there before, and is not the clone.
    if isinstance(error, rbd_utils.rbd.ImageExists):
        return
    with (
        _logged(f'{pool}/{image_id}'),
        # The pool does not exist.
        contextlib.suppress(rbd_utils.rados.ObjectNotFound),
    ):
        if driver.exists(image_id, pool=pool):
            _remove_snapshot(driver, image_id, ceph.IMAGE_SNAPSHOT, pool)
            driver.destroy_volume(image_id, pool=pool)


def _remove_snapshot(
    driver: Any, image: str, name: str, pool: str | None
) -> None:
    with _logged(f'{pool or driver.pool}/{image}@{name}'):
        driver.remove_snap(
            image, name, pool=pool, force=True, ignore_errors=True
        )


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error instead of raising it: something cannot be deleted."""
    try:
        yield
    except Exception as exc:
        LOG.warning(
            '%(what)s may be left in Ceph: %(error)s',
            {'what': what, 'error': exc},
        )
