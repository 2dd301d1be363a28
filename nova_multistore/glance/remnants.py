"""Images in Ceph that Glance began to write, and did not finish.

A glance-api that is killed while it writes an image leaves one. Glance then
fails each time when it copies the image to that store.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING
from typing import Any

from glance_store import location
from glance_store._drivers import rbd as driver
from oslo_config import cfg
from oslo_log import log as logging
import rbd

if TYPE_CHECKING:
    from collections.abc import Mapping

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# Ceph takes a client for alive so long after it was killed, in seconds
# (`osd_client_watch_timeout`), and some more.
_WATCHED = 40
# The name of what is written on an image in Ceph.
_MARK = 'nova_multistore_made_for'


def mark(made: Any, image: Any) -> None:
    """Write on an image in Ceph for which of Glance's images it is made.

    Another Glance, with the same pool, may have an image of the same id.

    :param made: of librbd
    :param image: of Glance
    """
    made.metadata_set(_MARK, _made_for(image))


def remove(store: Any, ioctx: Any, image: Any) -> None:
    """Remove what is left of an image in the pool of a store.

    It is a remnant if no location of the image names it, if nobody has it
    open, and if it has no snapshot, which Glance makes last, or was made for
    this very image. Glance does one import of an image at a time, and this
    is called within that.

    :param store: Glance's store
    :param ioctx: its pool, open
    :param image: of Glance
    """
    if any(_is(store, place, image.image_id) for place in image.locations):
        return
    try:
        with rbd.Image(ioctx, image.image_id, read_only=True) as found:
            made_for_it = _is_made_for(found, image)
            if [*found.list_snaps()] and not made_for_it:
                return
            end = time.monotonic() + _WATCHED
            while [*found.watchers_list()]:
                if time.monotonic() > end:
                    return
                time.sleep(1)
        if made_for_it:
            discard(ioctx, image.image_id)
        else:
            # Ceph refuses if another client has come to it meanwhile.
            rbd.RBD().remove(ioctx, image.image_id)
    except rbd.ImageNotFound:
        return
    LOG.warning(
        'Image %(image)s: store %(store)s had the beginning of a copy that '
        'was not finished; it is removed now',
        {'image': image.image_id, 'store': store.backend_group},
    )


def _made_for(image: Any) -> str:
    return f'{image.image_id} {image.created_at.isoformat()}'


def _is_made_for(found: Any, image: Any) -> bool:
    try:
        return bool(found.metadata_get(_MARK) == _made_for(image))
    except KeyError:
        return False


def discard(ioctx: Any, name: str) -> None:
    """Remove an image, with the snapshot that Glance makes.

    If it stays in use, it gets another name.

    :param ioctx: its pool, open
    :param name: of the image
    :raises Exception: it has other snapshots, or clones
    """
    with contextlib.suppress(rbd.ImageNotFound):
        with rbd.Image(ioctx, name) as image:
            with contextlib.suppress(rbd.ImageNotFound, rbd.InvalidArgument):
                image.unprotect_snap(driver.DEFAULT_SNAPNAME)
            with contextlib.suppress(rbd.ImageNotFound):
                image.remove_snap(driver.DEFAULT_SNAPNAME)
        end = time.monotonic() + _WATCHED
        while True:
            try:
                rbd.RBD().remove(ioctx, name)
                return
            except rbd.ImageBusy:
                # Ceph's manager may be at work with it.
                if time.monotonic() > end:
                    break
                time.sleep(1)
        # Its name must be free, for Glance to send the image whole.
        aside = f'{name}.discarded-{secrets.token_hex(4)}'
        rbd.RBD().rename(ioctx, name, aside)
        LOG.warning(
            'Image %(aside)s in pool %(pool)s is in use by another client, '
            'and nobody needs it: remove it later, with rbd rm',
            {'aside': aside, 'pool': ioctx.name},
        )


def _is(store: Any, place: Mapping[str, Any], name: str) -> bool:
    """Tell whether a location is the image of a name in a store's pool."""
    backend = place['metadata'].get('store')
    if not place['url'].startswith('rbd:'):
        # Glance writes down others before it has made a copy.
        return False
    if CONF.enabled_backends.get(backend) != 'rbd':
        # If nobody knows the store, it may be this one.
        return backend is None
    found = location.get_location_from_uri_and_backend(
        place['url'], backend, conf=CONF
    ).store_location
    return (found.pool or store.pool, found.image) == (store.pool, name)
