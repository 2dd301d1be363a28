"""The location of a direct snapshot, which Glance is told instead of data.

Glance answers before it has looked at the clone. Nova goes on only when the
image is active: shelving, for example, deletes the disk next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from nova import exception as nova_exception
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import lookup
from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore.compute import guest
from nova_multistore.compute import snapshot_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext
    from nova.image.glance import GlanceClientWrapper

LOG = logging.getLogger(__name__)

#: How long Glance may take until an image with a location is active, in
#: seconds. It has a limited number of threads for that, which may all be busy.
PATIENCE = 300.0
#: How long Glance is asked whether it took a location, after its answer was
#: lost, in seconds.
SETTLE = 60.0
# The pause between the first two questions, in seconds.
_PAUSE = 0.02

# Glance's answers to a location that it does not take, and Nova's own error
# for the first of them. A conflict is not one of them: Glance may have taken
# the location when Nova sent it before.
_REFUSED = (
    glanceclient.exc.HTTPBadRequest,
    glanceclient.exc.HTTPForbidden,
    glanceclient.exc.HTTPNotImplemented,
    nova_exception.Invalid,
)


def add_location(
    proceed: Callable[..., Any],
    service: Any,
    /,
    context: RequestContext,
    image_id: str,
    location: str,
) -> Any:
    """Tell Glance where the clone is, and wait until it has taken the clone.

    Wraps ``nova.image.glance.GlanceImageServiceV2._add_location``.

    :returns: the image, as glanceclient returns it
    :raises nova.exception.ImageUnacceptable: Glance does not take the clone;
        Nova is to make a full copy, and the guest is suspended if need be
    :raises Exception: the guest cannot be suspended for a full copy
    """
    snapshot = snapshot_state.get(image_id)
    if snapshot is None:
        return proceed()
    registration = _Registration(
        service._client, context, image_id, location, snapshot
    )
    try:
        image = _register(proceed, registration)
    except nova_exception.ImageUnacceptable as exc:
        snapshot.differences.append(f'no direct snapshot: {exc}')
        guest.put_to_rest(snapshot)
        raise
    registration.check(image)
    return image


def _register(proceed: Callable[..., Any], registration: _Registration) -> Any:
    """Return the image, once Glance has taken the location."""
    try:
        image = proceed()
    except Exception as exc:
        image = registration.settle(exc)
    return (
        image
        if image.get('status') in statuses.WITH_DATA
        else registration.wait()
    )


class _Registration:
    """A location on its way into Glance.

    :param location: URL of the clone
    """

    def __init__(
        self,
        client: GlanceClientWrapper,
        context: RequestContext,
        image_id: str,
        location: str,
        snapshot: snapshot_state.Snapshot,
    ) -> None:
        self._client = client
        self._context = context
        self._image_id = image_id
        self._location = location
        self._snapshot = snapshot

    def settle(self, error: Exception) -> dict[str, Any]:
        """Find out whether Glance took the location in spite of an error.

        Glance's answer may have been lost. If Nova then sent the location
        again, Glance refused it.

        :param error: the error
        :returns: the image, active or about to be
        :raises nova.exception.ImageNotFound: it was deleted meanwhile
        :raises nova.exception.ImageUnacceptable: Glance has not taken it
        :raises Exception: Glance does not say
        """
        image = self._ask(SETTLE, lambda image: False)
        if image is None and not isinstance(error, _REFUSED):
            self._keep_clone()
            raise error
        if image and (
            image['status'] in statuses.WITH_DATA or copies.is_held(image)
        ):
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
                image['status'] not in statuses.WITH_DATA
                and copies.is_held(image)
            ),
        )
        if image is None:
            self._keep_clone()
            raise nova_exception.GlanceConnectionFailed(
                server=lookup.named(self._client),
                reason='it does not say whether it took a location',
            )
        if image['status'] in statuses.WITH_DATA:
            return image
        self._snapshot.location_given_up = True
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
        :param under_way: tells whether the image may still change
        :returns: the image, None if Glance does not say
        :raises nova.exception.ImageNotFound: it was deleted meanwhile
        """
        image = lookup.outcome(
            self._context,
            self._client,
            self._image_id,
            under_way,
            patience,
            _PAUSE,
        )
        if image and image['status'] in statuses.GONE:
            raise nova_exception.ImageNotFound(image_id=self._image_id)
        return image

    def _keep_clone(self) -> None:
        """Have the clone kept, and name it: Glance may have taken it."""
        self._snapshot.clone_in_doubt = True
        LOG.warning(
            'Glance does not say whether it took the location of image '
            '%(image)s. If the image is deleted, and the clone %(location)s '
            'is still in Ceph, that clone can be deleted.',
            {'image': self._image_id, 'location': self._location},
        )

    def check(self, image: Any) -> None:
        """Log if Glance says that the clone is in another store."""
        selected = self._snapshot.selection
        found = stores.of_image(image)
        store = selected.move_from or selected.store
        if selected.pool and found and store not in found:
            LOG.warning(
                'Image %(image)s is in pool %(pool)s of store %(store)s, but '
                'Glance says that it is in %(found)s',
                {
                    'image': self._image_id,
                    'pool': selected.pool,
                    'store': store,
                    'found': ', '.join(found),
                },
            )
