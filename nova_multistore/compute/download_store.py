"""The store from which nova-compute downloads an image.

Of an image in several stores, Glance sends the copy of the store with the
highest weight, wherever the compute is. Since 2026.1, a download can name a
store that it prefers.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import inspect
from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from glanceclient.v2 import images as glanceclient_images
from nova import exception as nova_exception
from oslo_log import log as logging

from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore.compute.facts import gather

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova.context import RequestContext

LOG = logging.getLogger(__name__)

# Glance may refuse a download with a preference, and allow one without: its
# policy download_from_store refuses, this API server does not have the store,
# or the user's quota is full. Glance checks the quota when it puts the
# locations in another order, and answers 500. Nova's own error is for the
# answer 503.
_REFUSED = (
    glanceclient.exc.HTTPException,
    nova_exception.GlanceConnectionFailed,
)


@dataclasses.dataclass
class Preference:
    """The store that one download prefers."""

    image_id: str
    #: The preferred store; None until Glance has begun to send from it.
    store: str | None = None
    #: Whether Glance is to choose, as with stock Nova.
    is_given_up: bool = False

    def give_up(self, error: Exception) -> bool:
        """Have the next try prefer nothing.

        The copy that Glance itself chooses may be whole.

        :param error: why the data that were sent are of no use
        :returns: whether there was a preference
        """
        if self.store is None:
            return False
        LOG.warning(
            'The copy of image %(image)s in store %(store)s cannot be used '
            '(%(error)s); the image is downloaded from the store that Glance '
            'chooses',
            {
                'image': self.image_id,
                'store': self.store,
                'error': error,
            },
        )
        self.store, self.is_given_up = None, True
        return True


_preference: contextvars.ContextVar[Preference | None] = (
    contextvars.ContextVar('preference', default=None)
)


@contextlib.contextmanager
def preferring(image_id: str) -> Iterator[Preference]:
    """Keep the preference during a download that can be repeated.

    :param image_id: the image's UUID
    """
    token = _preference.set(Preference(image_id))
    try:
        found = _preference.get()
        assert found is not None
        yield found
    finally:
        _preference.reset(token)


def download(
    proceed: Callable[..., Any], context: RequestContext, image_id: str
) -> Any:
    """Download an image from the nearest of its stores.

    :param proceed: Nova's own call of glanceclient
    :param context: whose token is sent
    :param image_id: the image's UUID
    :returns: what glanceclient's ``images.data`` returns
    """
    preference = _preference.get()
    if preference is not None and preference.is_given_up:
        return proceed()
    store = nearest(context, image_id)
    if store is None:
        return proceed()
    try:
        data = proceed(kwargs={'prefer': [store]})
    except _REFUSED as exc:
        LOG.debug(
            'Image %s is not downloaded from store %s: %s',
            image_id,
            store,
            exc,
        )
        return proceed()
    LOG.info(
        'Image %s is downloaded, preferably from store %s', image_id, store
    )
    if preference is not None:
        preference.store = store
    return data


def nearest(context: RequestContext, image_id: str) -> str | None:
    """Return the store from which to download an image.

    It is this compute's own Ceph store, if the image is there.

    :param context: whose token is sent
    :param image_id: the image's UUID
    :returns: store id; None if there is nothing to choose, the installed
        glanceclient cannot choose, or Glance did not say where the image is
    """
    if not (has_near_store() and can_prefer()):
        return None
    # The stores of the image, and this compute's own, are found as for a
    # snapshot that has this image as its base image.
    facts = gather(
        context,
        selection.Facts(selection.Operation.OTHER, image_ref=image_id),
        lookup.disks_in_ceph(),
    )
    stores = facts.base_stores or ()
    catalogue = facts.catalogue
    if catalogue is None or len(stores) < 2:
        return None
    store = facts.own_store
    return store if store in stores and store in catalogue.ids else None


def has_near_store() -> bool:
    """Tell whether there may be a store that is near to this compute.

    Only its own Ceph store is near. ``[glance] store`` says where snapshots
    go, which may be a far archive.
    """
    return lookup.disks_in_ceph()


def can_prefer() -> bool:
    """Tell whether glanceclient can name a store; it can since 4.12.

    An older Glance ignores the store.
    """
    data = inspect.signature(glanceclient_images.Controller.data)
    return 'prefer' in data.parameters
