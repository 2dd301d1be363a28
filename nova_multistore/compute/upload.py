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
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import statuses
from nova_multistore import stores
from nova_multistore.compute import body
from nova_multistore.compute import clients
from nova_multistore.compute import snapshot_state

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
#: How long to wait before Glance is asked again, in seconds. If a try was
#: broken off, Glance also has this time to answer before it gets the data
#: again.
PAUSE = 1.0
#: For how long Glance may have had all data when it fails, in seconds. If it
#: fails later, it hung, and the size, which may be why, is not sent again.
HANG = 10.0

# Errors that Nova's GlanceClientWrapper.call turns into one that says that
# Glance cannot be reached.
_UNREACHABLE = (
    glanceclient.exc.HTTPServiceUnavailable,
    glanceclient.exc.InvalidEndpoint,
    glanceclient.exc.CommunicationError,
    OSError,
)
# Statuses of answers that are not about the store, so that it may take the
# data next time: a gateway whose Glance is away, slow or busy, an image that
# an earlier try still holds, a service token that had expired and was renewed
# by the question for the image.
_WORTH_A_RETRY = frozenset((401, 408, 409, 425, 429, 502, 503, 504))
# Statuses of answers that Nova translates into errors of its own. Of other
# answers, Nova records nothing but the class of the error.
_TRANSLATED = (400, 401, 403, 404, 413)
# Statuses of a gateway, or a server, that has waited for too long.
_TIMED_OUT = (408, 504)
# What Glance says with 413 if the image is too large for the project, whatever
# the store (``glance.api.v2.image_data``): image_size_cap, user_storage_quota
# and the limits of Keystone.
_TOO_LARGE = (
    'incoming image is too large',
    'exceeds the storage quota',
    'is over a limit',
)
# The same for the only limit for which Glance counts the announced size.
_SIZE_LIMIT = 'image_size_total'
# What Glance says with 400 if it does not have the store.
_NO_STORE = 'Store for identifier'
# What Glance says with 413 if the store is full.
_FULL = 'storage media is full'
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
        sent, and the image is deleted; or the store that somebody asked for
        did not take them
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
        self._snapshot = snapshot_state.get(image_id)
        self._selection = (
            self._snapshot.selection if self._snapshot else _NO_SELECTION
        )
        self._store = self._selection.store
        #: Whether the size is announced.
        self._announced = self._may_announce()
        #: Whether Glance hung at the last try that announced it.
        self._hung = False
        #: Whether the last try was broken off without an answer.
        self._broken_off = False
        #: After how many bytes a try was broken off; None if none was.
        self._broken_at: int | None = None
        #: How often an API server did not know the store.
        self._doubts = 0
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
                left = CONF.glance.num_retries + 1 - tries
                if left > 0 and _is_worth_a_retry(exc):
                    if self._size_may_hang(exc) or (
                        left == 1 and self._body.begun
                    ):
                        self._announced = False
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
                if self._hung:
                    lookup.hung_by_size(self._store, self._selection.catalogue)
                break
        return self._verified()

    def _may_announce(self) -> bool:
        return self._body.size is not None and lookup.takes_size(
            self._store, self._selection.catalogue
        )

    def _send(self) -> None:
        """Send the data once; under eventlet, in a native thread."""
        headers = self._selection.headers(self._store)
        if self._announced:
            headers[SIZE_HEADER] = str(self._body.size)
        self._server = next(self._servers)
        try:
            _native(_put)(
                functools.partial(
                    lookup.connect, self._client, self._context, self._server
                ),
                self._image_id,
                self._body.rewind(self._broken_at, PAUSE),
                headers,
            )
        except Exception as exc:
            # A proxy may send data on to a Glance that has answered already,
            # and lose the answer.
            self._broken_off = _status(exc) is None and self._body.begun
            if self._broken_off:
                self._broken_at = self._body.place
            if self._announced:
                self._hung = self._body.age > HANG
            if not isinstance(exc, glanceclient.exc.HTTPException):
                lookup.in_trouble(self._server)
            raise

    def _settle(self, error: Exception) -> bool:
        """Find out what became of the image after a failure.

        :returns: True if Glance has the data, False if they may be sent again
        :raises Exception: neither is certain
        """
        image = self._outcome(statuses.BUSY)
        if image is None:
            raise self._translated(error)
        status = image.get('status')
        if status in statuses.GONE:
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
        """Choose what is sent next, after Glance refused the data.

        :raises Exception: there is nothing left to try
        """
        if self._store and _status(error) == 400:
            listed = self._doubts or self._check_store(error)
            if listed and self._asks_another(error):
                return
        if not self._is_too_large(error) and (
            self._sends_no_size(error)
            or self._falls_back(error)
            or self._sends_less(error)
        ):
            return
        raise self._translated(error)

    def _asks_another(self, error: Exception) -> bool:
        """Let another API server try, if this one does not know the store.

        :returns: whether one may take the data
        """
        if not _says(error, _NO_STORE) or self._doubts == lookup.ROUNDS:
            return False
        self._doubts += 1
        lookup.pass_on(
            self._context, self._client, self._image_id, self._doubts
        )
        LOG.info(
            'Image %(image)s: an API server of Glance does not have store '
            '%(store)s (%(error)s), trying another one',
            {'image': self._image_id, 'store': self._store, 'error': error},
        )
        return True

    def _is_too_large(self, error: Exception) -> bool:
        """Tell whether the image is too large for the project, in any store.

        If the announced size may have counted twice, that is not certain.
        """
        twice = self._announced and _says(error, _SIZE_LIMIT)
        return (
            _status(error) == 413 and _says(error, *_TOO_LARGE) and not twice
        )

    def _sends_no_size(self, error: Exception) -> bool:
        """Leave the size out, if it may be the reason, and keep the store.

        With a size, glance_store 5.2 waits for too much data if it writes a
        large object to Swift. Glance also adds the size to the usage of the
        project.

        :returns: whether that makes a difference
        """
        doubtful = (
            _status(error) == 500
            or self._broken_off
            or (_status(error) == 413 and _says(error, _SIZE_LIMIT))
            or self._size_may_hang(error)
        )
        if not self._announced or not doubtful:
            return False
        self._announced = False
        self._warn_of_less(error)
        return True

    def _size_may_hang(self, error: Exception) -> bool:
        """Tell whether Glance may have waited for more data than there are."""
        return self._body.ended and (_timed_out(error) or self._hung)

    def _sends_less(self, error: Exception) -> bool:
        """At last, leave out what stock Nova does not send, but not an order.

        :returns: whether that makes a difference
        """
        status = _status(error)
        if status not in (400, 413) or _says(error, _FULL):
            return False
        derived = status == 400 and bool(
            self._store and not self._selection.ordered
        )
        if not self._announced and not derived:
            return False
        self._announced = False
        if derived:
            self._differs(f'it was sent without store {self._store} ({error})')
            # The base image is left out, too: by it, the filter in Glance
            # would choose a store again.
            self._store, self._selection = None, _NO_SELECTION
            self._hung = False
        self._warn_of_less(error)
        return True

    def _warn_of_less(self, error: Exception) -> None:
        LOG.warning(
            'Glance did not take image %(image)s (%(error)s), sending it '
            'again without its size, to %(store)s',
            {
                'image': self._image_id,
                'error': error,
                'store': f'store {self._store}'
                if self._store
                else 'the store that Glance chooses',
            },
        )

    def _falls_back(self, error: Exception) -> bool:
        """Switch to the default store, if that may take the data.

        :returns: whether there is such a store
        """
        fallback = self._selection.fallback
        if fallback is None or self._store == fallback:
            return False
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
        self._differs(
            f'store {self._store} did not take it, it went to {fallback}'
            f' ({error})'
        )
        self._store, self._hung = fallback, False
        self._announced = self._announced and self._may_announce()
        return True

    def _differs(self, difference: str) -> None:
        if self._snapshot:
            self._snapshot.differences.append(difference)

    def _check_store(self, error: Exception) -> bool:
        """Ask which stores Glance has now, as the one named may be gone.

        :returns: whether Glance lists it
        :raises nova.exception.InvalidConfiguration: it is gone, and somebody
            asked for it
        """
        try:
            catalogue = lookup.catalogue(
                self._context,
                stale=self._selection.catalogue,
                wanted=(str(self._store),),
            )
            self._selection = dataclasses.replace(
                self._selection, catalogue=catalogue
            )
            catalogue.check_writable(str(self._store))
            return True
        except exception.LookupFailed as exc:
            LOG.debug('Image %s: %s', self._image_id, exc)
        except exception.StoreRefused as exc:
            if self._selection.ordered:
                LOG.error('Image %s is not made: %s', self._image_id, exc)
                raise nova_exception.InvalidConfiguration(str(exc)) from error
        return False

    def _verified(self) -> Any:
        """Return the image, after checking that it has what was sent.

        :raises nova.exception.ImageUnacceptable: the image has something else
        """
        image = self._show()
        known: Any = image
        if known.get('status') in statuses.UNDER_WAY:
            # Another API server may not know of the data yet.
            known = self._outcome(statuses.UNDER_WAY) or {}
        status, size = known.get('status'), known.get('size')
        if size == self._body.sent and status not in statuses.UNDER_WAY:
            self._check_place(known)
            return image
        reason = (
            f'{self._body.sent} bytes were sent, Glance has {size} and says '
            f'that the image is {status}'
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

    def _check_place(self, image: Any) -> None:
        """Warn if Glance has the image elsewhere than the upload named.

        An API server whose configuration differs from the others' does that.
        """
        if not self._store:
            return
        found = stores.of_image(image) or lookup.stores_of(
            self._context, self._client, self._image_id
        )
        if self._store in found:
            return
        where = ', '.join(found) or 'a store that it does not name'
        LOG.warning(
            'Image %(image)s was sent to store %(store)s, and Glance has it '
            'in %(found)s. Do all API servers of Glance have the same '
            'enabled_backends?',
            {'image': self._image_id, 'store': self._store, 'found': where},
        )
        self._differs(f'{record.ELSEWHERE}in {where} instead of {self._store}')

    def _translated(self, error: Exception) -> Exception:
        """Return the error that stock Nova raises after its last try.

        If somebody asked for the store, the error always has Glance's words.
        """
        if isinstance(error, _UNREACHABLE):
            error = nova_exception.GlanceConnectionFailed(
                server=self._server or lookup.named(self._client),
                reason=str(error),
            )
        elif (
            self._selection.ordered
            and self._store
            and _status(error) not in (None, *_TRANSLATED)
        ):
            error = nova_exception.ImageUnacceptable(
                image_id=self._image_id,
                reason=f'store {self._store} did not take it ({error})',
            )
        return error

    def _show(self) -> Any:
        """Return the image, from the server that took it if possible."""
        if self._server is not None:
            try:
                client = lookup.connect(
                    self._client, self._context, self._server
                )
                return clients.frugal(client, self._server).images.get(
                    self._image_id
                )
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
    statuses: list[int] = []

    def note(response: Any, *_args: Any, **_options: Any) -> None:
        statuses.append(response.status_code)

    # Nova keeps a client that it made for one image, so the client's headers
    # are put back. Unlike other headers, these are sent without quoting.
    before = http.additional_headers
    http.additional_headers = {**before, **headers}
    try:
        # After a 401, keystoneauth would send only the rest of the data.
        http.put(
            f'/v2/images/{image_id}/file',
            headers={'Content-Type': 'application/octet-stream'},
            data=data,
            allow_reauth=False,
            hooks={'response': note},
        )
    except glanceclient.exc.HTTPException as exc:
        # For some statuses, glanceclient has no class, and then no number.
        exc.code = statuses[-1]
        raise
    finally:
        http.additional_headers = before


def _native(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs in a native thread under eventlet.

    The name of Nova's helper depends on the release; the latest have none.
    """
    if hasattr(utils, 'tpool_wrap'):
        func = utils.tpool_wrap(func)
    elif hasattr(utils, 'tpool_execute'):
        func = functools.partial(utils.tpool_execute, func)
    return func


def _status(error: Exception) -> int | None:
    """Return the status of an answer, None if the error is another one."""
    if isinstance(error, glanceclient.exc.HTTPException):
        return int(error.code)
    return None


def _is_worth_a_retry(error: Exception) -> bool:
    """Tell whether the same store may take the data next time.

    An error that is not Glance's answer arose on the way to Glance.
    """
    return _status(error) in (None, *_WORTH_A_RETRY)


def _timed_out(error: Exception) -> bool:
    """Tell whether somebody has waited for too long."""
    # glanceclient raises InvalidEndpoint for a time-out.
    return _status(error) in _TIMED_OUT or isinstance(
        error, glanceclient.exc.InvalidEndpoint
    )


def _says(error: Exception, *phrases: str) -> bool:
    """Tell whether Glance's answer has one of some phrases."""
    return any(phrase in str(error) for phrase in phrases)
