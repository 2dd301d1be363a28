"""Downloads of images whose copies may be deleted or damaged.

Ceph answers reads of what was deleted with zeros, and without an error. The
hash shows that, if Glance had one when the download began. A copy that is
damaged in the store that nova-compute prefers may be whole in another one.
"""

from __future__ import annotations

import contextlib
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import lookup
from nova_multistore import stores
from nova_multistore.compute import download_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova.context import RequestContext

LOG = logging.getLogger(__name__)

#: How often an image is read.
TRIES = 3
# The pause between the first two questions, in seconds.
_PAUSE = 0.1


def download(
    proceed: Callable[..., Any],
    service: Any,
    /,
    context: RequestContext,
    image_id: str,
    data: Any = None,
    dst_path: str | None = None,
    **_rest: Any,
) -> Any:
    """Download an image, and again if a copy is of no use.

    Such a copy was deleted meanwhile, or is damaged in the preferred store.

    Wraps ``nova.image.glance.GlanceImageServiceV2.download``.

    :returns: what Nova's own code returns
    :raises nova.exception.GlanceConnectionFailed: a copy was deleted during
        each try
    """
    reading = _Reading(service, context, image_id)
    before = reading.look_before()
    if data is None and dst_path is None:
        # The caller reads it.
        found = proceed()
        if reading.is_at_risk(before, dst_path):
            return reading.guard(found, before)
        return found
    with download_store.preferring(image_id) as preference:
        return _read(proceed, reading, before, data, dst_path, preference)


def _read(
    proceed: Callable[..., Any],
    reading: _Reading,
    before: dict[str, Any] | None,
    data: Any,
    dst_path: str | None,
    preference: download_store.Preference,
) -> Any:
    """Download an image to a file, as often as it makes sense."""
    at_risk = reading.is_at_risk(before, dst_path)
    begin = data.tell() if data is not None and data.seekable() else None
    for number in range(1, TRIES + 1):
        gone: set[str] = set()
        try:
            result = proceed()
        except Exception as exc:
            # The data have another hash, or the connection was broken off.
            after = reading.look() if before else None
            gone = reading.gone(before, after)
            again = number < TRIES and (data is None or begin is not None)
            if not gone and not (again and preference.give_up(exc)):
                raise
        else:
            after = reading.look() if at_risk else before
            gone = reading.gone(before, after)
            if not gone:
                if after is None and at_risk:
                    reading.warn_unknown()
                return result
        if gone:
            reading.warn(gone)
        if data is not None:
            if begin is None:
                break
            data.seek(begin)
            data.truncate()
        elif dst_path is not None:
            # Ceph's own export does not replace a file.
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path(dst_path).unlink()
        before = after
    raise reading.failure()


class _Reading:
    """The download of one image.

    :param service: Nova's image service
    :param context: whose token is sent
    :param image_id: the image's UUID
    """

    def __init__(
        self, service: Any, context: RequestContext, image_id: str
    ) -> None:
        self._service = service
        self._context = context
        self._image_id = image_id

    def look_before(self) -> dict[str, Any] | None:
        """Return the image, None if Glance does not say soon."""
        try:
            return lookup.show(
                self._context,
                self._image_id,
                stores.TIMEOUT,
                self._service._client,
            )
        except Exception as exc:
            LOG.debug('Image %s: %s', self._image_id, exc)
        return None

    def look(self) -> dict[str, Any] | None:
        """Return the image after it was read, None if Glance does not say."""
        return lookup.outcome(
            self._context,
            self._service._client,
            self._image_id,
            lambda image: False,
            stores.TIMEOUT,
            _PAUSE,
        )

    def is_at_risk(
        self, image: dict[str, Any] | None, path: str | None
    ) -> bool:
        """Tell whether nobody would notice that a copy was deleted.

        :param image: the image before it is read
        :param path: where Nova writes it
        """
        if image is None or not stores.of_image(image):
            return False
        # glanceclient compares the hash. Nova's own read from Ceph does not.
        around = path is not None and bool(self._service._download_handlers)
        return around or not copies.hashes(image)

    def gone(
        self, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> set[str]:
        """Return the stores that the image has left."""
        if before is None or after is None:
            return set()
        return {*stores.of_image(before)} - {*stores.of_image(after)}

    def warn_unknown(self) -> None:
        """Log that it is not known whether a copy was deleted."""
        LOG.warning(
            'Image %s was read. Glance has no hash of it, and does not say '
            'whether the copy was there until the end',
            self._image_id,
        )

    def warn(self, gone: set[str]) -> None:
        """Log that the image is read again."""
        LOG.warning(
            'Image %(image)s was deleted from %(stores)s while it was read; '
            'what was read is thrown away',
            {'image': self._image_id, 'stores': ', '.join(sorted(gone))},
        )

    def failure(self) -> Exception:
        """Return the error for an image that could not be read."""
        error: Exception = nova_exception.GlanceConnectionFailed(
            server=lookup.named(self._service._client),
            reason=f'copies of image {self._image_id} were deleted while it '
            'was read',
        )
        return error

    def guard(self, pieces: Any, before: dict[str, Any] | None) -> Any:
        """Return the data; the last piece only if the copies are there.

        :param pieces: the data
        :param before: the image before it is read
        """

        def guarded() -> Iterator[bytes]:
            last = None
            for piece in pieces:
                if last is not None:
                    yield last
                last = piece
            after = self.look()
            if after is None:
                self.warn_unknown()
            if gone := self.gone(before, after):
                self.warn(gone)
                raise self.failure()
            if last is not None:
                yield last

        return guarded()
