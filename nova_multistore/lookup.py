"""Questions to Glance from inside Nova: from nova-compute and nova-api.

They go to the same API servers, with the same credentials, as Nova's own
requests. What was learned is kept for the whole process.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import random
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from keystoneauth1 import adapter as ks_adapter
from keystoneauth1 import exceptions as auth_exceptions
from keystoneauth1 import loading
from keystoneauth1 import session as ks_session
from nova import context as nova_context
import nova.conf
from nova.image import glance
from oslo_log import log as logging

from nova_multistore import exception
from nova_multistore import failover
from nova_multistore import image_api
from nova_multistore import statuses
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Collection

    from nova.context import RequestContext

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)
T = TypeVar('T')

#: How often an API server is asked, if its answers are of no use.
ROUNDS = 4
#: The pause before the second round, in seconds; it doubles each time.
PAUSE = 0.25
#: How long Glance is asked if it did not answer a moment ago, in seconds.
SHORT = 2.0
#: The longest pause between two questions about an image, in seconds.
_LONGEST_PAUSE = 1.0
# Statuses of answers that are due to the credentials of the caller.
_DENIED = (401, 403)
# This header has the next request use another connection.
_CLOSE = {'Connection': 'close'}
# Statuses that the next question for places will get, too: 403 by policy, 404
# from a Glance that does not know the question yet.
_PLACES_DENIED = (403, 404)


class _Memory:
    """What is known of Glance, and of this compute's disks."""

    def __init__(self, disks_in_ceph: bool = False) -> None:
        # Without a catalogue, a snapshot would go to the wrong store. So each
        # snapshot asks for one, if only for a short time.
        self.catalogue = stores.Cache(failed=0.0)
        #: Until when Glance is asked for a short time only, on the monotonic
        #: clock.
        self.silent_until = 0.0
        #: When API servers gave no answer, on the monotonic clock, by URL.
        self.troubles: dict[str | None, float] = {}
        #: Whether a disk was found in Ceph, whatever ``nova.conf`` says of
        #: new ones.
        self.disks_in_ceph = disks_in_ceph
        #: Stores that hang if the size of an image is announced, by id; None
        #: for the only one.
        self.sizeless: set[str | None] = set()
        #: Questions for base images that are not answered yet, by the image's
        #: UUID and the token that is sent.
        self.base_images: dict[
            tuple[str, str], concurrent.futures.Future[dict[str, Any]]
        ] = {}


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
        # The old catalogue does not say where the stores are.
        _memory = _Memory(disks_in_ceph=True)


def takes_size(store: str | None, catalogue: stores.Catalogue | None) -> bool:
    """Tell whether a store may be told how long an image is.

    :param store: its id, None for the default one
    :param catalogue: what Glance lists; None if Glance did not say
    """
    store = _resolved(store, catalogue)
    place = catalogue.places.get(store or '') if catalogue else None
    # If they know the size, glance_store 5.2 and newer wait for more data than
    # there are when they write a large object to Swift.
    return store not in _memory.sizeless and not (
        place and place.type == 'swift'
    )


def hung_by_size(
    store: str | None, catalogue: stores.Catalogue | None
) -> None:
    """Note that a store took an image as soon as its size was left out.

    The arguments are those of :func:`takes_size`.
    """
    _memory.sizeless.add(_resolved(store, catalogue))


def _resolved(
    store: str | None, catalogue: stores.Catalogue | None
) -> str | None:
    """Return the id of the default store instead of None, if known."""
    return store or (catalogue.default if catalogue else None)


def servers(
    client: glance.GlanceClientWrapper | None = None,
) -> list[str | None]:
    """Return the API servers, in the order in which to ask them.

    The server that answered Nova's client last comes first, then the others
    in random order. Servers that gave no answer a moment ago come last.

    Nova's own client takes the next server at each call: a question by that
    client would take the turn of the upload that follows. Nova also shuffles
    the list of ``nova.conf`` in place, so this is a copy.

    :param client: Nova's client, if there is one
    :returns: their URLs; only None if there is nothing to choose
    """
    configured = CONF.glance.api_servers
    if not configured or (client and client.client):
        return [None]
    last = getattr(client, 'api_server', None)
    recent = time.monotonic() - stores.FAILED
    troubles = dict(_memory.troubles)

    def place(server: str) -> tuple[float, bool]:
        since = troubles.get(server, 0.0)
        return (since if since > recent else 0.0, server != last)

    return sorted(random.sample(configured, len(configured)), key=place)


def in_trouble(server: str | None) -> None:
    """Note that an API server gave no answer: others come first for a while.

    :param server: its URL, as :func:`servers` returns it
    """
    _memory.troubles[server] = time.monotonic()


