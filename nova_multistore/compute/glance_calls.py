"""Nova's requests to Glance that the package changes."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from oslo_log import log as logging

from nova_multistore import lookup
from nova_multistore.compute import download_store
from nova_multistore.compute import properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext

LOG = logging.getLogger(__name__)


def call(
    proceed: Callable[..., Any],
    client: Any,
    /,
    context: RequestContext,
    method: str,
    controller: str | None = None,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    **_rest: Any,
) -> Any:
    """Change Nova's requests for an image: updates, downloads, deletions.

    Wraps ``nova.image.glance.GlanceClientWrapper.call``.

    :returns: what Glance answers
    """
    if controller is None:
        if method == 'update' and kwargs and not args:
            return properties.update(proceed, kwargs)
        if method == 'data' and args and not kwargs:
            download = functools.partial(
                download_store.download, proceed, context, *args
            )
            return _insist(download, client, context, *args)
        if method == 'delete' and args and not kwargs:
            return _insist(proceed, client, context, *args)
    return proceed()


def _insist(
    request: Callable[[], Any],
    client: Any,
    context: RequestContext,
    image_id: str,
) -> Any:
    """Read or delete the data of an image, by whichever API server can.

    A server that does not have the store of the image answers 500. Another
    one, behind the same URL, may have it.

    :param request: sends the request
    :param client: Nova's client
    :param context: whose token is sent
    :param image_id: the image's UUID
    """
    number = 0
    while True:
        began = time.monotonic()
        try:
            return request()
        except glanceclient.exc.HTTPInternalServerError as exc:
            number += 1
            late = time.monotonic() - began > lookup.SHORT
            if late or number == lookup.ROUNDS:
                raise
            LOG.info('Image %s: Glance is asked again (%s)', image_id, exc)
        lookup.pass_on(context, client, image_id, number)
