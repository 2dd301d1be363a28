"""Reads of a copy that is deleted meanwhile.

Ceph answers reads of a removed image with zeros, and without an error, if the
image was opened read-only, as glance_store does since 5.4 (2026.1). So the
last part of what Glance reads is held back until it is certain that the copy
is still there. This covers downloads, and what Glance itself reads: for a copy
to another store, for a hash, and for its image cache.
"""

from __future__ import annotations

import contextlib
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

    Because of its first base class, Glance's image cache ends a download with
    an error. Because of the second, a copy or a hash goes on with another
    store.
    """


class OtherLength(Exception):
    """Raised if data are not as long as was announced."""


def watched(
    image_id: str,
    location: Mapping[str, Any],
    data: Iterable[bytes],
    length: int | None = None,
) -> Iterable[bytes]:
    """Return data; the last part only if the copy is still there.

    Ceph is asked first: Glance deletes from its database last, which may be
    minutes later. Then the database is asked: a copy that was made again is
    there for Ceph, but not for the database.

    :param image_id: the image's UUID
    :param location: the location of the copy, as Glance's images have it
    :param data: what the store returned
    :param length: how long they are to be, in bytes; None if that is not
        checked
    :returns: the data; reading them may raise :class:`CopyDeleted`, or
        :class:`OtherLength`
    """
    kind = CONF.enabled_backends.get(_store(location))
    see = functools.partial(_see, image_id, location)
    if kind == 'rbd':
        data = _asking_ceph(data, see)
    if length is not None:
        data = _exactly(data, length, image_id, _store(location))
    if kind not in _LASTING:
        return held_back(
            data, lambda: see(lambda: _is_in_database(image_id, location))
        )
    return data if length is None else held_back(data)


def held_back(
    data: Iterable[bytes], see: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Return data; the last part only if there is no error.

    :param data: the data; reading them may end with an error
    :param see: called at the end of the data; it may raise an error, too
    """
    iterator = iter(data)
    held = b''
    try:
        for piece in iterator:
            # An empty part must not release the part that is held.
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


def _exactly(
    data: Iterable[bytes], length: int, image_id: str, store: str | None
) -> Iterator[bytes]:
    """Return data, and make sure that they have a certain length.

    :param data: the data
    :param length: how long they are to be, in bytes
    :param image_id: the image's UUID
    :param store: store id
    :raises OtherLength: while they are read, if they have another length
    """
    received = 0
    for piece in data:
        received += len(piece)
        if received > length:
            break
        yield piece
    if received != length:
        found = 'more' if received > length else f'only {received} bytes'
        message = (
            f'Image {image_id} was not read from store {store}: {length} '
            f'bytes were announced, and the store sent {found}'
        )
        LOG.warning('%s', message)
        raise OtherLength(message)


def _store(location: Mapping[str, Any]) -> str | None:
    """Return the id of the store of a location."""
    store: str | None = location['metadata'].get('store')
    return store


def _see(
    image_id: str, location: Mapping[str, Any], is_there: Callable[[], bool]
) -> None:
    """Check that a copy is still there, after it was read.

    If the question gets no answer, the copy counts as there: Glance alone does
    not ask.

    :raises CopyDeleted: the copy was deleted
    """
    values = {'image': image_id, 'store': _store(location)}
    try:
        if is_there():
            return
    except Exception as exc:
        LOG.warning(
            'Image %(image)s was read from store %(store)s; it is not known '
            'whether that copy was deleted meanwhile: %(error)r',
            {**values, 'error': exc},
        )
        return
    message = (
        'Image %(image)s was deleted from store %(store)s while it was read: '
        'the read ends with an error, as its data may be wrong'
    )
    LOG.warning(message, values)
    raise CopyDeleted(message % values)


class _Rbd:
    """A store of type rbd, for one read. At its end, Ceph is asked."""

    def __init__(self, store: Any, ask: Callable[[Any], None]) -> None:
        self._store = store
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextlib.contextmanager
    def get_connection(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self._store.get_connection(*args, **kwargs) as connection:
            yield connection
            # On the same connection: a new one takes longer than the question.
            self._ask(connection)


def _asking_ceph(
    data: Iterable[bytes], see: Callable[[Callable[[], bool]], None]
) -> Iterable[bytes]:
    """Return data that, once they were read, ask Ceph for their image.

    :param data: what the store returned
    :param see: called with the function that asks
    """
    # Glance has loaded the driver, as it has such a store.
    from glance_store._drivers import rbd

    if not isinstance(data, rbd.ImageIterator):
        return data

    def is_in_pool(connection: Any) -> bool:
        try:
            with (
                connection.open_ioctx(data.pool) as pool,
                rbd.rbd.Image(
                    pool, data.name, snapshot=data.snapshot, read_only=True
                ),
            ):
                return True
        except rbd.rbd.ImageNotFound:
            return False

    asking: Any = copy.copy(data)
    asking.store = _Rbd(
        data.store, lambda connection: see(lambda: is_in_pool(connection))
    )
    read: Iterable[bytes] = asking
    return read


def _is_in_database(image_id: str, location: Mapping[str, Any]) -> bool:
    """Tell whether an image still has a location.

    If the location was deleted and made again, it has another id.
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


_RBD = Seam(
    'glance_store._drivers.rbd',
    'ImageIterator.__init__',
    ('self', 'pool', 'name', 'snapshot', 'store', 'chunk_size'),
)
_WRAPPED = (
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
    """Wrap the functions with which Glance reads, once in a process.

    A function that is not as expected is not wrapped: Glance starts, and its
    log says so.
    """
    for seam, wrapper in _WRAPPED:
        if not _differs(seam):
            wrapt.wrap_function_wrapper(seam.module, seam.name, wrapper)
    if 'rbd' in CONF.enabled_backends.values():
        _differs(_RBD)


def _differs(seam: Seam) -> bool:
    """Tell, and log, whether a part of Glance is not as expected."""
    problem = seam.problem()
    if problem:
        LOG.warning(
            'If a copy in Ceph is deleted while Glance reads it, the read may '
            'end without an error, and have zeros: %s',
            problem,
        )
    return bool(problem)