def named(client: glance.GlanceClientWrapper) -> str:
    """Return the API server that Nova's client asked last, for a message.

    :param client: Nova's client
    :returns: its URL; those of all API servers if it has not asked yet
    """
    configured = CONF.glance.api_servers or ['Glance']
    return str(getattr(client, 'api_server', ', '.join(configured)))


def connect(
    client: glance.GlanceClientWrapper,
    context: RequestContext,
    server: str | None = None,
) -> Any:
    """Return the glanceclient for one request.

    :param client: Nova's client
    :param context: whose token is sent
    :param server: URL of the API server, None for the one that Nova's client
        goes to
    """
    if client.client or server is None:
        return client.client or client._create_onetime_client(context, 2)
    return glance.GlanceClientWrapper(context, endpoint=server).client


def adapter(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    client: glance.GlanceClientWrapper | None = None,
    server: str | None = None,
    headers: dict[str, str] | None = None,
) -> ks_adapter.Adapter:
    """Return an adapter that sends one request to version 2 of Glance's API.

    The request goes to one API server, once: Nova's own settings for retries
    and time-outs do not apply.

    :param context: whose token is sent
    :param timeout: how long Keystone may take to answer, in seconds
    :param client: Nova's client, if it was made for a certain server
    :param server: URL of the API server, None for the first of
        :func:`servers`
    :param headers: further headers of the request
    """
    context.update_store()
    server = server or servers(client)[0]
    client = client or glance.GlanceClientWrapper()
    http = connect(client, context, server).http_client
    # Nova's own session waits for Keystone without a limit. This session
    # shares its connections.
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
        additional_headers=headers,
    )


class _Server(image_api.Images):
    """The image API of one API server. It notes whether the server answers.

    :param headers: further headers of each request
    """

    def __init__(
        self,
        context: RequestContext,
        timeout: float,
        client: glance.GlanceClientWrapper | None,
        server: str | None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            functools.partial(
                adapter, context, timeout, client, server, headers
            ),
            timeout,
        )
        self._server = server

    def _request(self, method: str, path: str, **how: Any) -> Any:
        try:
            answer = super()._request(method, path, **how)
        except exception.ServiceAway as exc:
            if exc.status is None:
                in_trouble(self._server)
            raise
        _memory.troubles.pop(self._server, None)
        return answer


class _Servers(image_api.Images):
    """The image API of all API servers. If one fails, the next is asked.

    A request that changes something is sent once, as its answer may be lost.
    """

    def __init__(
        self,
        context: RequestContext,
        timeout: float,
        client: glance.GlanceClientWrapper | None,
    ) -> None:
        super().__init__(
            functools.partial(adapter, context, timeout, client), timeout
        )
        self._client = client
        self._server = functools.partial(_Server, context, timeout, client)

    def _request(self, method: str, path: str, **how: Any) -> Any:
        first, *others = servers(self._client)
        order = [first, *others] if method == 'GET' else [first]
        for server in order[:-1]:
            try:
                return self._server(server)._request(method, path, **how)
            except exception.ServiceAway as exc:
                LOG.debug('%s: %s', server, exc)
        return self._server(order[-1])._request(method, path, **how)


def images(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    client: glance.GlanceClientWrapper | None = None,
    server: str | None = None,
) -> image_api.Images:
    """Return Glance's image API, as a user may use it.

    :param context: as for :func:`adapter`
    :param timeout: how long Glance may take to answer, and how long Keystone
        may, in seconds
    :param client: as for :func:`adapter`
    :param server: URL of the only API server to ask; None for all of them
    """
    if server is not None:
        return _Server(context, timeout, client, server)
    return _Servers(context, timeout, client)


class _NoStore(exception.LookupFailed):
    """Raised if an API server shows an image, but no store of it."""

    def __init__(self, image: dict[str, Any]) -> None:
        super().__init__('Glance names no store of the image')
        self.image = image


def _answer(
    context: RequestContext,
    ask: Callable[[image_api.Images], T],
    timeout: float,
    client: glance.GlanceClientWrapper | None = None,
    rounds: int = 1,
) -> T:
    """Ask the API servers one after the other, until one answers.

    :param context: whose token is sent
    :param ask: asks the image API of one server
    :param timeout: for all servers together, in seconds
    :param client: as for :func:`adapter`
    :param rounds: how often each server is asked at most
    :raises LookupFailed: Glance did not say in that time
    :raises GlanceRefused: Glance refused
    """

    def ask_one(server: str | None, left: float) -> T:
        return ask(_Server(context, left, client, server))

    asking = failover.Asking(servers(client), ask_one, timeout, in_trouble)
    return asking.answer(rounds, PAUSE)


