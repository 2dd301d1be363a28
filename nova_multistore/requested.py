"""The store that a request names, on its way from nova-api to nova-compute.

It travels in a field of the request's context that Nova sends over RPC and
does not use. Only nova-api's filter writes the field, after all checks; no
user can.
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
    """Name a store to nova-compute in everything that is sent meanwhile.

    :param context: of the request
    :param store: store id
    """
    before = context.resource_uuid
    context.resource_uuid = f'{_PREFIX}{store}'
    try:
        yield
    finally:
        context.resource_uuid = before


def take(context: RequestContext) -> str | None:
    """Return the store that a request names, and remove it from the context.

    If it stayed there, oslo.log would show it as the id of a server.

    :param context: of the request
    :returns: store id, None if the request names none
    """
    value = context.resource_uuid
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return None
    context.resource_uuid = None
    return value[len(_PREFIX) :]
