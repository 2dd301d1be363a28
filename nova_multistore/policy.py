"""Who may name a store: the rules, enforced as Nova enforces its own."""

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
    """See that a request may name a store.

    :param context: of the request, as the user sent it
    :param operation: a snapshot or a backup
    :param project_id: the project of the server
    :raises nova.exception.PolicyNotAuthorized: it may not
    """
    _register()
    context.can(policies.RULES[operation], {'project_id': project_id})


def _register() -> None:
    """Let Nova's enforcer know the rules; Nova may have made a new one."""
    nova_policy.init()
    enforcer = nova_policy._ENFORCER
    with _lock:
        for rule in policies.list_rules():
            if rule.name not in enforcer.registered_rules:
                enforcer.register_default(rule)
