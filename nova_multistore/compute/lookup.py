"""What Glance says of its stores and images, asked through Nova's client."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from keystoneauth1 import loading
from nova import context as nova_context
import nova.conf
from nova.image import glance

from nova_multistore import bounded
from nova_multistore import exception
from nova_multistore import stores

if TYPE_CHECKING:
    from nova.context import RequestContext

CONF = nova.conf.CONF

_cache = stores.Cache()


def forget() -> None:
    """Forget what Glance said, so that it is asked anew."""
    global _cache
    _cache = stores.Cache()


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
    http = connect(client, context).http_client
    return http.get(path, timeout=timeout)[1]


def connect(
    client: glance.GlanceClientWrapper, context: RequestContext
) -> Any:
    """Return the glanceclient for one request, to the next API server."""
    return client.client or client._create_onetime_client(context, 2)


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
        try:
            return stores.parse(
                _ask(
                    glance.GlanceClientWrapper(),
                    context,
                    '/v2/info/stores',
                    stores.TIMEOUT,
                )
            )
        except glanceclient.exc.HTTPNotFound:
            return stores.Catalogue()
        except (exception.LookupFailed, glanceclient.exc.HTTPUnauthorized):
            # A token that has expired says nothing about Glance: the next
            # caller asks again with its own.
            raise
        except Exception as exc:
            raise _failed(exc) from exc

    try:
        return _cache.get(fetch, timeout, stale)
    except exception.LookupFailed as exc:
        raise exception.LookupFailed(
            f"Glance's stores are unknown ({exc})"
        ) from exc
    except glanceclient.exc.HTTPUnauthorized as exc:
        raise exception.LookupFailed(
            f"Glance's stores are unknown ({_failed(exc)})"
        ) from exc


def image_stores(
    context: RequestContext, image_id: str, timeout: float
) -> tuple[str, ...]:
    """Return the stores in which an image lies.

    :param context: whose token is sent; what it may not see is not there
    :param image_id: the image's UUID
    :param timeout: in seconds
    :returns: store ids, in Glance's order
    :raises LookupFailed: the image is not there, or Glance did not say
    """
    try:
        image = get(
            glance.GlanceClientWrapper(),
            context,
            f'/v2/images/{image_id}',
            timeout,
        )
        if not isinstance(image, dict):
            raise exception.LookupFailed('the answer is no image')
        return stores.split(image.get('stores'))
    except glanceclient.exc.HTTPNotFound as exc:
        raise exception.LookupFailed(
            'the base image is deleted or not visible'
        ) from exc
    except Exception as exc:
        raise exception.LookupFailed(
            f'the base image could not be looked up ({_failed(exc)})'
        ) from exc


def _failed(exc: Exception) -> exception.LookupFailed:
    text = ' '.join(str(exc).split()) or type(exc).__name__
    return exception.LookupFailed(text[:200])


def service_context() -> RequestContext:
    """Return the context of Nova itself, for when no user is asking.

    :returns: a context with the credentials of ``[service_user]``
    :raises LookupFailed: there are none
    """
    auth = loading.load_auth_from_conf_options(CONF, 'service_user')
    if auth is None:
        raise exception.LookupFailed(
            'there are no credentials in [service_user] to ask Glance with'
        )
    return nova_context.RequestContext(user_auth_plugin=auth, overwrite=False)
