"""Questions to Glance from inside Nova: from nova-compute and nova-api.

They go to the API servers, and with the credentials, that Nova's own requests
have. What was learned is kept for the whole process.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING
from typing import Any

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
from nova_multistore import image_api
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: Statuses of an image that was deleted; :func:`outcome` returns the first of
#: them for one that is not there.
GONE = ('deleted', 'pending_delete')
#: The longest pause between two questions about an image, in seconds.
_LONGEST_PAUSE = 1.0
# Statuses of answers that are due to the credentials of the caller.
_DENIED = (401, 403)
# Answers to a question for places which the next question gets, too: 403 by
# policy, 404 by a Glance that does not know the question yet.
_PLACES_DENIED = (403, 404)


class _Memory:
    """What is known of Glance, and of the disks for which it is asked."""

    def __init__(self, disks_in_ceph: bool = False) -> None:
        self.catalogue = stores.Cache()
        #: Until when no base image is looked up, on the monotonic clock.
        self.silent_until = 0.0
        #: Whether a disk was found in Ceph, whatever ``nova.conf`` says of
        #: new ones.
        self.disks_in_ceph = disks_in_ceph


_memory = _Memory()


def forget() -> None:
    """Forget everything, so that Glance is asked again."""
    global _memory
    _memory = _Memory()


def disks_in_ceph() -> bool:
    """Tell whether disks of this compute are in Ceph.

    If they are, it matters in which Ceph cluster each store is.
    """
    return _memory.disks_in_ceph or bool(CONF.libvirt.images_type == 'rbd')


def found_disk_in_ceph() -> None:
    """Note that a disk is in Ceph, whatever ``nova.conf`` says of new ones."""
    global _memory
    if not disks_in_ceph():
        # The catalogue that is known does not say where stores are.
        _memory = _Memory(disks_in_ceph=True)


def connect(
    client: glance.GlanceClientWrapper, context: RequestContext
) -> Any:
    """Return the glanceclient for one request, to the next API server.

    :param client: Nova's client
    :param context: whose token is sent
    """
    return client.client or client._create_onetime_client(context, 2)


def adapter(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    client: glance.GlanceClientWrapper | None = None,
    server: str | None = None,
) -> ks_adapter.Adapter:
    """Return what sends one request to version 2 of Glance's API.

    It goes to one API server, once: Nova's own settings for retries and
    time-outs do not apply.

    :param context: whose token is sent
    :param timeout: how long Keystone may take to answer, in seconds
    :param client: Nova's client, if it was made for a certain server
    :param server: URL of the API server, None for the next one
    """
    context.update_store()
    http = connect(client or glance.GlanceClientWrapper(), context).http_client
    # Nova's own session waits for Keystone without a limit. This one shares
    # its connections.
    session = ks_session.Session(
        session=http.session.session,
        verify=http.session.verify,
        cert=http.session.cert,
        timeout=timeout,
    )
    root = (server or http.endpoint_override).rstrip('/')
    return ks_adapter.Adapter(
        session,
        auth=http.auth,
        endpoint_override=f'{root}/v2',
        global_request_id=context.global_id,
    )


def images(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    client: glance.GlanceClientWrapper | None = None,
    server: str | None = None,
) -> image_api.Images:
    """Return Glance's image API, as a user may use it.

    :param context: as for :func:`adapter`
    :param timeout: how long Glance may take to answer, in seconds, and how
        long Keystone may
    :param client: as for :func:`adapter`
    :param server: as for :func:`adapter`
    """
    return image_api.Images(
        functools.partial(adapter, context, timeout, client, server), timeout
    )


def show(
    context: RequestContext,
    image_id: str,
    timeout: float,
    client: glance.GlanceClientWrapper | None = None,
) -> dict[str, Any]:
    """Return an image, as Glance's API has it.

    :param context: whose token is sent
    :param image_id: the image's UUID
    :param timeout: for all of it, in seconds: Keystone's part, the connection
        and the answer
    :param client: as for :func:`adapter`
    :raises LookupFailed: Glance did not say in that time
    :raises GlanceRefused: it is not there or not to be seen
    """
    asked = images(context, timeout, client)
    return bounded.call(functools.partial(asked.show, image_id), timeout)


def outcome(
    context: RequestContext,
    client: glance.GlanceClientWrapper,
    image_id: str,
    under_way: Callable[[dict[str, Any]], bool],
    patience: float,
    pause: float,
) -> dict[str, Any] | None:
    """Ask what became of an image, until that is certain.

    :param context: whose token is sent
    :param client: as for :func:`adapter`
    :param image_id: the image's UUID
    :param under_way: tells whether an image may still change
    :param patience: how long to ask, in seconds
    :param pause: how long to wait before the second question, in seconds; it
        doubles each time, up to a second
    :returns: the image, as Glance's API has it, with the status ``deleted``
        if Glance says twice that it is not there; None if Glance does not say
    """
    deadline = time.monotonic() + patience
    found = None
    gone = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            found = show(context, image_id, min(left, stores.TIMEOUT), client)
        except exception.GlanceRefused as exc:
            if exc.status == 404:
                if gone:
                    return {'status': GONE[0]}
                # A Glance in trouble may say so of any image.
                gone = True
            if exc.status in _DENIED:
                return None
            LOG.debug('Image %s: %s', image_id, exc)
        except Exception as exc:
            LOG.debug('Image %s: %s', image_id, exc)
        else:
            gone = False
            if not under_way(found):
                break
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return found


def catalogue(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    stale: stores.Catalogue | None = None,
    patient: bool = True,
) -> stores.Catalogue:
    """Return the stores of the configured Glance.

    :param context: whose token is sent if Glance must be asked
    :param timeout: in seconds
    :param stale: a catalogue that proved wrong: ask for a newer one
    :param patient: as for :meth:`.stores.Cache.get`
    :returns: the catalogue, empty if Glance does not have several stores
    :raises LookupFailed: Glance did not say
    """

    def fetch() -> stores.Catalogue:
        deadline = time.monotonic() + stores.TIMEOUT
        try:
            found = stores.parse(images(context).ask('GET', '/info/stores'))
        except exception.GlanceRefused as exc:
            if exc.status == 404:
                return stores.Catalogue()
            if exc.status in _DENIED:
                raise
            raise exception.LookupFailed(str(exc)) from exc
        if found.stores and disks_in_ceph():
            return _with_places(context, deadline, found)
        return found

    try:
        return _memory.catalogue.get(fetch, timeout, stale, patient)
    except Exception as exc:
        raise exception.LookupFailed(
            f"Glance's stores are unknown ({_one_line(exc)})"
        ) from exc


def catalogue_for(
    context: RequestContext,
    store: str,
    timeout: float = stores.TIMEOUT,
    patient: bool = True,
) -> stores.Catalogue:
    """Return the stores, asked for anew if a certain one is missing.

    :param context: whose token is sent if Glance must be asked
    :param store: id of that store
    :param timeout: in seconds
    :param patient: as for :meth:`.stores.Cache.get`
    :returns: the catalogue, with the store only if Glance has it now
    :raises LookupFailed: Glance did not say
    """
    deadline = time.monotonic() + timeout
    found = catalogue(context, timeout)
    if store in found.writable:
        return found
    return catalogue(context, deadline - time.monotonic(), found, patient)


def _with_places(
    context: RequestContext, deadline: float, found: stores.Catalogue
) -> stores.Catalogue:
    """Ask where the stores are: as the user, then as Nova itself.

    Unless its policy is changed, Glance tells administrators and, since
    2025.1, services.

    :param deadline: on the monotonic clock; each question takes half of the
        time that is left at most
    :param found: the catalogue without places
    :returns: the catalogue with places; ``found`` if Glance tells neither,
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
        timeout = (deadline - time.monotonic()) / 2
        asked = images(asker, timeout)
        try:
            return stores.parse(
                bounded.call(
                    functools.partial(asked.ask, 'GET', '/info/stores/detail'),
                    timeout,
                )
            )
        except exception.GlanceRefused as exc:
            LOG.debug("Details of Glance's stores: %s", exc)
            unsettled = unsettled or exc.status not in _PLACES_DENIED
        except exception.AuthenticationFailed as exc:
            LOG.debug("Details of Glance's stores: %s", exc)
        except Exception as exc:
            LOG.debug("Details of Glance's stores: %s", _one_line(exc))
            unsettled = True
    return dataclasses.replace(found, unsettled=unsettled)


