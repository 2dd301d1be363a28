"""The data of an image as one store has them.

Glance's own download falls back to another store, so it does not prove that
a store has an image whole. `GET /v2/stores/{store}/{image}` does; Glance
itself has that path for `DELETE` alone. With `?digest={algorithm}` the answer
is the digest of the data.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from typing import Any

from glance import notifier
from glance.api.v2 import image_data
from glance.api.v2 import policy
import glance_store
from oslo_config import cfg
from oslo_log import log as logging
import webob
import webob.exc

from nova_multistore.glance import hashing
from nova_multistore.glance import readers

if TYPE_CHECKING:
    from collections.abc import Iterable

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# Types of stores that know how long a copy is, even if it is empty. Some of
# the others say 0 if their server does not tell the length.
_EXACT = ('cinder', 'file', 'rbd', 's3')
#: The path after Glance's version negotiation, whatever the client sent.
PATH = re.compile(r'/v2/stores/([^/]+)/([0-9a-fA-F-]{36})')


class Reader:
    """Answers with what a store has of an image, or with an error.

    :param digests: how many digests this process computes at a time
    """

    def __init__(self, digests: int) -> None:
        self._hashing = hashing.Hashing(digests)
        self._controller = image_data.ImageDataController()

    def __call__(
        self,
        environ: dict[str, Any],
        start_response: Any,
        store: str,
        image_id: str,
    ) -> Iterable[bytes]:
        """Answer a request.

        :param store: the store's id, as the user wrote it
        :param image_id: the image's UUID
        """
        answer: webob.Response
        try:
            answer = self._read(webob.Request(environ), store, image_id)
        except webob.exc.HTTPException as exc:
            answer = exc
        body: Iterable[bytes] = answer(environ, start_response)
        return body

    def _read(
        self, request: webob.Request, store: str, image_id: str
    ) -> webob.Response:
        """Return the data, as the answer to `GET /v2/images/{id}/file`.

        Or return the digest, if that is asked for.

        :raises webob.exc.HTTPException: the user may not read them, or the
            store does not have them (404), lost them (410), or fails
            (503), or nobody knows their length (409), or this process
            computes as many digests as it may (429)
        """
        image, place = self._find(request, store, image_id)
        hashed = self._hashing.wanted(request)
        with contextlib.ExitStack() as held:
            if hashed:
                self._hashing.take(held)
            data, length = self._open(request.context, image, place)
            if hashed:
                return hashing.answer(
                    data, hashed, image_id, store, held.pop_all()
                )
        return webob.Response(
            app_iter=data,
            content_length=length,
            content_type='application/octet-stream',
        )

    def _find(
        self, request: webob.Request, store: str, image_id: str
    ) -> tuple[Any, Any]:
        """Return an image that the user may read, and its location.

        :raises webob.exc.HTTPException: the user may not, or the image is not
            in the store
        """
        missing = webob.exc.HTTPNotFound(
            f"image {image_id} is not in a store '{store}' of this Glance"
        )
        if store not in CONF.enabled_backends:
            raise missing
        # Glance's own code decides who may read an image. It is not told the
        # store: otherwise it would put the locations in another order, and
        # check the quotas of the reader for that.
        image = self._controller.download(request, image_id)
        self._check_choice(request.context, image)
        for place in image.locations:
            if place['metadata'].get('store') == store:
                return image, place
        raise missing

    def _open(
        self, context: Any, image: Any, place: Any
    ) -> tuple[Iterable[bytes], int]:
        """Return what a store has, and how long it is, in bytes.

        :param place: the location of the copy
        :raises webob.exc.HTTPException: the store lost it, or fails, or nobody
            knows its length
        """
        store = place['metadata']['store']
        try:
            data, size = glance_store.get(place['url'], store, context=context)
        except glance_store.NotFound as exc:
            raise webob.exc.HTTPGone(
                f"store '{store}' does not have the data of image "
                f'{image.image_id}'
            ) from exc
        except Exception as exc:
            LOG.exception(
                'Image %(image)s cannot be read from store %(store)s',
                {'image': image.image_id, 'store': store},
            )
            raise webob.exc.HTTPServiceUnavailable(
                f"store '{store}' cannot be read"
            ) from exc
        length = size
        if not size and CONF.enabled_backends[store] not in _EXACT:
            length = image.size
            if not length:
                # Not 503: after that, a client may try again.
                raise webob.exc.HTTPConflict(
                    f"store '{store}' does not say how long the data are, "
                    f'and image {image.image_id} has no size'
                )
        data = readers.watched(image.image_id, place, data, length)
        return self._notifying(context, image, data, length), length

    def _check_choice(self, context: Any, image: Any) -> None:
        """Make sure that the user may choose the store.

        Since 2026.1, Glance has a policy for that.

        :raises webob.exc.HTTPForbidden: the user may not
        """
        checks = policy.ImageAPIPolicy(context, image, self._controller.policy)
        if hasattr(checks, 'download_from_store'):
            checks.download_from_store()

    def _notifying(
        self, context: Any, image: Any, data: Iterable[bytes], length: int
    ) -> Iterable[bytes]:
        """Return data; after them, Glance notifies as for a download.

        :param length: how long they are to be, in bytes
        """
        proxy = notifier.ImageProxy(
            image, context, self._controller.gateway.notifier
        )
        told: Iterable[bytes] = proxy._get_chunk_data_iterator(data, length)
        return told