def _insist(
    context: RequestContext,
    ask: Callable[[image_api.Images], T],
    timeout: float,
) -> T:
    """Ask again and again; only once if Glance did not answer a moment ago.

    The arguments and errors are those of :func:`_answer`.
    """
    rounds = ROUNDS
    if time.monotonic() < _memory.silent_until:
        timeout, rounds = min(timeout, SHORT), 1
    try:
        found = _answer(context, ask, timeout, rounds=rounds)
    except exception.ServiceAway as exc:
        if exc.status is None:
            _memory.silent_until = time.monotonic() + stores.FAILED
        raise
    _memory.silent_until = 0.0
    return found


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
    :raises GlanceRefused: the image does not exist or is not visible
    """
    return _answer(context, lambda i: i.show(image_id), timeout, client)


def stores_of(
    context: RequestContext, client: glance.GlanceClientWrapper, image_id: str
) -> tuple[str, ...]:
    """Return the stores of an image, from whichever API server tells them.

    :param context: whose token is sent
    :param client: as for :func:`adapter`
    :param image_id: the image's UUID
    :returns: store ids, in Glance's order; none if Glance does not say
    """

    def ask(asked: image_api.Images) -> tuple[str, ...]:
        image = asked.show(image_id)
        found = stores.of_image(image)
        if not found:
            raise _NoStore(image)
        return found

    try:
        return _answer(context, ask, stores.TIMEOUT, client, ROUNDS)
    except Exception as exc:
        LOG.debug('Image %s: %s', image_id, exc)
        return ()


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
    :param pause: how long to wait before the second question, in seconds;
        later a quarter of the time that has passed, up to a second
    :returns: the image, as Glance's API has it, with the status ``deleted``
        if Glance says twice that it is not there; None if Glance does not say
    """
    began = time.monotonic()
    deadline = began + patience
    found = None
    gone = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            found = show(context, image_id, min(left, stores.TIMEOUT), client)
        except exception.GlanceRefused as exc:
            if exc.is_gone:
                if gone:
                    return {'status': statuses.GONE[0]}
                # A Glance in trouble may say of any image that it is gone.
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
        spent = time.monotonic() - began
        time.sleep(max(pause, min(spent / 4, _LONGEST_PAUSE)))
    return found


def catalogue(
    context: RequestContext,
    timeout: float = stores.TIMEOUT,
    stale: stores.Catalogue | None = None,
    patient: bool = True,
    wanted: Collection[str] = (),
) -> stores.Catalogue:
    """Return the stores of the configured Glance.

    :param context: whose token is sent if Glance must be asked
    :param timeout: in seconds
    :param stale: a catalogue that proved wrong: ask for a newer one
    :param patient: as for :meth:`.stores.Cache.get`
    :param wanted: ids of stores; if Glance must be asked, and lists none of
        these stores, Glance is asked again
    :returns: the catalogue, empty if Glance does not have several stores
    :raises LookupFailed: Glance did not say
    """

    def ask(asked: image_api.Images) -> stores.Catalogue:
        return stores.parse(asked.ask('GET', '/info/stores'))

    def fetch() -> stores.Catalogue:
        deadline = time.monotonic() + stores.TIMEOUT
        try:
            found = _insist(context, ask, stores.TIMEOUT)
        except exception.GlanceRefused as exc:
            if exc.status in _DENIED:
                raise
            if exc.status != 404:
                raise exception.LookupFailed(str(exc)) from exc
            found = stores.Catalogue()
        if not _has_any(found, wanted):
            found = _of_others(context, ask, wanted) or found
        if found.stores and disks_in_ceph():
            return _with_places(context, deadline, found)
        return found

    try:
        return _memory.catalogue.get(fetch, timeout, stale, patient)
    except Exception as exc:
        raise exception.LookupFailed(
            f"Glance's stores are unknown ({_one_line(exc)})"
        ) from exc


