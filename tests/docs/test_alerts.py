"""What the documentation has for alerts."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
import yaml

REPOSITORY = pathlib.Path(__file__).parents[2]
ALERTS = REPOSITORY / 'doc' / 'source' / 'alerts'

OPENSTACK = """#!/bin/sh
echo "$@" >&2
printf '%s' "$ROWS"
exit "$CODE"
"""


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


@pytest.mark.parametrize(
    ('rows', 'code', 'problems'), [('', 0, 0), ('one\ntwo', 1, 2)]
)
def test_metrics(tmp_path, rows, code, problems):
    """The number of problems is in a file that is there all at once."""
    program, file = tmp_path / 'openstack', tmp_path / 'multistore.prom'
    program.write_text(OPENSTACK)
    program.chmod(0o755)

    subprocess.run(
        ['sh', ALERTS / 'multistore-metrics.sh', file],
        env={
            'CODE': str(code),
            'PATH': f'{tmp_path}:{os.environ["PATH"]}',
            'ROWS': rows,
        },
        check=True,
    )

    lines = file.read_text().splitlines()
    assert f'multistore_audit_problems {problems}' in lines
    assert re.fullmatch(
        r'multistore_audit_timestamp_seconds \d{10}', lines[-1]
    )
    assert sorted(tmp_path.iterdir()) == [file, program]


def test_metrics_without_an_audit(tmp_path):
    """If there was none, the last result stays."""
    program, file = tmp_path / 'openstack', tmp_path / 'multistore.prom'
    program.write_text(OPENSTACK)
    program.chmod(0o755)
    file.write_text('before')

    done = subprocess.run(
        ['sh', ALERTS / 'multistore-metrics.sh', file],
        env={
            'CODE': '2',
            'PATH': f'{tmp_path}:{os.environ["PATH"]}',
            'ROWS': '',
        },
        check=False,
    )

    assert done.returncode != 0
    assert file.read_text() == 'before'
