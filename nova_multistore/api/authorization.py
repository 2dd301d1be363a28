"""Asks Nova's own policy enforcer whether a user may name a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nova import policy as nova_policy
from oslo_log import log as logging

from nova_multistore import policies

if TYPE_CHECKING:
    from nova.context import RequestContext

    from nova_multistore.selection import Operation

LOG = logging.getLogger(__name__)

_lock = threading.Lock()


def prepare() -> None:
    """Register the rules before the first request.

    While rules are being registered, other requests cannot be checked.
    """
    try:
        _register()
    except Exception as exc:
        # As without the filter, nova-api starts, and refuses requests.
        LOG.warning("Nova's policy cannot be read: %s", exc)


def authorize(
    context: RequestContext, operation: Operation, project_id: str
) -> None:
    """Make sure that a request may name a store.

    :param context: of the request, as the user sent it
    :param operation: a snapshot or a backup
    :param project_id: the project of the server
    :raises nova.exception.PolicyNotAuthorized: the request may not name one
    """
    _register()
    context.can(policies.RULES[operation], {'project_id': project_id})


def _register() -> None:
    """Register the rules, as Nova may have made a new enforcer."""
    with _lock:
        nova_policy.init()
        enforcer = nova_policy._ENFORCER
        for rule in policies.list_rules():
            if rule.name not in enforcer.registered_rules:
                enforcer.register_default(rule)
