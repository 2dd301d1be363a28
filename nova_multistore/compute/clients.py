"""Nova's clients of Glance, made to ask for nothing twice.

Nova makes a client for each request, and each client asks for the schema of
images, for an update twice. After an update, the client asks for the image,
which Glance's answer has shown already. The package's own questions weigh less
than that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from typing import Any

from glanceclient.v2 import client as glanceclient_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.image.glance import GlanceClientWrapper

#: How long a schema is kept, in seconds. It changes only with Glance's release
#: and its schema-image.json.
KEPT = 60.0

# Schemas, and when they were asked for on the monotonic clock, by the URL of
# the API server and their name.
_schemas: dict[tuple[str | None, str], tuple[Any, float]] = {}


def forget() -> None:
    """Forget all schemas."""
    _schemas.clear()


def create(
    proceed: Callable[..., Any], wrapper: GlanceClientWrapper, /, **_: Any
) -> Any:
    """Create a client for one call.

    Wraps ``nova.image.glance.GlanceClientWrapper._create_onetime_client``.

    :returns: the glanceclient
    """
    return frugal(proceed(), wrapper.api_server)


def frugal(client: Any, server: str | None) -> Any:
    """Have a client ask for nothing twice.

    :param client: a glanceclient
    :param server: URL of its API server
    :returns: the same client
    """
    if isinstance(client, glanceclient_client.Client):
        images = client.images
        images.schema_client = _Schemas(images.schema_client, server)
        images.http_client = _Answers(images.http_client)
    return client


class _Schemas:
    """Takes the place of ``glanceclient.v2.schemas.Controller``."""

    def __init__(self, controller: Any, server: str | None) -> None:
        self._controller = controller
        self._server = server

    def get(self, name: str) -> Any:
        """Return a schema.

        :param name: its name
        :raises Exception: as glanceclient does
        """
        now = time.monotonic()
        known, since = _schemas.get((self._server, name), (None, 0.0))
        if known is None or now > since + KEPT:
            known = self._controller.get(name)
            _schemas[self._server, name] = known, now
        return known


class _Answers:
    """An HTTP client that keeps the answer to the question after a change.

    That question is the next one of the same client, for the same URL.
    """

    def __init__(self, http: Any) -> None:
        self._http = http
        self._changed: tuple[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    def patch(self, url: str, **how: Any) -> Any:
        """Change an image.

        :returns: the response, and the image as Glance has it now
        """
        answer = self._http.patch(url, **how)
        self._changed = url, answer
        return answer

    def get(self, url: str, **how: Any) -> Any:
        """Ask for an image, unless the answer to a change has just shown it.

        :returns: the response, and the image
        """
        changed, self._changed = self._changed, None
        if changed and changed[0] == url and _is_image(changed[1][1]):
            return changed[1]
        return self._http.get(url, **how)


def _is_image(body: Any) -> bool:
    return isinstance(body, dict) and 'id' in body and 'status' in body
