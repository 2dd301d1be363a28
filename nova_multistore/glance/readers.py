"""Reads of a copy that is deleted meanwhile.

Ceph answers reads of a removed image with zeros, and without an error. So the
last part of what Glance reads is held back until the copy is seen to be still
there. This covers downloads, and what Glance itself reads: for a copy to
another store, for a hash, and for its image cache.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING
from typing import Any

from glance import context
from glance.common import exception
import glance.db
import glance_store
from oslo_config import cfg
from oslo_log import log as logging
import wrapt

from nova_multistore.seam import Seam

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Mapping

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# Types of stores whose data outlive a deletion: an open file stays whole, and
# Glance deletes nothing from a web server.
_LASTING = ('file', 'http')
# Statuses of a location whose data are there. With `delayed_delete`, Glance's
# scrubber deletes them later.
_THERE = ('active', 'pending_delete')


class CopyDeleted(
    exception.GlanceException,  # type: ignore[misc]
    glance_store.NotFound,  # type: ignore[misc]
):
    """Raised if a copy was deleted while it was read.

    Glance's image cache ends a download with an error for the first of its
    bases. For the second, a copy or a hash goes on with another store.
    """


def watched(
    image_id: str, location: Mapping[str, Any], data: Iterable[bytes]
) -> Iterable[bytes]:
    """Return data, the last part of them only if the copy is still there.

    :param image_id: the image's UUID
    :param location: the location of the copy, as Glance's images have it
    :param data: what the store returned
    :returns: the data; to read them raises :class:`CopyDeleted`
    """
    if _kind(location) in _LASTING:
        return data
    return held_back(data, functools.partial(_see, image_id, location))


def held_back(
    data: Iterable[bytes], see: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Return data, the last part of them only if there is no error.

    :param data: the data; they may raise an error at their end
    :param see: called after that end; it may raise an error, too
    """
    iterator = iter(data)
    held = b''
    try:
        for piece in iterator:
            # An empty part would let go of the last one.
            if piece:
                if held:
                    yield held
                held = piece
    finally:
        if close := getattr(iterator, 'close', None):
            close()
    if held:
        see()
        yield held


def _kind(location: Mapping[str, Any]) -> str | None:
    """Return the type of the store of a location."""
    kind: str | None = CONF.enabled_backends.get(_store(location))
    return kind


def _store(location: Mapping[str, Any]) -> str | None:
    """Return the id of the store of a location."""
    store: str | None = location['metadata'].get('store')
    return store


def _see(image_id: str, location: Mapping[str, Any]) -> None:
    """See that a copy is still there, after it was read.

    What cannot be asked does not count: Glance alone does not ask.

    :raises CopyDeleted: it is not
    """
    # In this order: a copy that was made again is there for the first.
    for is_there in (_is_in_store, _is_in_database):
        try:
            found = is_there(image_id, location)
        except Exception as exc:
            LOG.warning(
                'Image %(image)s was read from store %(store)s; whether it '
                'was deleted meanwhile could not be seen: %(error)r',
                {
                    'image': image_id,
                    'store': _store(location),
                    'error': exc,
                },
            )
            continue
        if not found:
            # Glance logs what the error says.
            message = (
                f'Image {image_id} was deleted from store {_store(location)} '
                f'while it was read: the read ends with an error, as its data '
                f'may be wrong'
            )
            LOG.warning('%s', message)
            raise CopyDeleted(message)


def _is_in_store(_image_id: str, location: Mapping[str, Any]) -> bool:
    """Tell whether Ceph has a copy.

    Glance deletes from its database last, which may be minutes later.
    """
    if _kind(location) == 'rbd':
        try:
            glance_store.get_size_from_uri_and_backend(
                location['url'], _store(location)
            )
        except glance_store.NotFound:
            return False
    return True


def _is_in_database(image_id: str, location: Mapping[str, Any]) -> bool:
    """Tell whether an image still has a location.

    If it was deleted and made again, its id is another one.
    """
    try:
        image = glance.db.get_api().image_get(
            _administrator(), image_id, force_show_deleted=True
        )
    except exception.ImageNotFound:
        return False
    return any(
        place['status'] in _THERE
        and (
            _store(place) == _store(location)
            if location.get('id') is None
            else place['id'] == location['id']
        )
        for place in image['locations']
    )


@functools.cache
def _administrator() -> Any:
    """Return a context that may see every image."""
    return context.get_admin_context(show_deleted=True)


class _Stores:
    """The stores, for one read of an image: what they return is watched."""

    def __init__(self, stores: Any, image: Any) -> None:
        self._stores = stores
        self._image = image

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stores, name)

    def get(self, uri: str, backend: str | None, **options: Any) -> Any:
        data, size = self._stores.get(uri, backend, **options)
        for location in self._image.locations:
            if (location['url'], _store(location)) == (uri, backend):
                data = watched(self._image.image_id, location, data)
                break
        return data, size


class _Staging:
    """Glance's staging store, for one copy: what it gets is watched."""

    def __init__(
        self, staging: Any, image_id: str, location: Mapping[str, Any]
    ) -> None:
        self._staging = staging
        self._image_id = image_id
        self._location = location

    def __getattr__(self, name: str) -> Any:
        return getattr(self._staging, name)

    def add(self, name: str, data: Any, *args: Any, **kwargs: Any) -> Any:
        data = watched(self._image_id, self._location, data)
        return self._staging.add(name, data, *args, **kwargs)


def _get_data(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the data of an image from the first store that has them.

    Wraps ``glance.location.ImageProxy.get_data``.
    """
    reader = copy.copy(instance)
    reader.store_api = _Stores(instance.store_api, instance.image)
    return wrapped.__func__(reader, *args, **kwargs)


def _copy_to_staging_store(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Read a copy, for further copies; if it is deleted, read the next.

    Wraps ``_CopyImage._copy_to_staging_store`` from
    ``glance.async_.flows._internal_plugins.copy_image``.
    """
    location = kwargs['loc'] if kwargs else args[0]
    task = copy.copy(instance)
    task.staging_store = _Staging(
        instance.staging_store, instance.image_id, location
    )
    return wrapped.__func__(task, *args, **kwargs)


_SEAMS = (
    (
        Seam(
            'glance.location',
            'ImageProxy.get_data',
            ('self', 'offset', 'chunk_size'),
        ),
        _get_data,
    ),
    (
        Seam(
            'glance.async_.flows._internal_plugins.copy_image',
            '_CopyImage._copy_to_staging_store',
            ('self', 'loc'),
        ),
        _copy_to_staging_store,
    ),
)


@functools.cache
def apply() -> None:
    """Wrap what reads in Glance, once in a process.

    What is not as expected is left as it is: Glance starts, and the log says
    so.
    """
    for seam, wrapper in _SEAMS:
        if problem := seam.problem():
            LOG.warning(
                'If a copy in Ceph is deleted while Glance reads it, the read '
                'does not end with an error, but has zeros: %s',
                problem,
            )
        else:
            wrapt.wrap_function_wrapper(seam.module, seam.name, wrapper)
