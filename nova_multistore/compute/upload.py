"""The upload: the whole data, once, into the store that was selected."""

from __future__ import annotations

import dataclasses
import functools
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
from nova_multistore.compute import snapshot

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

# What GlanceClientWrapper.call takes for a Glance that cannot be reached.
_UNREACHABLE = (
    glanceclient.exc.HTTPServiceUnavailable,
    glanceclient.exc.InvalidEndpoint,
    glanceclient.exc.CommunicationError,
    OSError,
)
# Answers that say nothing of the store: a Glance behind a gateway that is
# away, an image still held by an earlier try, and a service token that had
# expired (asking for the image has renewed it).
_PASSING = (
    glanceclient.exc.HTTPServiceUnavailable,
    glanceclient.exc.HTTPBadGateway,
    glanceclient.exc.HTTPConflict,
    glanceclient.exc.HTTPUnauthorized,
)
_TAKING = ('saving', 'uploading', 'importing')
_WAITING = ('queued', *_TAKING)
_NO_SELECTION = selection.Selection(None, None, 'not a snapshot')


def upload_data(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Send the data, and see to it that Glance has all of it.

    Wraps ``nova.image.glance.GlanceImageServiceV2._upload_data``.

    :returns: the image, as glanceclient's ``images.get`` returns it
    :raises nova.exception.ImageNotFound: it was deleted meanwhile
    :raises nova.exception.ImageUnacceptable: Glance took other data than was
        sent; the image is deleted
    :raises nova.exception.InvalidConfiguration: ``[glance] store`` names a
        store that Glance no longer has
    :raises nova.exception.GlanceConnectionFailed: every try failed on the way
    :raises glanceclient.exc.HTTPException: Glance refused the data
    """
    return _Upload(instance._client, *args, **kwargs).run()


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
        self._selection = snapshot.selected(image_id) or _NO_SELECTION
        self._store = self._selection.store

    def run(self) -> Any:
        tries = 0
        while True:
            tries += 1
            try:
                self._send()
            except Exception as exc:
                if self._settle(exc):
                    break
                if tries <= CONF.glance.num_retries and _passes(exc):
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
        """Send the data once, off the hub in eventlet mode."""
        headers = self._selection.headers(self._store)
        if self._body.size is not None:
            headers[SIZE_HEADER] = str(self._body.size)
        _native(_put)(
            self._client,
            self._context,
            self._image_id,
            self._body.rewind(),
            headers,
        )

    def _settle(self, error: Exception) -> bool:
        """Find out what became of the image after a failure.

        :returns: True if it has its data, False if they must be sent again
        :raises Exception: it can be neither
        """
        image = self._outcome(_TAKING)
        if image is None:
            raise _translated(self._client, error)
        status = image.get('status')
        if status in lookup.GONE:
            raise nova_exception.ImageNotFound(
                image_id=self._image_id
            ) from error
        if status == 'active':
            if self._selection.location_given_up:
                raise nova_exception.ImageUnacceptable(
                    image_id=self._image_id,
                    reason='Glance has taken the location of a clone that '
                    'is no longer there',
                ) from error
            return True
        if status != 'queued' or not self._body.rewindable:
            raise _translated(self._client, error)
        return False

    def _outcome(self, passing: tuple[str, ...]) -> dict[str, Any] | None:
        """Ask what became of the image.

        :param passing: statuses in which it is asked for again
        :returns: the image; None if Glance does not say
        """
        return lookup.outcome(
            functools.partial(lookup.get, self._client, self._context),
            self._image_id,
            lambda image: image.get('status') in passing,
            SETTLE,
            PAUSE,
        )

    def _refused(self, error: Exception) -> None:
        """Turn to the store that takes what the selected one refused.

        :raises Exception: there is no such store
        """
        if self._store and isinstance(error, glanceclient.exc.HTTPBadRequest):
            self._check_store(error)
        fallback = self._selection.fallback
        if fallback is None or self._store == fallback:
            raise _translated(self._client, error)
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
        self._store = fallback

    def _check_store(self, error: Exception) -> None:
        """See which stores Glance has now, as it may not know the one named.

        :raises nova.exception.InvalidConfiguration: it was ordered, and is
            not among them
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
        """Return the image, once it is sure that it has what was sent."""
        image = self._show()
        known: Any = image
        if known.get('status') in _WAITING:
            # The Glance that was asked may not have heard of it yet.
            known = self._outcome(_WAITING) or {}
        status, size = known.get('status'), known.get('size')
        if size == self._body.sent and status not in _WAITING:
            return image
        reason = (
            f'{self._body.sent} bytes were sent, Glance has {size} and says '
            f'that it is {status}'
        )
        if status == 'active':
            LOG.error('Deleting image %s: %s', self._image_id, reason)
            try:
                self._client.call(
                    self._context, 2, 'delete', args=(self._image_id,)
                )
            except Exception:
                LOG.exception('Image %s was not deleted', self._image_id)
        raise nova_exception.ImageUnacceptable(
            image_id=self._image_id, reason=reason
        )

    def _show(self) -> Any:
        return self._client.call(
            self._context, 2, 'get', args=(self._image_id,)
        )


def _put(
    client: GlanceClientWrapper,
    context: RequestContext,
    image_id: str,
    data: Any,
    headers: dict[str, str],
) -> None:
    http = lookup.connect(client, context).http_client
    # A client that Nova made for one image is used again for the next call.
    # What goes here is sent as it is; glanceclient quotes other headers.
    before = http.additional_headers
    http.additional_headers = {**before, **headers}
    try:
        # keystoneauth would send the rest of the data again after a 401.
        http.put(
            f'/v2/images/{image_id}/file',
            headers={'Content-Type': 'application/octet-stream'},
            data=data,
            allow_reauth=False,
        )
    finally:
        http.additional_headers = before


def _native(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as run in a native thread under eventlet.

    Nova's helper for that has changed its name, and will go with eventlet.
    """
    if hasattr(utils, 'tpool_wrap'):
        func = utils.tpool_wrap(func)
    elif hasattr(utils, 'tpool_execute'):
        func = functools.partial(utils.tpool_execute, func)
    return func


def _passes(error: Exception) -> bool:
    """Tell whether the same store may take the data after all.

    An error that is not Glance's answer is one on the way to it.
    """
    return isinstance(error, _PASSING) or not isinstance(
        error, glanceclient.exc.HTTPException
    )


def _translated(client: GlanceClientWrapper, error: Exception) -> Exception:
    """Return what ``GlanceClientWrapper.call`` raises at its last try."""
    if isinstance(error, _UNREACHABLE):
        error = nova_exception.GlanceConnectionFailed(
            server=str(client.api_server), reason=str(error)
        )
    return error
