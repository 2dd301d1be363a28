"""The catalogue: the stores that Glance lists, read and cached."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING
import urllib.parse

from nova_multistore import exception
from nova_multistore import timed_calls

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a catalogue is used without asking again, in seconds.
FRESH = 300.0
#: How long it is used if Glance does not give a newer one, in seconds.
KEPT = 3600.0
#: How long nobody asks again after a failure, in seconds.
FAILED = 30.0
#: The shortest time between two questions by callers that miss a store in the
#: catalogue, in seconds.
REFRESH = 2.0
#: How long Glance may take to answer, in seconds.
TIMEOUT = 10.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a store keeps its images."""

    #: Type of the store, such as ``rbd``.
    type: str
    #: Id of its Ceph cluster; None if that is not known, or there is none.
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
    description: str = ''
    #: Glance reads from the store with the highest weight first. None if
    #: Glance did not say.
    weight: int | None = None


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The stores of one Glance, in its order.

    It is empty where Glance does not have several stores.
    """

    stores: tuple[Store, ...] = ()
    #: Whether Glance has not said where the stores are, but may say so soon.
    #: False if Glance has said so, or refuses to.
    unsettled: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all stores."""
        return tuple(s.id for s in self.stores)

    @property
    def writable(self) -> tuple[str, ...]:
        """Ids of the stores that can be written to."""
        return tuple(s.id for s in self.stores if not s.read_only)

    @property
    def default(self) -> str | None:
        """Id of the default store, None if Glance names none."""
        return next((s.id for s in self.stores if s.default), None)

    @property
    def places(self) -> dict[str, Place]:
        """Where stores keep their images, by store id, as far as known."""
        return {s.id: s.place for s in self.stores if s.place}

    def named(self, store: str) -> Store:
        """Return a store; of one that only another Glance has, just its id.

        :param store: store id
        """
        return next((s for s in self.stores if s.id == store), Store(store))

    def foreign(self, image: object) -> tuple[str, ...]:
        """Return the stores of an image if this Glance has none of them.

        Then this Glance cannot read the image.

        :param image: the decoded JSON
        :returns: store ids; none if this Glance has one of them, or does not
            say where the image is
        :raises LookupFailed: the JSON has another form
        """
        present = of_image(image)
        if not self.stores or set(present) & set(self.ids):
            return ()
        return present

    def unreadable(self, image: object) -> str:
        """Return why this Glance cannot read an image, in words.

        :param image: the decoded JSON
        :returns: empty if it can, or does not say where the image is
        :raises LookupFailed: the JSON has another form
        """
        alone = ', '.join(self.foreign(image))
        return alone and (
            f'it is in {alone} alone, which this Glance does not have'
        )

    def after(self, earlier: Catalogue | None) -> Catalogue:
        """Fill in places from an earlier catalogue, if this one is unsettled.

        :param earlier: the one before, if there was one
        """
        if not self.unsettled or earlier is None:
            return self
        places = earlier.places
        return dataclasses.replace(
            self,
            stores=tuple(
                dataclasses.replace(s, place=s.place or places.get(s.id))
                for s in self.stores
            ),
        )

    def check_writable(self, store: str) -> None:
        """Make sure that a store can be written to.

        :param store: store id
        :raises UnknownStore: it is not in the catalogue
        :raises ReadOnlyStore: the catalogue marks it as read-only
        """
        if store in self.writable:
            return
        if store in self.ids:
            raise exception.ReadOnlyStore(store, self.writable)
        raise exception.UnknownStore(store, self.writable)


def parse(body: object) -> Catalogue:
    """Read the answer to ``GET /v2/info/stores``, with or without ``/detail``.

    Glance gives ``{"stores": [{"id", "description", "default",
    "read-only"}]}``; the flags are the string "true", or absent. The details
    have "type", "weight" and "properties" besides, those of type rbd with
    "fsid" and "pool" (``glance.api.v2.discovery.InfoController``).

    :param body: the decoded JSON
    :returns: the catalogue
    :raises LookupFailed: the JSON has another form
    """
    entries = body.get('stores') if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise exception.LookupFailed('the answer holds no list of stores')
    return Catalogue(tuple(_parse_store(entry) for entry in entries))


