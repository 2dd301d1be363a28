"""What the demo leaves to play with."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests import demo
from tests.command import by_name


@pytest.fixture(scope='module')
def nova_is():
    """With the filter in nova-api's pipelines."""
    return {'filtered': True}


@pytest.fixture
def shell(tmp_path, nova, glance):
    """Run a command as the demo says."""
    with nova.served() as url:
        openrc = demo.configure(tmp_path, url, glance.url)

        def shell(command):
            done = subprocess.run(
                ['sh', '-euc', f'. {openrc}; {command}'],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return by_name(json.loads(done.stdout))

        yield shell


def test_commands(shell, glance, qcow2, nova):
    """They work at once, as a user and as an administrator."""
    base = glance.create_image(qcow2, stores=['fast'])
    server = nova.create_server(base, name='beta')

    told = shell('openstack multistore explain beta -f json')
    made = shell(
        'openstack multistore snapshot create --store reliable --name mine '
        '--wait beta -f json'
    )
    shown = shell('openstack multistore image show mine -f json')
    problems = shell(
        'openstack --os-cloud admin multistore snapshot audit --all-projects '
        '-f json'
    )

    assert told['server_id'] == server
    assert glance.stores_of(made['id']) == ['reliable']
    assert [(row['store'], row['state']) for row in shown] == [
        ('reliable', 'done')
    ]
    assert problems == []
