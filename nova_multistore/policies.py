"""The policy rules that say who may name a store, like Nova's own rules."""

from __future__ import annotations

from oslo_policy import policy

from nova_multistore.selection import Operation

#: The rule for each operation for which a request may name a store.
RULES = {
    Operation.SNAPSHOT: 'os_compute_api:servers:create_image:store',
    Operation.BACKUP: 'os_compute_api:os-create-backup:store',
}


def list_rules() -> list[policy.DocumentedRuleDefault]:
    """List the rules, for Nova's enforcer and oslo.policy's generators.

    :returns: list of rules; by default, whoever may do the action itself may
        name a store for it
    """
    return [
        _rule(Operation.SNAPSHOT, 'createImage', 'an image of a server'),
        _rule(Operation.BACKUP, 'createBackup', 'a backup of a server'),
    ]


def _rule(
    operation: Operation, action: str, what: str
) -> policy.DocumentedRuleDefault:
    name = RULES[operation]
    return policy.DocumentedRuleDefault(
        name=name,
        check_str=f'rule:{name.removesuffix(":store")}',
        description=f'Name the Glance store for {what}',
        operations=[
            {
                'method': 'POST',
                'path': f'/servers/{{server_id}}/action ({action})',
            }
        ],
        scope_types=['project'],
    )