def _parse_store(entry: object) -> Store:
    if not isinstance(entry, dict) or not _is_id(entry.get('id')):
        raise exception.LookupFailed('the answer lists a store without an id')
    weight = entry.get('weight')
    return Store(
        id=entry['id'],
        default=_flag(entry.get('default')),
        read_only=_flag(entry.get('read-only')),
        place=_parse_place(entry.get('type'), entry.get('properties')),
        description=str(entry.get('description') or ''),
        weight=weight if isinstance(weight, int) else None,
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
    """Read which stores have an image.

    :param image: the decoded JSON; its ``stores`` are ids joined by commas
    :returns: store ids, in Glance's order
    :raises LookupFailed: the JSON has another form
    """
    value = image.get('stores', '') if isinstance(image, dict) else None
    if not isinstance(value, str):
        raise exception.LookupFailed('the answer is not an image')
    return split(value)


def split(value: object) -> tuple[str, ...]:
    """Read a list of stores.

    :param value: store ids joined by commas; anything else is no store
    :returns: store ids
    """
    text = value if isinstance(value, str) else ''
    return tuple(s.strip() for s in text.split(',') if s.strip())


def places_of_image(image: object) -> dict[str, Place]:
    """Read where stores keep an image, if Glance shows its locations.

    :param image: the decoded JSON; its ``locations`` name the store in their
        ``metadata``, its ``direct_url`` is the URL of one of them
    :returns: places by store id, without those that cannot be read
    :raises LookupFailed: the JSON has another form
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
    """Read the URL of a location, as Glance's store drivers write it."""
    kind, _, rest = url.partition('://')
    pieces = [urllib.parse.unquote(piece) for piece in rest.split('/')]
    if kind == 'rbd' and len(pieces) == 4:
        fsid, pool, _image, _snapshot = pieces
        return Place(kind, fsid, pool)
    return Place(kind)


class Cache:
    """One catalogue for many threads. Only one of them asks at a time.

    The last good catalogue is used until a newer one has arrived. An error
    that concerns one caller is raised for that caller alone.

    :param failed: how long nobody asks again after a failure if there is no
        good catalogue to use instead, in seconds
    """

    def __init__(self, failed: float = FAILED) -> None:
        self._lock = threading.Lock()
        self._failed = failed
        #: The last question, answered or not.
        self._question: _Question | None = None
        #: The last good catalogue; when it was asked for, and when it came.
        self._good: Catalogue | None = None
        self._asked = self._arrived = 0.0

    def get(
        self,
        fetch: Callable[[], Catalogue],
        timeout: float = TIMEOUT,
        stale: Catalogue | None = None,
        patient: bool = True,
    ) -> Catalogue:
        """Return the catalogue, asking for it if the last one is too old.

        :param fetch: asks Glance; called in a thread of its own. If it
            raises a LookupFailed, no caller asks again for a while. Any
            other error, and an AuthenticationFailed, concerns this caller
            alone.
        :param timeout: how long to wait for the answer, in seconds
        :param stale: a catalogue in which the caller misses something: get a
            newer one, after a pause if ``stale`` was asked for a moment ago
        :param patient: whether the caller can wait for that pause. If not, a
            catalogue that was asked for a moment ago is new enough.
        :returns: the catalogue
        :raises LookupFailed: Glance does not answer, now or a moment ago, and
            the last good one is older than an hour or is ``stale``
        :raises Exception: what ``fetch`` raised, in the same case
        """
        deadline = time.monotonic() + timeout
        before = self._question
        let_down = 0
        while True:
            with self._lock:
                if self._good and self._is_fresh(stale):
                    return self._good
                if self._good and not patient and self._is_new():
                    return self._good
                question, wait = self._question, 0.0
                kept = self._good and self._is_kept(stale)
                own = (
                    question is None
                    or let_down > 1
                    or not question.serves(
                        stale, before, FAILED if kept else self._failed
                    )
                )
                if question is None:
                    question = self._ask(fetch, stale)
                elif own:
                    if stale is not None:
                        wait = question.turn - time.monotonic()
                    if wait <= 0:
                        question = self._ask(fetch, stale)
            if wait > 0:
                if not patient or time.monotonic() + wait > deadline:
                    raise exception.LookupFailed(
                        'Glance was asked a moment ago'
                    )
                time.sleep(wait)
                continue
            try:
                return question.answer(deadline)
            except Exception as exc:
                with self._lock:
                    if self._good and self._is_kept(stale):
                        return self._good
                if own or not _concerns_caller(exc):
                    raise
                # Callers without rights may ask again and again. This caller
                # does not wait for them a third time.
                let_down += 1

    def _age(self) -> float:
        return time.monotonic() - self._arrived

    def _is_fresh(self, stale: Catalogue | None) -> bool:
        settled = self._good and not self._good.unsettled
        limit = FRESH if settled else FAILED
        return self._good is not stale and self._age() < limit

    def _is_new(self) -> bool:
        return time.monotonic() - self._asked < REFRESH

    def _is_kept(self, stale: Catalogue | None) -> bool:
        return self._good is not stale and self._age() < KEPT

    def _ask(
        self, fetch: Callable[[], Catalogue], stale: Catalogue | None
    ) -> _Question:
        began = time.monotonic()

        def ask() -> Catalogue:
            found = fetch()
            with self._lock:
                # A slow answer may come after a newer one.
                if self._good is None or began >= self._asked:
                    self._good = found.after(self._good)
                    self._asked, self._arrived = began, time.monotonic()
                return self._good

        self._question = _Question(ask, began, stale is not None)
        return self._question


def _concerns_caller(error: BaseException) -> bool:
    """Tell whether another caller may get an answer nevertheless."""
    return isinstance(error, exception.AuthenticationFailed) or not isinstance(
        error, exception.LookupFailed
    )


class _Question:
    """One request for the catalogue, and its answer.

    :param ask: sends the request
    :param began: when the request is sent, on the monotonic clock
    :param refresh: whether the caller misses something in the last catalogue
    """

    def __init__(
        self, ask: Callable[[], Catalogue], began: float, refresh: bool
    ) -> None:
        self._began = self._ended = began
        self._refresh = refresh
        self._answer = timed_calls.start(ask)
        self._answer.add_done_callback(self._done)

    def _done(self, _answer: object) -> None:
        self._ended = time.monotonic()

    @property
    def _denied(self) -> bool:
        """Whether the caller who asked was refused an answer."""
        if not self._answer.done():
            return False
        error = self._answer.exception()
        return error is not None and _concerns_caller(error)

    @property
    def turn(self) -> float:
        """When the next caller that misses something may ask.

        A caller who is refused does not make others wait.
        """
        waits = self._refresh and not self._denied
        return self._began + (REFRESH if waits else 0.0)

    def serves(
        self,
        stale: Catalogue | None,
        before: _Question | None,
        silence: float,
    ) -> bool:
        """Tell whether a caller can use the answer, or the failure.

        This is asked if the last good catalogue is too old for the caller, or
        wrong.

        :param stale: the catalogue that is wrong
        :param before: the last question when the caller came
        :param silence: how long nobody asks again after a failure
        """
        if not self._answer.done():
            return time.monotonic() - self._began < TIMEOUT + FAILED
        if self._denied:
            return False
        if stale is not None:
            return self is not before
        failed = self._answer.exception() is not None
        return failed and time.monotonic() - self._ended < silence

    def answer(self, deadline: float) -> Catalogue:
        """Wait for the catalogue.

        :param deadline: on the monotonic clock
        :raises Exception: as :meth:`Cache.get` says
        """
        if not self._answer.done():
            deadline = min(deadline, self._began + TIMEOUT)
        return timed_calls.wait(self._answer, deadline - time.monotonic())
