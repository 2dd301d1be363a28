"""A paste filter for glance-api.

It acts on `X-OpenStack-Base-Image-Ref`, reads one copy of an image, and
watches what Glance reads.
"""

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
from oslo_utils import strutils
import webob
import webob.exc

from nova_multistore import selection
from nova_multistore import stores
from nova_multistore import uwsgi
from nova_multistore.glance import read_copy
from nova_multistore.glance import readers

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

CONF = cfg.CONF
LOG = logging.getLogger(__name__)

# The names of the headers in a WSGI environment.
_BASE_IMAGE_REF, _STORE = (
    f'HTTP_{header.upper().replace("-", "_")}'
    for header in (selection.BASE_IMAGE_REF_HEADER, selection.STORE_HEADER)
)
# The path after Glance's version negotiation, whatever the client sent.
_UPLOAD = re.compile(r'/v2/images/([0-9a-fA-F-]{36})/file')
# How many characters of an invalid header are logged.
_QUOTED = 64
# How many digests a process computes at a time. Each takes one core.
_DIGESTS = 2


class BaseImageFilter:
    """Sends the data of an image to a store that has its base image.

    It also answers a request for the copy in one store, unless the operator
    has switched that off.

    In the pipeline it comes after Glance's own `context`, which says whose
    request it is.

    :param application: what follows in the pipeline
    :param reads_copies: whether it answers requests for one copy
    :param digests: how many digests of copies it computes at a time
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        reads_copies: bool,
        digests: int,
    ) -> None:
        self._application = application
        self._images = images.ImagesController()
        self._info = discovery.InfoController()
        self._reader = read_copy.Reader(digests) if reads_copies else None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Pass the request on; add a store to an upload with a base image.

        The answer names the base image that decided, or says that the filter
        could not look it up.
        """
        base = None
        if (
            self._reader
            and environ['REQUEST_METHOD'] == 'GET'
            and (path := read_copy.PATH.fullmatch(environ['PATH_INFO']))
            # Glance refuses an unknown user, as without the filter.
            and _knows_user(environ)
        ):
            return self._reader(environ, start_response, path[1], path[2])
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
        """Add the store to a request that names a base image and no store.

        :returns: UUID of the base image, :data:`.selection.NOT_LOOKED_UP`,
            or None if the request is not changed
        """
        value = environ.get(_BASE_IMAGE_REF)
        if value is None or _STORE in environ:
            return None
        facts = selection.Facts(
            operation=selection.Operation.OTHER, image_ref=value
        )
        # Python accepts more spellings of a UUID than Glance does.
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
            return selection.NOT_LOOKED_UP
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
        """Ask Glance's own controllers, as the user who sends the data.

        They answer as to `GET /v2/info/stores` and `GET /v2/images/{id}`: an
        image that the user may not see does not exist.

        :raises Exception: they fail, or do not know the user
        """
        if not _knows_user(environ):
            raise LookupError(
                'the filter does not stand behind `context` in the pipeline'
            )
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


def _knows_user(environ: dict[str, Any]) -> bool:
    """Tell whether Glance's `context` has said whose request it is."""
    return getattr(webob.Request(environ), 'context', None) is not None


def _catalogue(listed: object) -> stores.Catalogue:
    """Read Glance's list; a store that takes no data counts as read-only."""
    return stores.Catalogue(
        tuple(
            dataclasses.replace(
                store, read_only=store.read_only or not _takes_data(store.id)
            )
            for store in stores.parse(listed).stores
        )
    )


def _takes_data(store_id: str) -> bool:
    """Tell whether Glance could set up a store for writing.

    If it could not, it still lists the store, and refuses the data
    (`glance_store.capabilities.check`).
    """
    kind = CONF.enabled_backends[store_id]
    entry = location.SCHEME_TO_CLS_BACKEND_MAP.get(kind, {}).get(store_id)
    return entry is not None and entry['store'].is_capable(
        capabilities.BitMasks.WRITE_ACCESS
    )


def _send_deltas(wanted: frozenset[str]) -> None:
    """Have copies to stores send only what differs.

    :raises ValueError: one of them is not a store in Ceph
    :raises ImportError: xxhash, or Ceph's bindings, are not installed
    """
    there = {
        name for name, kind in CONF.enabled_backends.items() if kind == 'rbd'
    }
    if unknown := wanted - there:
        raise ValueError(
            f'delta_stores has {", ".join(sorted(unknown))}, and the stores '
            f'in Ceph are {", ".join(sorted(there)) or "none"}'
        )
    # Others need neither of its libraries.
    from nova_multistore.glance import delta_add

    delta_add.apply(wanted)


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[..., Any]:
    """Make the filter for paste.

    :param local_conf: `read_one_copy`, false if the filter is not to answer
        with one copy of an image; `digests`, how many digests of copies a
        process computes at a time, 0 for none at all; `delta_stores`, the ids
        of stores in Ceph to which only what differs is sent, with commas
        between them
    :returns: a function that wraps an application; if Glance does not have
        several stores, it returns the application itself
    :raises ValueError: `read_one_copy` is neither true nor false, or `digests`
        is not a number, or one of `delta_stores` is not a store in Ceph
    :raises ImportError: delta copies need what is not installed
    """
    reads_copies = strutils.bool_from_string(
        local_conf.get('read_one_copy', 'true'), strict=True
    )
    digests = int(local_conf.get('digests', _DIGESTS))
    if digests < 0:
        raise ValueError(f'digests is {digests}, and must be 0 or more')

    names = local_conf.get('delta_stores', '').split(',')
    delta_stores = frozenset(name.strip() for name in names) - {''}

    def make(application: Callable[..., Iterable[bytes]]) -> Any:
        if not CONF.enabled_backends:
            return application
        uwsgi.check(
            'glance-api', 'copies and imports of images do not go on then'
        )
        readers.apply()
        if delta_stores:
            _send_deltas(delta_stores)
        return BaseImageFilter(application, reads_copies, digests)

    return make