def _of_others(
    context: RequestContext,
    ask: Callable[[image_api.Images], stores.Catalogue],
    wanted: Collection[str],
) -> stores.Catalogue | None:
    """Ask for stores again: another API server may know more of them.

    The servers differ while a change is under way, or by mistake. Several may
    be behind one URL: each question uses a connection of its own, so that a
    balancer can choose another server.

    :returns: a catalogue with one of the stores that are wanted, or with any
        if none is; None if no server has one
    """
    order = servers()
    for server in order * -(-(ROUNDS - 1) // len(order)):
        try:
            found = ask(_Server(context, SHORT, None, server, _CLOSE))
        except Exception as exc:
            LOG.debug('%s: %s', server, exc)
            continue
        if _has_any(found, wanted):
            return found
    return None


def _has_any(found: stores.Catalogue, wanted: Collection[str]) -> bool:
    """Tell whether a catalogue lists a wanted store.

    If no store is wanted, any will do.
    """
    return bool(set(found.ids).intersection(wanted or found.ids))


def pass_on(
    context: RequestContext,
    client: glance.GlanceClientWrapper,
    image_id: str,
    number: int,
) -> None:
    """Have a balancer give the next request to another API server.

    A client cannot see which server is the next. Each question here takes a
    connection of its own, so the next server has its turn whether the balancer
    counts connections or requests.

    :param context: whose token is sent
    :param client: as for :func:`adapter`
    :param image_id: the UUID of an image to ask for
    :param number: how many questions; the caller adds one each time, so that
        it does not meet the same server again and again, however many servers
        there are
    """
    server = servers(client)[0]
    for _ in range(number):
        try:
            _Server(context, SHORT, client, server, _CLOSE).show(image_id)
        except Exception as exc:
            LOG.debug('%s: %s', server, exc)


def catalogue_for(
    context: RequestContext,
    store: str,
    timeout: float = stores.TIMEOUT,
    patient: bool = True,
) -> stores.Catalogue:
    """Return the stores; ask again if a certain one is missing.

    :param context: whose token is sent if Glance must be asked
    :param store: id of that store
    :param timeout: in seconds
    :param patient: as for :meth:`.stores.Cache.get`
    :returns: the catalogue, with the store only if Glance has it now
    :raises LookupFailed: Glance did not say
    """
    deadline = time.monotonic() + timeout
    found = catalogue(context, timeout, wanted=(store,))
    if store in found.writable:
        return found
    left = deadline - time.monotonic()
    return catalogue(context, left, found, patient, (store,))


def _with_places(
    context: RequestContext, deadline: float, found: stores.Catalogue
) -> stores.Catalogue:
    """Ask where the stores are: as the user, then as Nova itself.

    Unless its policy is changed, Glance tells this to administrators and,
    since 2025.1, to services.

    :param deadline: on the monotonic clock; each question takes at most half
        of the time that is left
    :param found: the catalogue without places
    :returns: the catalogue with places; ``found`` if Glance tells neither of
        them, marked as unsettled if the reason may pass
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
        try:
            return stores.parse(
                _answer(
                    asker,
                    lambda asked: asked.ask('GET', '/info/stores/detail'),
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

    Callers that ask at the same time with the same token share the answer,
    but no error.

    :param context: whose token is sent; an image that the token may not see
        counts as not there
    :param image_id: the image's UUID, None if it has none
    :param timeout: in seconds
    :raises ImageGone: the image is not there
    :raises LookupFailed: Glance did not say
    """
    if image_id is None:
        raise exception.ImageGone("the base image's id is not a UUID")
    if not context.auth_token:
        return _base_image(context, image_id, timeout)
    deadline = time.monotonic() + timeout
    asking, asked = _memory.base_images, (image_id, context.auth_token)
    own: concurrent.futures.Future[dict[str, Any]] = (
        concurrent.futures.Future()
    )
    first = asking.setdefault(asked, own)
    if first is not own:
        concurrent.futures.wait([first], timeout)
        if first.done() and (found := first.result()):
            return found
        return _base_image(context, image_id, deadline - time.monotonic())
    found = {}
    try:
        found = _base_image(context, image_id, timeout)
    finally:
        # If this is empty, each caller that waits asks for itself.
        del asking[asked]
        own.set_result(found)
    return found


def _base_image(
    context: RequestContext, image_id: str, timeout: float
) -> dict[str, Any]:
    """Ask for a base image, as :func:`base_image` does, for one caller."""

    def ask(asked: image_api.Images) -> dict[str, Any]:
        image = asked.show(image_id)
        if not stores.of_image(image):
            # Another API server may know of stores.
            raise _NoStore(image)
        return image

    try:
        return _insist(context, ask, timeout)
    except _NoStore as exc:
        return exc.image
    except Exception as exc:
        if isinstance(exc, exception.GlanceRefused) and exc.is_gone:
            raise exception.ImageGone(
                'the base image is deleted or not visible'
            ) from exc
        raise exception.LookupFailed(
            f'the base image could not be looked up ({_one_line(exc)})'
        ) from exc


def _one_line(error: Exception) -> str:
    """Return an error as one line of at most 200 characters.

    Of a longer one, the begin and the end are kept: requests and urllib3 put
    the URL twice before the cause.
    """
    words = ' '.join(str(error).split()) or type(error).__name__
    if len(words) > 200:
        return f'{words[:80]} ... {words[-115:]}'
    return words


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
