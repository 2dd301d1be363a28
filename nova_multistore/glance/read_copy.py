"""The data of an image as one store has them.

Glance's own download falls back to another store, so it does not prove that
a store has an image whole. `GET /v2/stores/{store}/{image}` does; Glance
itself has that path for `DELETE` alone.
"""

from __future__ import annotations

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
    """Answers with what a store has of an image, or with an error."""

    def __init__(self) -> None:
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

        :raises webob.exc.HTTPException: the user may not read them, or the
            store does not have them (404), lost them (410), or fails
            (503), or nobody knows their length (409)
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
        places = [
            place
            for place in image.locations
            if place['metadata'].get('store') == store
        ]
        if not places:
            raise missing
        try:
            data, size = glance_store.get(
                places[0]['url'], store, context=request.context
            )
        except glance_store.NotFound as exc:
            raise webob.exc.HTTPGone(
                f"store '{store}' does not have the data of image {image_id}"
            ) from exc
        except Exception as exc:
            LOG.exception(
                'Image %(image)s cannot be read from store %(store)s',
                {'image': image_id, 'store': store},
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
                    f'and image {image_id} has no size'
                )
        data = readers.watched(image_id, places[0], data, length)
        return webob.Response(
            app_iter=self._notifying(request.context, image, data, length),
            content_length=length,
            content_type='application/octet-stream',
        )

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
