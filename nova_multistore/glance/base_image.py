"""Glance, made to act on `X-OpenStack-Base-Image-Ref`: a paste filter."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING
from typing import Any

from glance.api.v2 import discovery
from glance.api.v2 import images
from glance_store import capabilities
from glance_store import location
from oslo_config import cfg
from oslo_log import log as logging
import webob
import webob.exc

from nova_multistore import selection
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# As WSGI names them.
_BASE_IMAGE_REF, _STORE = (
    f'HTTP_{header.upper().replace("-", "_")}'
    for header in (selection.BASE_IMAGE_REF_HEADER, selection.STORE_HEADER)
)
# What Glance's version negotiation leaves of the path, whatever was asked.
_UPLOAD = re.compile(r'/v2/images/([0-9a-fA-F-]{36})/file')
# How much of a header that makes no sense is worth logging, in characters.
_QUOTED = 64


class BaseImageFilter:
    """Sends the upload of an image to a store in which its base image lies.

    It belongs behind Glance's own `context`: that tells whose request it is.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._images = images.ImagesController()
        self._info = discovery.InfoController()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Pass the request on, with a store if it is such an upload.

        The answer has the base image that was gone by, whatever came of it.
        """
        base = None
        if environ['REQUEST_METHOD'] == 'PUT' and (
            path := _UPLOAD.fullmatch(environ['PATH_INFO'])
        ):
            base = self._direct(environ, path[1])
        if base is None:
            return self._application(environ, start_response)

        def start(status: str, headers: list[Any], *exc_info: Any) -> Any:
            told = *headers, (selection.BASE_IMAGE_REF_HEADER, base)
            return start_response(status, list(told), *exc_info)

        return self._application(environ, start)

    def _direct(self, environ: dict[str, Any], image_id: str) -> str | None:
        """Name the store, unless the request does or no base image tells.

        :returns: the base image, None if it is not this filter's to go by
        """
        value = environ.get(_BASE_IMAGE_REF)
        if value is None or _STORE in environ:
            return None
        facts = selection.Facts(
            operation=selection.Operation.OTHER, image_ref=value
        )
        # Glance writes its ids in full; Python takes much more for a UUID.
        if facts.base_image_ref != value.lower():
            LOG.warning(
                'Image %(image)s: %(header)s is ignored, as it is not a '
                'UUID: %(value)s',
                {
                    'image': image_id,
                    'header': selection.BASE_IMAGE_REF_HEADER,
                    'value': ascii(value[:_QUOTED]),
                },
            )
            return None
        try:
            selected = selection.select(self._gather(environ, facts))
        except Exception:
            LOG.exception(
                "Image %(image)s goes to Glance's default store, as base "
                'image %(base)s could not be looked up',
                {'image': image_id, 'base': facts.base_image_ref},
            )
            return facts.base_image_ref
        LOG.info(
            'Image %(image)s goes to %(store)s: %(reason)s '
            '[base image %(base)s]',
            {
                'image': image_id,
                'store': f'store {selected.store}'
                if selected.store
                else "Glance's default store",
                'reason': selected.reason,
                'base': selected.base_image_ref,
            },
        )
        if selected.store:
            environ[_STORE] = selected.store
        return facts.base_image_ref

    def _gather(
        self, environ: dict[str, Any], facts: selection.Facts
    ) -> selection.Facts:
        """Ask Glance's own controllers, in the name of who sends the data.

        They answer as they would to `GET /v2/info/stores` and
        `GET /v2/images/{id}`: what the sender may not see does not exist.
        """
        request = webob.Request(environ)
        facts = dataclasses.replace(
            facts, catalogue=_catalogue(self._info.get_stores(request))
        )
        try:
            image = self._images.show(request, facts.base_image_ref)
        except webob.exc.HTTPNotFound:
            return dataclasses.replace(
                facts, unknown='the base image is deleted or not visible'
            )
        found = (place['metadata'].get('store') for place in image.locations)
        return dataclasses.replace(
            facts, base_stores=tuple(store for store in found if store)
        )


def _catalogue(listed: object) -> stores.Catalogue:
    """Read what Glance lists; what it cannot write to counts as read-only."""
    return stores.Catalogue(
        tuple(
            dataclasses.replace(
                store, read_only=store.read_only or not _takes_data(store.id)
            )
            for store in stores.parse(listed).stores
        )
    )


def _takes_data(store_id: str) -> bool:
    """Tell whether Glance could set a store up for writing.

    One that it could not set up it lists all the same, and refuses the data
    (`glance_store.capabilities.check`).
    """
    kind = CONF.enabled_backends[store_id]
    entry = location.SCHEME_TO_CLS_BACKEND_MAP.get(kind, {}).get(store_id)
    return entry is not None and entry['store'].is_capable(
        capabilities.BitMasks.WRITE_ACCESS
    )


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[..., Any]:
    """Make the filter for paste.

    :returns: what puts it in front of an application; where Glance does not
        have several stores, that is the application itself
    """

    def make(application: Callable[..., Iterable[bytes]]) -> Any:
        if not CONF.enabled_backends:
            return application
        return BaseImageFilter(application)

    return make
