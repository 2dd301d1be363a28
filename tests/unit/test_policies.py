"""The rules, as Nova's own policy file has them."""

from __future__ import annotations

import importlib.metadata

from nova import exception as nova_exception
from nova import policy as nova_policy
import pytest
import yaml

from nova_multistore import policies
from nova_multistore.api import authorization
from nova_multistore.api import store
from nova_multistore.selection import Operation

SNAPSHOT = 'os_compute_api:servers:create_image'
BACKUP = 'os_compute_api:os-create-backup'
ACTIONS = {Operation.SNAPSHOT: SNAPSHOT, Operation.BACKUP: BACKUP}


@pytest.fixture
def rules(conf, tmp_path):
    """Write the file, and have Nova read it."""

    def rules(**changed):
        path = tmp_path / 'policy.yaml'
        path.write_text(yaml.safe_dump(changed))
        conf.config(group='oslo_policy', policy_file=str(path))
        nova_policy.reset()

    yield rules
    nova_policy.reset()


@pytest.fixture
def allowed(context):
    """Tell for what a user with these roles may name a store."""

    def allowed(*roles, project_id='project'):
        context.roles = list(roles)
        found = set()
        for operation in ACTIONS:
            try:
                authorization.authorize(context, operation, project_id)
            except nova_exception.PolicyNotAuthorized:
                continue
            found.add(operation)
        return found

    return allowed


def test_before_the_first_request(rules, context, monkeypatch):
    """Nothing is registered while other requests are checked."""
    rules()
    context.roles = ['member']
    store.filter_factory({})

    def register(*_arguments):
        pytest.fail('a rule is registered during a request')

    monkeypatch.setattr(nova_policy._ENFORCER, 'register_default', register)
    for operation in ACTIONS:
        authorization.authorize(context, operation, context.project_id)


def test_file_that_cannot_be_read(rules, conf, tmp_path, caplog):
    """nova-api starts, as without the filter."""
    rules()
    (tmp_path / 'policy.yaml').write_text('{')

    store.filter_factory({})

    assert 'policy' in caplog.text


def test_entry_point():
    """oslo.policy's generators find them."""
    [entry] = [
        entry
        for entry in importlib.metadata.distribution(
            'nova-multistore'
        ).entry_points
        if entry.group == 'oslo.policy.policies'
    ]

    names = [rule.name for rule in entry.load()()]

    assert names == [f'{SNAPSHOT}:store', f'{BACKUP}:store']


def test_default(rules, allowed):
    """A member may in the own project, as for the action."""
    rules()

    assert allowed('member', 'reader') == set(ACTIONS)
    assert allowed('reader') == set()
    assert allowed('member', 'reader', project_id='other') == set()


@pytest.mark.parametrize('operation', ACTIONS)
def test_rule_of_the_action(rules, allowed, operation):
    """Where that is changed, this follows."""
    rules(**{ACTIONS[operation]: 'role:archivist'})

    assert allowed('member') == set(ACTIONS) - {operation}
    assert operation in allowed('archivist')


@pytest.mark.parametrize('operation', ACTIONS)
def test_own_rule(rules, allowed, operation):
    """It can be denied, and allowed to a role, and read anew."""
    rules(**{policies.RULES[operation]: '!'})
    assert allowed('member') == set(ACTIONS) - {operation}

    rules(**{policies.RULES[operation]: 'role:archivist'})
    assert operation in allowed('archivist')
