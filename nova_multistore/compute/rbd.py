"""The direct snapshot: the clone that Nova makes inside Ceph.

Whatever goes wrong with it, nothing of it stays in Ceph, and Nova is told so
that it takes a standard snapshot instead.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from nova import exception as nova_exception
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import lookup
from nova_multistore.compute import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova.context import RequestContext
    from nova.image.glance import GlanceClientWrapper

    from nova_multistore.selection import Selection

LOG = logging.getLogger(__name__)

# What Glance says to a location that it does not take, and what Nova makes of
# the first of them.
_REFUSED = (
    glanceclient.exc.HTTPBadRequest,
    glanceclient.exc.HTTPForbidden,
    glanceclient.exc.HTTPConflict,
    glanceclient.exc.HTTPNotImplemented,
    nova_exception.Invalid,
)
# What it says to whoever may not ask, and of an image that was deleted.
_FINAL = (
    glanceclient.exc.HTTPUnauthorized,
    glanceclient.exc.HTTPNotFound,
)
#: Name of the snapshot that makes an image of Glance one that can be cloned.
_IMAGE_SNAPSHOT = 'snap'
#: How long Glance may take until an image with a location is active, in
#: seconds. It has a limited number of threads for that, which may all be busy.
PATIENCE = 300.0
#: How long Glance is asked what it has done, where its answer was lost, in
#: seconds.
SETTLE = 60.0
#: The time between the first two questions, in seconds.
_PAUSE = 0.1
_TAKEN = ('active', 'deactivated')


@dataclasses.dataclass
class _Destination:
    """Where a direct snapshot goes."""

    #: None until Nova's own search has found it.
    pool: str | None
    #: A pool that has failed.
    failed: str | None = None
    #: Pools that are some store's, None if they are not known.
    pools: frozenset[str] | None = None


_destination: contextvars.ContextVar[_Destination | None] = (
    contextvars.ContextVar('destination', default=None)
)


def get_parent_pool(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return the pool for a direct snapshot.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd._get_parent_pool``.

    :raises nova.exception.ImageUnacceptable: there is none
    """
    destination = _destination.get()
    if destination is None:
        return wrapped(*args, **kwargs)
    if destination.pool is None:
        pool = wrapped(*args, **kwargs)
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
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Clone the disk into the pool that was selected, or not at all.

    A clone has the bytes of the disk: an image of another format than raw
    cannot be one, though stock Nova would register it as such.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd.direct_snapshot``.

    :returns: the location of the clone
    :raises nova.exception.ImageUnacceptable: a standard snapshot has to be
        taken
    """
    name, image_format, image_id = _arguments(*args, **kwargs)
    selected = snapshot.selected(image_id)
    if selected is None:
        return wrapped(*args, **kwargs)
    if image_format != 'raw':
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'a clone of the disk is raw, not {image_format}',
        )

    def clone(destination: _Destination) -> Any:
        return _clone(
            lambda: wrapped(*args, **kwargs),
            instance,
            name,
            image_id,
            destination,
        )

    if not selected.pool and not selected.yields:
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'store {selected.store} is not known to be in the Ceph of '
            'the disk',
        )
    if selected.pool:
        try:
            return clone(_Destination(selected.pool))
        except nova_exception.ImageUnacceptable as exc:
            if selected.ordered:
                raise
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
    return location


def _arguments(
    context: RequestContext,
    snapshot_name: str,
    image_format: str,
    image_id: str,
    *_args: Any,
    **_kwargs: Any,
) -> tuple[str, str, str]:
    return snapshot_name, image_format, image_id


def _clone(
    clone: Callable[[], Any],
    disk: Any,
    name: str,
    image_id: str,
    destination: _Destination,
) -> Any:
    """Clone the disk to one place, and leave nothing there after a failure."""
    token = _destination.set(destination)
    try:
        return clone()
    except Exception as exc:
        if destination.pool is not None:
            _clean_up(disk.driver, image_id, destination.pool, exc)
            _remove_snapshot(disk.driver, disk.rbd_name, name, None)
        if isinstance(exc, nova_exception.ImageUnacceptable):
            raise
        # Nova's clean-up may have failed over what is now removed.
        reason = exc.__context__ or exc
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'Ceph pool {destination.pool} did not take it ({reason})',
        ) from exc
    finally:
        _destination.reset(token)


def _clean_up(driver: Any, image_id: str, pool: str, error: Exception) -> None:
    """Remove the clone."""
    from nova.storage import rbd_utils

    # An image of that name that was there before is not the clone.
    if isinstance(error, rbd_utils.rbd.ImageExists):
        return
    with (
        _logged(f'{pool}/{image_id}'),
        # There is no such pool.
        contextlib.suppress(rbd_utils.rados.ObjectNotFound),
    ):
        if driver.exists(image_id, pool=pool):
            _remove_snapshot(driver, image_id, _IMAGE_SNAPSHOT, pool)
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
    """Go on where something cannot be removed, and say so."""
    try:
        yield
    except Exception as exc:
        LOG.warning(
            '%(what)s may be left in Ceph: %(error)s',
            {'what': what, 'error': exc},
        )


def add_location(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Tell Glance where the clone is, and see that it takes the clone.

    Glance answers before it has looked at the clone. Until the image is
    active, nothing may rely on it: shelving deletes the disk next.

    Wraps ``nova.image.glance.GlanceImageServiceV2._add_location``.

    :returns: the image, as glanceclient returns it
    :raises nova.exception.ImageUnacceptable: Glance does not take it; a
        standard snapshot has to be taken
    """
    context, image_id, location = _asked(*args, **kwargs)
    selected = snapshot.selected(image_id)
    if selected is None:
        return wrapped(*args, **kwargs)
    taker = _Taker(instance._client, context, image_id, location)
    try:
        image = wrapped(*args, **kwargs)
    except _FINAL:
        raise
    except Exception as exc:
        image = taker.settle(exc)
    if image.get('status') not in _TAKEN:
        image = taker.wait()
    _check(selected, image_id, image)
    return image


