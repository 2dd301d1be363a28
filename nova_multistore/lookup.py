"""What Glance says of its stores and images, asked through Nova's client.

It is for what runs inside Nova: nova-compute and nova-api.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as auth_exceptions
from keystoneauth1 import loading
from keystoneauth1 import session as ks_session
from nova import context as nova_context
import nova.conf
from nova.image import glance
from oslo_log import log as logging

from nova_multistore import bounded
from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.compute import ceph

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Answers for which the credentials of one caller are to blame.
DENIED = (
    glanceclient.exc.HTTPUnauthorized,
    glanceclient.exc.HTTPForbidden,
)
#: What an image is that was deleted, or is not there.
GONE = ('deleted', 'pending_delete')
#: The longest time between two questions for what becomes of an image, in
#: seconds.
_LONGEST_PAUSE = 1.0
# Answers to a question for places that stay the same: Glance's own, those of a
# Glance that is older than the question, and Keystone's.
_DETAILS_DENIED = (
    *DENIED,
    glanceclient.exc.HTTPNotFound,
    auth_exceptions.Unauthorized,
    auth_exceptions.Forbidden,
    auth_exceptions.NotFound,
)
# No answer at all.
_SILENT = (
    exception.LookupFailed,
    glanceclient.exc.InvalidEndpoint,
    glanceclient.exc.CommunicationError,
    OSError,
)

_cache = stores.Cache()
# Until when, on the monotonic clock, no image is looked up.
_silent_until = 0.0


def forget() -> None:
    """Forget what Glance said, so that it is asked anew."""
    global _cache, _silent_until
    _cache = stores.Cache()
    _silent_until = 0.0


def get(
    client: glance.GlanceClientWrapper,
    context: RequestContext,
    path: str,
    timeout: float,
) -> Any:
    """Ask Glance once, without Nova's retries.

    :param client: Nova's client; it gives the endpoint, TLS and credentials
    :param context: whose token is sent
    :param path: such as ``/v2/info/stores``
    :param timeout: in seconds, for all of it: Keystone's part, connecting
        and the answer
    :returns: the decoded JSON; None if it is none
    :raises glanceclient.exc.HTTPException: Glance said no
    :raises LookupFailed: Glance did not answer in time
    :raises Exception: Glance cannot be reached
    """
    return bounded.wait(
        bounded.start(lambda: _ask(client, context, path, timeout)), timeout
    )


def _ask(
    client: glance.GlanceClientWrapper,
    context: RequestContext,
    path: str,
    timeout: float,
) -> Any:
    context.update_store()
    return _bounded(client, context, timeout).get(path, timeout=timeout)[1]


def _bounded(
    client: glance.GlanceClientWrapper, context: RequestContext, timeout: float
) -> Any:
    """Return what sends a request, and does not wait for Keystone for ever.

    Nova's own session does. Connections are taken from that one's pool.

    :param timeout: for each of Keystone's answers, in seconds
    :returns: an adapter of keystoneauth, as glanceclient uses it
    """
    http = copy.copy(connect(client, context).http_client)
    http.session = ks_session.Session(
        session=http.session.session,
        verify=http.session.verify,
        cert=http.session.cert,
        timeout=timeout,
    )
    return http


def connect(
    client: glance.GlanceClientWrapper, context: RequestContext
) -> Any:
    """Return the glanceclient for one request, to the next API server."""
    return client.client or client._create_onetime_client(context, 2)


def outcome(
    ask: Callable[[str, float], Any],
    image_id: str,
    under_way: Callable[[dict[str, Any]], bool],
    patience: float,
    pause: float,
) -> dict[str, Any] | None:
    """Ask what became of an image, until that is settled.

    :param ask: takes a path and a time-out in seconds, as :func:`get` does
    :param image_id: the image's UUID
    :param under_way: tells whether the image is to be asked for again
    :param patience: how long to ask, in seconds
    :param pause: how long to wait before the second question, in seconds; it
        doubles, up to a second
    :returns: the image, as Glance's API has it, with the status ``deleted``
        if it is not there; None if Glance does not say
    """
    deadline = time.monotonic() + patience
    image = None
    while (left := deadline - time.monotonic()) > 0:
        try:
            image = dict(
                ask(f'/v2/images/{image_id}', min(left, stores.TIMEOUT))
            )
        except glanceclient.exc.HTTPNotFound:
            return {'status': 'deleted'}
        except DENIED:
            return None
        except Exception as exc:
            LOG.debug('Image %s: %s', image_id, exc)
        else:
            if not under_way(image):
                break
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return image


def adapter(
    context: RequestContext, server: str | None = None
) -> ks_adapter.Adapter:
    """Return what sends one request to version 2 of Glance's API.

    :param context: whose token is sent
    :param server: URL of the API server, None for the next one
    """
    context.update_store()
    http = _bounded(glance.GlanceClientWrapper(), context, stores.TIMEOUT)
    root = (server or http.endpoint_override).rstrip('/')
    return ks_adapter.Adapter(
        http.session, auth=http.auth, endpoint_override=f'{root}/v2'
    )


def catalogue(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    stale: stores.Catalogue | None = None,
) -> stores.Catalogue:
    """Return the stores of the configured Glance.

    :param context: whose token is sent if Glance must be asked
    :param timeout: in seconds
    :param stale: a catalogue that proved wrong: ask for a newer one
    :returns: the catalogue, empty if Glance does not have several stores
    :raises LookupFailed: Glance did not say
    """

    def fetch() -> stores.Catalogue:
        deadline = time.monotonic() + stores.TIMEOUT
        try:
            found = stores.parse(
                _ask(
                    glance.GlanceClientWrapper(),
                    context,
                    '/v2/info/stores',
                    stores.TIMEOUT,
                )
            )
            if found.stores and ceph.is_used():
                return _detailed(context, deadline, found)
            return found
        except glanceclient.exc.HTTPNotFound:
            return stores.Catalogue()
        except DENIED:
            # It says nothing about Glance: the next caller asks again.
            raise
        except (*_SILENT, glanceclient.exc.HTTPException) as exc:
            raise exception.LookupFailed(_words(exc)) from exc

    try:
        return _cache.get(fetch, timeout, stale)
    except Exception as exc:
        raise exception.LookupFailed(
            f"Glance's stores are unknown ({_words(exc)})"
        ) from exc


def catalogue_for(
    context: RequestContext, store: str, timeout: float = stores.TIMEOUT
) -> stores.Catalogue:
    """Return the stores, asked for anew if one that is named is missing.

    :param context: whose token is sent if Glance must be asked
    :param store: id of the store
    :param timeout: in seconds
    :returns: the catalogue, with the store only if Glance has it now
    :raises LookupFailed: Glance did not say
    """
    deadline = time.monotonic() + timeout
    found = catalogue(context, timeout)
    if store in found.writable:
        return found
    return catalogue(context, deadline - time.monotonic(), stale=found)


def _detailed(
    context: RequestContext, deadline: float, found: stores.Catalogue
) -> stores.Catalogue:
    """Ask where the stores are, as the user and then as Nova itself.

    By default Glance tells it to administrators and, since 2025.1, to
    services.

    :param deadline: on the monotonic clock; each question takes half of the
        time that is left at most
    :param found: the catalogue without places
    :returns: the catalogue with places; ``found`` if both are denied them,
        and it is unsettled if the reason may pass
    """
    unsettled = False
    callers: tuple[Callable[[], RequestContext], ...] = (
        lambda: context,
        service_context,
    )
    for caller in callers:
        try:
            asker = caller()
        except exception.LookupFailed as exc:
            LOG.debug("Details of Glance's stores: %s", exc)
            continue
        try:
            return stores.parse(
                get(
                    glance.GlanceClientWrapper(),
                    asker,
                    '/v2/info/stores/detail',
                    (deadline - time.monotonic()) / 2,
                )
            )
        except Exception as exc:
            LOG.debug("Details of Glance's stores: %s", _words(exc))
            unsettled = unsettled or not isinstance(exc, _DETAILS_DENIED)
    return dataclasses.replace(found, unsettled=unsettled)


def image(
    context: RequestContext, image_id: str | None, timeout: float
) -> Any:
    """Return what Glance says of a base image.

    :param context: whose token is sent; what it may not see is not there
    :param image_id: the image's UUID, None if it has none
    :param timeout: in seconds
    :returns: the decoded JSON
    :raises LookupFailed: the image is not there, or Glance did not say
    """
    global _silent_until
    if image_id is None:
        raise exception.LookupFailed("the base image's id is not a UUID")
    if time.monotonic() < _silent_until:
        raise exception.LookupFailed(
            'the base image could not be looked up (Glance did not answer a '
            'moment ago)'
        )
    try:
        found = get(
            glance.GlanceClientWrapper(),
            context,
            f'/v2/images/{image_id}',
            timeout,
        )
    except glanceclient.exc.HTTPNotFound as exc:
        raise exception.LookupFailed(
            'the base image is deleted or not visible'
        ) from exc
    except Exception as exc:
        if isinstance(exc, _SILENT):
            _silent_until = time.monotonic() + stores.FAILED
        raise exception.LookupFailed(
            f'the base image could not be looked up ({_words(exc)})'
        ) from exc
    try:
        stores.of_image(found)
    except exception.LookupFailed as exc:
        raise exception.LookupFailed(
            f'the base image could not be looked up ({exc})'
        ) from exc
    return found


def _words(exc: Exception) -> str:
    """Return an error in one line."""
    return (' '.join(str(exc).split()) or type(exc).__name__)[:200]


def service_context(group: str = 'service_user') -> RequestContext:
    """Return the context of Nova itself, for what is not done as the user.

    :param group: the section that has the credentials
    :returns: a context with those
    :raises LookupFailed: there are none
    """
    try:
        auth = loading.load_auth_from_conf_options(CONF, group)
    except auth_exceptions.AuthPluginException as exc:
        raise exception.LookupFailed(
            f'[{group}] is not usable ({_words(exc)})'
        ) from exc
    if auth is None:
        raise exception.LookupFailed(
            f'there are no credentials in [{group}] to ask Glance with'
        )
    return nova_context.RequestContext(user_auth_plugin=auth, overwrite=False)
