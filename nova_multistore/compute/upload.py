"""The upload of an image's data to the store that was selected.

Either Glance has all of the data in the end, or the image is not active.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from nova import exception as nova_exception
from nova import utils
import nova.conf
from oslo_log import log as logging

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore.compute import body
from nova_multistore.compute import ongoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext
    from nova.image.glance import GlanceClientWrapper

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Announces the size of the data, in bytes (``glance.api.v2.image_data``).
SIZE_HEADER = 'x-openstack-image-size'
#: How long Glance is asked what became of an image, in seconds.
SETTLE = 60.0
#: How long to wait before Glance is asked again, in seconds.
PAUSE = 1.0

# Errors that Nova's GlanceClientWrapper.call turns into one that says that
# Glance cannot be reached.
_UNREACHABLE = (
    glanceclient.exc.HTTPServiceUnavailable,
    glanceclient.exc.InvalidEndpoint,
    glanceclient.exc.CommunicationError,
    OSError,
)
# Answers that are not about the store, so that it may take the data next time:
# a gateway whose Glance is away, an image that an earlier try still holds, a
# service token that had expired and was renewed by the question for the image.
_WORTH_A_RETRY = (
    glanceclient.exc.HTTPServiceUnavailable,
    glanceclient.exc.HTTPBadGateway,
    glanceclient.exc.HTTPConflict,
    glanceclient.exc.HTTPUnauthorized,
)
# Statuses of an image whose data are on their way, and of one without data.
_SAVING = ('saving', 'uploading', 'importing')
_INCOMPLETE = ('queued', *_SAVING)
_NO_SELECTION = selection.Selection(None, None, 'it is not a snapshot')


def upload_data(
    proceed: Callable[..., Any],
    service: Any,
    /,
    context: RequestContext,
    image_id: str,
    data: Any,
) -> Any:
    """Send the data, and make sure that Glance has all of it.

    Takes the place of ``nova.image.glance.GlanceImageServiceV2._upload_data``.

    :returns: the image, as glanceclient's ``images.get`` returns it
    :raises nova.exception.ImageNotFound: it was deleted meanwhile
    :raises nova.exception.ImageUnacceptable: Glance has other data than was
        sent; the image is deleted
    :raises nova.exception.InvalidConfiguration: somebody asked for a store
        that Glance no longer has
    :raises nova.exception.GlanceConnectionFailed: Glance could not be reached
        at the last try
    :raises glanceclient.exc.HTTPException: Glance refused the data
    """
    return _Upload(service._client, context, image_id, data).run()


class _Upload:
    def __init__(
        self,
        client: GlanceClientWrapper,
        context: RequestContext,
        image_id: str,
        data: Any,
    ) -> None:
        self._client = client
        self._context = context
        self._image_id = image_id
        self._body = body.Body(data)
        self._snapshot = ongoing.get(image_id)
        self._selection = (
            self._snapshot.selection if self._snapshot else _NO_SELECTION
        )
        self._store = self._selection.store
        self._servers = itertools.cycle(lookup.servers(client))
        #: The API server that got the last try; None for the only one.
        self._server: str | None = None

    def run(self) -> Any:
        tries = 0
        while True:
            tries += 1
            try:
                self._send()
            except Exception as exc:
                if self._settle(exc):
                    break
                if tries <= CONF.glance.num_retries and _is_worth_a_retry(exc):
                    LOG.warning(
                        'Upload of image %(image)s failed (%(error)s), '
                        'sending it again from its first byte',
                        {'image': self._image_id, 'error': exc},
                    )
                    time.sleep(PAUSE)
                    continue
                self._refused(exc)
                tries = 0
            else:
                break
        return self._verified()

    def _send(self) -> None:
        """Send the data once; under eventlet, in a native thread."""
        headers = self._selection.headers(self._store)
        if self._body.size is not None:
            headers[SIZE_HEADER] = str(self._body.size)
        self._server = next(self._servers)
        try:
            _native(_put)(
                functools.partial(
                    lookup.connect, self._client, self._context, self._server
                ),
                self._image_id,
                self._body.rewind(),
                headers,
            )
        except Exception as exc:
            if not isinstance(exc, glanceclient.exc.HTTPException):
                lookup.in_trouble(self._server)
            raise

    def _settle(self, error: Exception) -> bool:
        """Find out what became of the image after a failure.

        :returns: True if Glance has the data, False if they may be sent again
        :raises Exception: neither is certain
        """
        image = self._outcome(_SAVING)
        if image is None:
            raise self._translated(error)
        status = image.get('status')
        if status in lookup.GONE:
            raise nova_exception.ImageNotFound(
                image_id=self._image_id
            ) from error
        if status == 'active':
            if self._snapshot and self._snapshot.location_given_up:
                raise nova_exception.ImageUnacceptable(
                    image_id=self._image_id,
                    reason='Glance took the location of a clone that was '
                    'deleted meanwhile',
                ) from error
            return True
        if status != 'queued' or not self._body.rewindable:
            raise self._translated(error)
        return False

    def _outcome(self, under_way: tuple[str, ...]) -> dict[str, Any] | None:
        """Ask what became of the image.

        :param under_way: statuses in which the image may still change
        :returns: the image; None if Glance does not say
        """
        return lookup.outcome(
            self._context,
            self._client,
            self._image_id,
            lambda image: image.get('status') in under_way,
            SETTLE,
            PAUSE,
        )

    def _refused(self, error: Exception) -> None:
        """Switch to the store that takes what the selected one refused.

        :raises Exception: there is no such store
        """
        if self._store and isinstance(error, glanceclient.exc.HTTPBadRequest):
            self._check_store(error)
        fallback = self._selection.fallback
        if fallback is None or self._store == fallback:
            raise self._translated(error)
        LOG.warning(
            'Store %(store)s did not take image %(image)s (%(error)s), it '
            'goes to the default store %(fallback)s',
            {
                'store': self._store,
                'image': self._image_id,
                'error': error,
                'fallback': fallback,
            },
        )
        if self._snapshot:
            self._snapshot.differences.append(
                f'store {self._store} did not take it, it went to {fallback}'
                f' ({error})'
            )
        self._store = fallback

    def _check_store(self, error: Exception) -> None:
        """Ask which stores Glance has now, as the one named may be gone.

        :raises nova.exception.InvalidConfiguration: it is gone, and somebody
            asked for it
        """
        try:
            catalogue = lookup.catalogue(
                self._context, stale=self._selection.catalogue
            )
            self._selection = dataclasses.replace(
                self._selection, catalogue=catalogue
            )
            catalogue.check_writable(str(self._store))
        except exception.LookupFailed as exc:
            LOG.debug('Image %s: %s', self._image_id, exc)
        except exception.StoreRefused as exc:
            if self._selection.ordered:
                LOG.error('Image %s is not made: %s', self._image_id, exc)
                raise nova_exception.InvalidConfiguration(str(exc)) from error

    def _verified(self) -> Any:
        """Return the image, after checking that it has what was sent.

        :raises nova.exception.ImageUnacceptable: it has not
        """
        image = self._show()
        known: Any = image
        if known.get('status') in _INCOMPLETE:
            # Another API server may not know of the data yet.
            known = self._outcome(_INCOMPLETE) or {}
        status, size = known.get('status'), known.get('size')
        if size == self._body.sent and status not in _INCOMPLETE:
            return image
        reason = (
            f'{self._body.sent} bytes were sent, Glance has {size} and says '
            f'that it is {status}'
        )
        if status == 'active':
            LOG.error('Deleting image %s: %s', self._image_id, reason)
            if self._snapshot:
                self._snapshot.is_damaged = True
            try:
                self._client.call(
                    self._context, 2, 'delete', args=(self._image_id,)
                )
            except Exception:
                LOG.exception('Image %s was not deleted', self._image_id)
        raise nova_exception.ImageUnacceptable(
            image_id=self._image_id, reason=reason
        )

    def _translated(self, error: Exception) -> Exception:
        """Return the error that stock Nova raises after its last try."""
        if isinstance(error, _UNREACHABLE):
            server = self._server or self._client.api_server
            error = nova_exception.GlanceConnectionFailed(
                server=str(server), reason=str(error)
            )
        return error

    def _show(self) -> Any:
        """Return the image, from the server that took it if possible."""
        if self._server is not None:
            try:
                return lookup.connect(
                    self._client, self._context, self._server
                ).images.get(self._image_id)
            except Exception as exc:
                LOG.debug('%s: %s', self._server, exc)
        return self._client.call(
            self._context, 2, 'get', args=(self._image_id,)
        )


def _put(
    connect: Callable[[], Any],
    image_id: str,
    data: Any,
    headers: dict[str, str],
) -> None:
    http = connect().http_client
    # Nova keeps a client that it made for one image, so its headers are put
    # back. Unlike other headers, these are sent without quoting.
    before = http.additional_headers
    http.additional_headers = {**before, **headers}
    try:
        # After a 401, keystoneauth would send only the rest of the data.
        http.put(
            f'/v2/images/{image_id}/file',
            headers={'Content-Type': 'application/octet-stream'},
            data=data,
            allow_reauth=False,
        )
    finally:
        http.additional_headers = before


def _native(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs in a native thread under eventlet.

    The name of Nova's helper depends on the release; the last have none.
    """
    if hasattr(utils, 'tpool_wrap'):
        func = utils.tpool_wrap(func)
    elif hasattr(utils, 'tpool_execute'):
        func = functools.partial(utils.tpool_execute, func)
    return func


def _is_worth_a_retry(error: Exception) -> bool:
    """Tell whether the same store may take the data next time.

    An error that is not Glance's answer arose on the way to Glance.
    """
    return isinstance(error, _WORTH_A_RETRY) or not isinstance(
        error, glanceclient.exc.HTTPException
    )
