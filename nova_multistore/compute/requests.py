"""Nova's requests to Glance that the package changes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from nova_multistore.compute import near
from nova_multistore.compute import properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext


def call(
    proceed: Callable[..., Any],
    _client: Any,
    /,
    context: RequestContext,
    method: str,
    controller: str | None = None,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    **_rest: Any,
) -> Any:
    """Change an update of a snapshot's image, and a download.

    Wraps ``nova.image.glance.GlanceClientWrapper.call``.

    :returns: what Glance answers
    """
    if controller is None:
        if method == 'update' and kwargs and not args:
            return properties.update(proceed, kwargs)
        if method == 'data' and args and not kwargs:
            return near.download(proceed, context, *args)
    return proceed()
