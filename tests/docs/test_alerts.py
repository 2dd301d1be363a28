"""What the documentation has for alerts."""

from __future__ import annotations

import pathlib
import re
import types

import yaml

from nova_multistore import stores
from nova_multistore.osc import snapshot_audit
from tests import command

REPOSITORY = pathlib.Path(__file__).parents[2]
ALERTS = REPOSITORY / 'doc' / 'source' / 'alerts'


def messages():
    """Return what nova-compute may log, with its words joined."""
    compute = REPOSITORY / 'nova_multistore' / 'compute'
    text = '\n'.join(path.read_text() for path in compute.glob('*.py'))
    return re.sub(r"'\s*\n\s*'", '', text)


def test_loki_rules():
    """Each part of each pattern is in a message of the package."""
    [group] = yaml.safe_load((ALERTS / 'loki-rules.yaml').read_text())[
        'groups'
    ]
    logged = messages()

    for rule in group['rules']:
        [pattern] = re.findall(r'\|[~=] "(.+?)"', rule['expr'])
        for part in pattern.split('|'):
            assert part in logged, rule['alert']


def test_prometheus_rules(tmp_path):
    """Each figure that a rule names is one that the audit writes."""
    path = tmp_path / 'audit.prom'
    cloud = types.SimpleNamespace(
        images=types.SimpleNamespace(
            page=lambda marker, **filters: ([], False),
            ask=lambda method, path: {},
        ),
        catalogue=lambda: stores.parse({'stores': [{'id': 'cheap'}]}),
        roles=('admin',),
    )
    done = command.run(
        snapshot_audit.AuditSnapshots,
        cloud,
        *('--all-projects', '--metrics', str(path)),
    )
    assert done.code == 0, done.words

    [group] = yaml.safe_load((ALERTS / 'prometheus-rules.yaml').read_text())[
        'groups'
    ]
    written = re.findall(r'^(\w+) ', path.read_text(), re.MULTILINE)
    for rule in group['rules']:
        named = re.findall(r'multistore_\w+', rule['expr'])
        assert named, rule['alert']
        assert set(named) <= set(written), rule['alert']