def base_image(
    context: RequestContext, image_id: str | None, timeout: float
) -> dict[str, Any]:
    """Return a base image, as Glance's API has it.

    If Glance did not answer a moment ago, it is not asked.

    :param context: whose token is sent; what that may not see is not there
    :param image_id: the image's UUID, None if it has none
    :param timeout: in seconds
    :raises LookupFailed: the image is not there, or Glance did not say
    """
    if image_id is None:
        raise exception.LookupFailed("the base image's id is not a UUID")
    if time.monotonic() < _memory.silent_until:
        raise exception.LookupFailed(
            'the base image could not be looked up (Glance did not answer a '
            'moment ago)'
        )
    try:
        found = show(context, image_id, timeout)
        stores.of_image(found)
    except Exception as exc:
        if isinstance(exc, exception.GlanceRefused) and exc.status == 404:
            raise exception.LookupFailed(
                'the base image is deleted or not visible'
            ) from exc
        if isinstance(exc, exception.ServiceAway) and exc.status is None:
            _memory.silent_until = time.monotonic() + stores.FAILED
        raise exception.LookupFailed(
            f'the base image could not be looked up ({_one_line(exc)})'
        ) from exc
    return found


def _one_line(error: Exception) -> str:
    """Return an error as one line of at most 200 characters."""
    return (' '.join(str(error).split()) or type(error).__name__)[:200]


def service_context(group: str = 'service_user') -> RequestContext:
    """Return a context with credentials of Nova's own, not of a user.

    :param group: the section of ``nova.conf`` that has the credentials
    :raises LookupFailed: there are none, or they cannot be used
    """
    try:
        auth = loading.load_auth_from_conf_options(CONF, group)
    except auth_exceptions.AuthPluginException as exc:
        raise exception.LookupFailed(
            f'[{group}] is not usable ({_one_line(exc)})'
        ) from exc
    if auth is None:
        raise exception.LookupFailed(
            f'there are no credentials in [{group}] to ask Glance with'
        )
    return nova_context.RequestContext(user_auth_plugin=auth, overwrite=False)