def _asked(
    context: RequestContext,
    image_id: str,
    location: str,
    *_args: Any,
    **_kwargs: Any,
) -> tuple[RequestContext, str, str]:
    return context, image_id, location


class _Taker:
    """The Glance that is to take a location.

    :param location: URL of the clone
    """

    def __init__(
        self,
        client: GlanceClientWrapper,
        context: RequestContext,
        image_id: str,
        location: str,
    ) -> None:
        self._client = client
        self._context = context
        self._image_id = image_id
        self._location = location

    def settle(self, error: Exception) -> dict[str, Any]:
        """Find out whether Glance has taken the location after all.

        An answer may have been lost, and what Nova then asked again is
        refused.

        :param error: what came instead of an answer
        :returns: the image, active or about to be
        :raises nova.exception.ImageNotFound: it was deleted meanwhile
        :raises nova.exception.ImageUnacceptable: Glance has not taken it
        :raises Exception: Glance does not say
        """
        image = self._ask(SETTLE, lambda image: False)
        if image is None and not isinstance(error, _REFUSED):
            self._warn()
            raise error
        if image and (image['status'] in _TAKEN or copies.is_held(image)):
            return image
        raise nova_exception.ImageUnacceptable(
            image_id=self._image_id,
            reason=f'Glance did not take its location ({error})',
        ) from error

    def wait(self) -> dict[str, Any]:
        """Wait until Glance has made the image active.

        :returns: the image
        :raises nova.exception.ImageNotFound: it was deleted meanwhile
        :raises nova.exception.ImageUnacceptable: it is not active, and Glance
            is not about to make it so
        :raises nova.exception.GlanceConnectionFailed: Glance does not say
        """
        image = self._ask(
            PATIENCE,
            lambda image: (
                image['status'] not in _TAKEN and copies.is_held(image)
            ),
        )
        if image is None:
            self._warn()
            raise nova_exception.GlanceConnectionFailed(
                server=str(self._client.api_server),
                reason='it does not say whether it took a location',
            )
        if image['status'] in _TAKEN:
            return image
        snapshot.give_up_location(self._image_id)
        raise nova_exception.ImageUnacceptable(
            image_id=self._image_id,
            reason=f'Glance did not take its location in {PATIENCE:g} seconds'
            if copies.is_held(image)
            else 'Glance did not take its location, and left it '
            f'{image["status"]}',
        )

    def _ask(
        self, patience: float, under_way: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any] | None:
        """Ask what became of the image.

        :param patience: how long, in seconds
        :param under_way: tells whether it is to be asked for again
        :returns: the image, None if Glance does not say
        :raises nova.exception.ImageNotFound: it was deleted meanwhile
        """
        image = lookup.outcome(
            functools.partial(lookup.get, self._client, self._context),
            self._image_id,
            under_way,
            patience,
            _PAUSE,
        )
        if image and image['status'] in lookup.GONE:
            raise nova_exception.ImageNotFound(image_id=self._image_id)
        return image

    def _warn(self) -> None:
        """Say what nobody removes, as Glance may have it."""
        LOG.warning(
            'Glance does not say whether it took the location of image '
            '%(image)s. If that image is deleted, and %(location)s is still '
            'in Ceph, nothing needs it.',
            {'image': self._image_id, 'location': self._location},
        )


def _check(selected: Selection, image_id: str, image: Any) -> None:
    """See that Glance takes the clone for one of the store, if it says so."""
    found = image.get('stores')
    if selected.pool and found and selected.store not in found.split(','):
        LOG.warning(
            'Image %(image)s is in pool %(pool)s of store %(store)s, but '
            'Glance says that it is in %(found)s',
            {
                'image': image_id,
                'pool': selected.pool,
                'store': selected.store,
                'found': found,
            },
        )
