"""The store that a request names, on its way from nova-api to nova-compute.

It goes with the context of the request, in a field that Nova carries over RPC
and does not use. Nothing that a user sends gets into it: nova-api's filter
alone writes it, after all checks.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nova.context import RequestContext

_PREFIX = 'nova_multistore_store='


@contextlib.contextmanager
def named(context: RequestContext, store: str) -> Iterator[None]:
    """Let what is sent to nova-compute meanwhile name a store.

    :param context: of the request
    :param store: store id, which the request may name
    """
    before = context.resource_uuid
    context.resource_uuid = f'{_PREFIX}{store}'
    try:
        yield
    finally:
        context.resource_uuid = before


def take(context: RequestContext) -> str | None:
    """Return the store that a request names, and take it from the context.

    oslo.log would show the field as the id of a server.

    :param context: of the request
    :returns: store id, None if the request names none
    """
    value = context.resource_uuid
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return None
    context.resource_uuid = None
    return value[len(_PREFIX) :]
