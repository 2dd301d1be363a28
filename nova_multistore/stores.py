"""The catalogue: the stores that Glance lists, parsed and cached."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING
import urllib.parse

from nova_multistore import bounded
from nova_multistore import exception

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a catalogue is good for, in seconds.
FRESH = 300.0
#: How long a failure to read it is remembered, in seconds.
FAILED = 30.0
#: How long Glance may take to answer, in seconds.
TIMEOUT = 10.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a store keeps its images."""

    #: Type of the store, such as ``rbd``.
    type: str
    #: Id of the Ceph cluster; None if it is not known, or none.
    fsid: str | None = None
    #: Pool in that cluster.
    pool: str | None = None


@dataclasses.dataclass(frozen=True)
class Store:
    """One store of Glance."""

    id: str
    default: bool = False
    read_only: bool = False
    #: None if Glance did not say.
    place: Place | None = None


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The stores of one Glance, in its order.

    It is empty where Glance does not have several stores.
    """

    stores: tuple[Store, ...] = ()

    @property
    def writable(self) -> tuple[str, ...]:
        """Ids of the stores that take data."""
        return tuple(s.id for s in self.stores if not s.read_only)

    @property
    def default(self) -> str | None:
        """Id of the default store, None if Glance names none."""
        return next((s.id for s in self.stores if s.default), None)

    @property
    def places(self) -> dict[str, Place]:
        """Where the stores keep their images, by store id; what is known."""
        return {s.id: s.place for s in self.stores if s.place}

    def check_writable(self, store: str) -> None:
        """Make sure that a store takes data.

        :param store: store id
        :raises UnknownStore: it is not in the catalogue
        :raises ReadOnlyStore: it is, as read-only
        """
        if store in self.writable:
            return
        if any(s.id == store for s in self.stores):
            raise exception.ReadOnlyStore(store, self.writable)
        raise exception.UnknownStore(store, self.writable)


def parse(body: object) -> Catalogue:
    """Read the answer to ``GET /v2/info/stores``, or to that with ``/detail``.

    Glance gives ``{"stores": [{"id", "description", "default",
    "read-only"}]}``; the flags are the string "true", or absent. The details
    have "type" and "properties" besides, those of type rbd with "fsid" and
    "pool" (``glance.api.v2.discovery.InfoController``).

    :param body: the decoded JSON
    :returns: the catalogue
    :raises LookupFailed: it has another form
    """
    entries = body.get('stores') if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise exception.LookupFailed('the answer holds no list of stores')
    return Catalogue(tuple(_parse_store(entry) for entry in entries))


def _parse_store(entry: object) -> Store:
    if not isinstance(entry, dict) or not _is_id(entry.get('id')):
        raise exception.LookupFailed('the answer lists a store without an id')
    return Store(
        id=entry['id'],
        default=_flag(entry.get('default')),
        read_only=_flag(entry.get('read-only')),
        place=_parse_place(entry.get('type'), entry.get('properties')),
    )


def _parse_place(kind: object, properties: object) -> Place | None:
    if not isinstance(kind, str) or not kind:
        return None
    if kind != 'rbd' or not isinstance(properties, dict):
        return Place(kind)
    fsid, pool = properties.get('fsid'), properties.get('pool')
    if not (_is_id(fsid) and _is_id(pool)):
        return Place(kind)
    return Place(kind, fsid, pool)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _flag(value: object) -> bool:
    return str(value).lower() == 'true'


def of_image(image: object) -> tuple[str, ...]:
    """Read in which stores an image lies.

    :param image: the decoded JSON; its ``stores`` are ids joined by commas
    :returns: store ids, in Glance's order
    :raises LookupFailed: it has another form
    """
    value = image.get('stores', '') if isinstance(image, dict) else None
    if not isinstance(value, str):
        raise exception.LookupFailed(
            'the base image could not be looked up (the answer is no image)'
        )
    return tuple(s.strip() for s in value.split(',') if s.strip())


def places_of_image(image: object) -> dict[str, Place]:
    """Read where its stores keep an image, if its locations are shown.

    :param image: the decoded JSON; its ``locations`` name the store in their
        ``metadata``, its ``direct_url`` is the URL of one of them
    :returns: places by store id; what cannot be read is left out
    :raises LookupFailed: it has another form
    """
    ids = of_image(image)
    assert isinstance(image, dict)
    shown = image.get('locations')
    locations = shown if isinstance(shown, list) else []
    if not locations and len(ids) == 1:
        locations = [
            {'url': image.get('direct_url'), 'metadata': {'store': ids[0]}}
        ]
    found = {}
    for location in locations:
        with contextlib.suppress(AttributeError, KeyError, TypeError):
            found[location['metadata']['store']] = _place(location['url'])
    return found


def _place(url: str) -> Place:
    """Read a location, as Glance's store drivers write them."""
    kind, _, rest = url.partition('://')
    pieces = [urllib.parse.unquote(piece) for piece in rest.split('/')]
    if kind == 'rbd' and len(pieces) == 4:
        fsid, pool, _image, _snapshot = pieces
        return Place(kind, fsid, pool)
    return Place(kind)


class Cache:
    """One catalogue for many threads, fetched by one of them at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetch: _Fetch | None = None

    def get(
        self,
        fetch: Callable[[], Catalogue],
        timeout: float = TIMEOUT,
        stale: Catalogue | None = None,
    ) -> Catalogue:
        """Return the catalogue, fetching it if the last one is too old.

        :param fetch: asks Glance; called in a thread of its own. A
            LookupFailed that it raises is remembered for 30 seconds, any
            other exception reaches only those who are waiting now.
        :param timeout: how long to wait for the answer, in seconds
        :param stale: a catalogue that proved wrong: fetch a newer one
        :returns: the catalogue
        :raises LookupFailed: Glance did not answer, now or a moment ago
        """
        with self._lock:
            if self._fetch is None or not self._fetch.usable(stale):
                self._fetch = _Fetch(fetch)
            current = self._fetch
        return current.result(timeout)


class _Fetch:
    """One request for the catalogue, and what came of it."""

    def __init__(self, fetch: Callable[[], Catalogue]) -> None:
        self._time = time.monotonic()
        self._answer = bounded.start(fetch)
        self._answer.add_done_callback(self._done)

    def _done(self, _answer: object) -> None:
        self._time = time.monotonic()

    def usable(self, stale: Catalogue | None) -> bool:
        """Tell whether this is what :meth:`Cache.get` should go by."""
        age = time.monotonic() - self._time
        if not self._answer.done():
            return age < TIMEOUT + FAILED
        error = self._answer.exception()
        if error is None:
            return age < FRESH and self._answer.result() is not stale
        return isinstance(error, exception.LookupFailed) and age < FAILED

    def result(self, timeout: float) -> Catalogue:
        """Wait for the catalogue, as :meth:`Cache.get` says."""
        if not self._answer.done():
            timeout = min(timeout, self._time + TIMEOUT - time.monotonic())
        return bounded.wait(self._answer, timeout)
