"""Whether a user may name a store: asked of Nova's own policy enforcer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nova import policy as nova_policy

from nova_multistore import policies

if TYPE_CHECKING:
    from nova.context import RequestContext

    from nova_multistore.selection import Operation

_lock = threading.Lock()


def authorize(
    context: RequestContext, operation: Operation, project_id: str
) -> None:
    """Make sure that a request may name a store.

    :param context: of the request, as the user sent it
    :param operation: a snapshot or a backup
    :param project_id: the project of the server
    :raises nova.exception.PolicyNotAuthorized: it may not
    """
    _register()
    context.can(policies.RULES[operation], {'project_id': project_id})


def _register() -> None:
    """Register the rules, as Nova may have made a new enforcer."""
    nova_policy.init()
    enforcer = nova_policy._ENFORCER
    with _lock:
        for rule in policies.list_rules():
            if rule.name not in enforcer.registered_rules:
                enforcer.register_default(rule)
