"""What the package costs: stock and patched Nova side by side."""

from __future__ import annotations

from typing import Any


def become(nova: Any, patched: bool) -> bool:
    """Have nova-compute run with the package or without.

    :param nova: a :class:`tests.cloud.nova.Nova`
    :returns: whether it was restarted for that
    """
    # Not earlier: Nova has to be the first that is imported.
    from nova_multistore import lookup
    from nova_multistore.compute import patch

    if patch.is_applied() == patched:
        return False
    if patched:
        patch.apply()
    else:
        patch.remove()
    nova.restart_compute()
    lookup.forget()
    return True
