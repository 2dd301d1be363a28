"""The store that a request names, on its way from nova-api to nova-compute.

The store travels in `read_only`, a field of the request's context. Nova sends
this field over RPC, and neither Nova nor oslo's libraries use or log it. Only
nova-api's filter writes the field, after all checks; no user can.
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
    """Name a store to nova-compute in each message that is sent meanwhile.

    :param context: of the request
    :param store: store id
    """
    before = context.read_only
    # Nova copies the context for each cell, and each copy has the field. So it
    # must not be a field that oslo.log writes in each line.
    context.read_only = f'{_PREFIX}{store}'
    try:
        yield
    finally:
        context.read_only = before


def take(context: RequestContext) -> str | None:
    """Return the store that a request names, and remove it from the context.

    :param context: of the request
    :returns: store id, None if the request names none
    """
    value = context.read_only
    if not isinstance(value, str) or not value.startswith(_PREFIX):
        return None
    context.read_only = False
    return value[len(_PREFIX) :]
