"""The digest of what a store has of an image, instead of the data."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from typing import TYPE_CHECKING
from typing import Any

import webob
import webob.exc

from nova_multistore import digests

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterable


class Hashing:
    """Computes digests, a few at a time.

    :param limit: how many this process computes at the same time; 0 for none
        at all
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = threading.BoundedSemaphore(limit)

    def wanted(self, request: webob.Request) -> Any:
        """Return the hash that a request asks for, before any data.

        :returns: None if the answer to the request is the data, because it
            asks for nothing else, or for a hash that this Python does not have
        """
        try:
            name = request.GET.get(digests.PARAMETER)
            if not self._limit or name not in hashlib.algorithms_available:
                return None
            hashed = hashlib.new(name, usedforsecurity=False)
        except ValueError:
            return None
        # Some have a digest of any length.
        return hashed if hashed.digest_size else None

    def take(self, held: contextlib.ExitStack) -> None:
        """Become one of the few.

        :param held: ends that
        :raises webob.exc.HTTPTooManyRequests: there are as many already
        """
        if not self._free.acquire(blocking=False):
            # With 503, a balancer might take this process for a broken one.
            raise webob.exc.HTTPTooManyRequests(
                f'this process computes {self._limit} digests already',
                headers=[('Retry-After', str(digests.RETRY_AFTER))],
            )
        held.callback(self._free.release)


class Lines:
    """The answer, as a WSGI server reads it, and ends it.

    The server ends it also if the client is gone, which the server sees when
    it sends the next line.

    :param lines: of the answer
    :param held: is closed in the end
    """

    def __init__(
        self, lines: Generator[bytes, None, None], held: contextlib.ExitStack
    ) -> None:
        self._lines = lines
        self._held = held

    def __iter__(self) -> Generator[bytes, None, None]:
        return self._lines

    def close(self) -> None:
        """Stop, wherever it is."""
        with self._held:
            self._lines.close()


def answer(
    data: Iterable[bytes],
    hashed: Any,
    image_id: str,
    store: str,
    held: contextlib.ExitStack,
) -> webob.Response:
    """Return the answer to a request for a digest.

    :param data: what the store has; reading them may end with an error
    :param hashed: a hash without data
    :param image_id: the image's UUID
    :param store: id of the store
    :param held: is closed in the end
    """
    return webob.Response(
        app_iter=Lines(_lines(data, hashed, image_id, store), held),
        headerlist=[
            ('Content-Type', digests.CONTENT_TYPE),
            # What a store had is no answer to what it has.
            ('Cache-Control', 'no-store'),
            # nginx is to send each line at once.
            ('X-Accel-Buffering', 'no'),
        ],
    )


def _lines(
    data: Iterable[bytes], hashed: Any, image_id: str, store: str
) -> Generator[bytes, None, None]:
    """Read data; return how much was read, again and again, and the digest."""
    size = 0
    told = time.monotonic()
    for piece in data:
        hashed.update(piece)
        size += len(piece)
        # Where Glance runs in green threads, the others go on here.
        time.sleep(0)
        if time.monotonic() - told >= digests.INTERVAL:
            yield digests.encode(digests.Progress(size))
            told = time.monotonic()
    yield digests.encode(
        digests.Digest(image_id, store, hashed.name, hashed.hexdigest(), size)
    )
