"""Decisions explained before, and judged after, with disks in Ceph."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
from pathlib import Path
import subprocess
from typing import Any

import pytest

from nova_multistore import record
from tests.e2e import fixture
from tests.e2e import guest
from tests.e2e import journey

MIB = 1 << 20

Run = Callable[..., 'subprocess.CompletedProcess[str]']


def start(
    cloud: fixture.Cloud, user: str, store: str, directory: Path
) -> journey.Server:
    """Start a server whose disk is in Ceph.

    :param store: the store of its base image
    """
    cloud.run_compute(True, 'rbd')
    path = directory / 'base.raw'
    guest.write_image(path, 8 * MIB)
    name = f'decided-{store}'
    image_id = cloud.tenant('admin').upload(name, store, path)
    return journey.Server(cloud.site, cloud.tenant(user), name, image_id)


@pytest.fixture(scope='module')
def server(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[journey.Server]:
    """Return an administrator's server, whose base image is in two stores.

    Nova had it copied to the store in its own Ceph before the start.
    """
    server = start(cloud, 'admin', 'reliable', tmp_path_factory.mktemp('base'))
    yield server
    server.delete()


@pytest.fixture
def member(cloud: fixture.Cloud, tmp_path: Path) -> Iterator[journey.Server]:
    """Return a server of a user who is no administrator."""
    server = start(cloud, 'demo', 'fast', tmp_path)
    yield server
    server.delete()


def audit(run: Run, *arguments: str, user: str = 'admin') -> tuple[Any, str]:
    """Run an audit.

    :returns: what it found, by the image's id, and the words beside
    """
    done = run('snapshot', 'audit', *arguments, '-f', 'json', user=user)
    found = {row['id']: row for row in json.loads(done.stdout)}
    assert done.returncode == (1 if found else 0), done.stderr
    return found, done.stderr


def status(cloud: fixture.Cloud, *arguments: str) -> str:
    """Run the command for operators on the compute host."""
    configuration = cloud.site.root / 'nova' / 'nova-compute.conf'
    done = subprocess.run(
        [
            cloud.site.bin / 'nova-multistore-status',
            *('--config-file', configuration, *arguments),
        ],
        env=cloud.site.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_explain(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """Users are told what is possible, operators what is."""
    explain = ('explain', server.id, '-f', 'json')
    before = json.loads(run(*explain, user='admin').stdout)
    told = status(cloud, 'explain', server.name)
    image, landing = server.snapshot()
    after = json.loads(run(*explain, user='admin').stdout)

    assert before['store'] is None
    assert [
        (each['store'], each['condition']) for each in before['possibilities']
    ] == [
        ('fast', 'disks are in the Ceph of fast'),
        ('reliable', ''),
        (None, '[glance] store names it'),
    ]
    assert 'goes to: store fast (Ceph pool images)' in told
    assert landing == journey.Landing('fast', whole=True)
    assert (image[record.STORE], image[record.RULE]) == ('fast', 'base-image')
    assert before['last_decision'] is None
    assert after['last_decision'] == {
        'image_id': image['id'],
        'created_at': image['created_at'],
        'store': 'fast',
        'rule': 'base-image',
        'difference': None,
    }


def test_order_of_a_member(run: Run, member: journey.Server) -> None:
    """It is right where it was ordered to, and not for all to judge."""
    done = run(
        *('snapshot', 'create', '--store', 'reliable', '--wait'),
        *(member.id, '-f', 'json'),
    )
    assert done.returncode == 0, done.stderr
    image_id = json.loads(done.stdout)['id']

    assert audit(run, user='demo')[0] == {}
    assert image_id not in audit(run, '--all-projects')[0]
    refused = run('snapshot', 'audit', '--all-projects')
    assert refused.returncode == 2
    assert '--all-projects is for administrators' in refused.stderr


def test_member_starts_a_server_from_it(
    cloud: fixture.Cloud, run: Run, member: journey.Server
) -> None:
    """Nova has it copied into its own Ceph, with credentials of its own."""
    credentials = cloud.site.credentials('nova')
    cloud.run_compute(
        True,
        'rbd',
        **{
            f'nova_multistore.{name}': str(value)
            for name, value in credentials.items()
            if name != 'region_name'
        },
    )
    done = run(
        *('snapshot', 'create', '--store', 'reliable', '--wait'),
        *(member.id, '-f', 'json'),
    )
    assert done.returncode == 0, done.stderr
    image = member.active(json.loads(done.stdout)['id'])
    assert member.landing(image) == journey.Landing('reliable', whole=True)

    again = journey.Server(
        cloud.site, cloud.tenant('demo'), 'again', image['id'], starts=1
    )

    copied = member.active(image['id'])
    assert set(copied['stores'].split(',')) == {'fast', 'reliable'}
    assert member.landing(copied).whole
    again.delete()


def test_mixed_fleet(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """Two sites and a stock compute are audited in one run."""
    server.wait_for_status('ACTIVE')
    made = {}
    for store in ('reliable', 'cheap'):
        cloud.run_compute(True, 'rbd', **{'glance.store': store})
        image, landing = server.snapshot()
        assert landing == journey.Landing(store, whole=True)
        made[image['id']] = 'config'
    cloud.run_compute(False, 'rbd')
    image, landing = server.snapshot()
    assert landing == journey.Landing('fast', whole=True)
    made[image['id']] = ''

    found, words = audit(run, '--all-projects')

    assert not set(made) & set(found)
    assert 'with a record of the decision' in words
    listed = run(
        *('image', 'list', '--server', server.id, '-f', 'json'), user='admin'
    )
    rules = {row['id']: row['rule'] for row in json.loads(listed.stdout)}
    assert made.items() <= rules.items()
