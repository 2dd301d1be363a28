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
from tests.command import by_name
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e import nova
from tests.e2e import site
from tests.e2e.tenant import wait_for
from tests.functional import replaced

MIB = 1 << 20
#: How many servers a member starts at once.
MANY = 20

Run = Callable[..., 'subprocess.CompletedProcess[str]']


def run_with_credentials(cloud: fixture.Cloud) -> None:
    """Have nova-compute run with credentials of its own for copies."""
    cloud.run_compute(True, 'rbd', **nova.copy_credentials(cloud.site))


def start(
    cloud: fixture.Cloud, user: str, store: str, directory: Path
) -> journey.Server:
    """Start a server whose disk is in Ceph.

    :param store: the store of its base image
    """
    run_with_credentials(cloud)
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
    cloud.ensure_compute('rbd')
    server.delete()


@pytest.fixture(scope='module')
def member(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[journey.Server]:
    """Return a server of a user who is no administrator."""
    server = start(cloud, 'demo', 'fast', tmp_path_factory.mktemp('base'))
    yield server
    cloud.ensure_compute('rbd')
    server.delete()


def audit(run: Run, *arguments: str, user: str = 'admin') -> tuple[Any, str]:
    """Run an audit.

    :returns: what it found, by the image's id, and the words beside
    """
    done = run('snapshot', 'audit', *arguments, '-f', 'json', user=user)
    found = {row['id']: row for row in by_name(json.loads(done.stdout))}
    assert done.returncode == (1 if found else 0), done.stderr
    return found, done.stderr


def status(cloud: fixture.Cloud, *arguments: str, code: int = 0) -> str:
    """Run the command for operators on the compute host.

    :param code: the exit code that it must have
    :returns: its output
    """
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
    assert done.returncode == code, done.stdout + done.stderr
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


def ordered(run: Run, member: journey.Server) -> str:
    """Have a member order a snapshot to files; return the image's id."""
    done = run(
        *('snapshot', 'create', '--store', 'reliable', '--wait'),
        *(member.id, '-f', 'json'),
    )
    assert done.returncode == 0, done.stderr
    image_id: str = json.loads(done.stdout)['id']
    return image_id


def test_order_of_a_member(run: Run, member: journey.Server) -> None:
    """It is right where it was ordered to, and not for all to judge."""
    image_id = ordered(run, member)

    assert audit(run, user='demo')[0] == {}
    assert image_id not in audit(run, '--all-projects')[0]
    refused = run('snapshot', 'audit', '--all-projects')
    assert refused.returncode == 2
    assert '--all-projects is for administrators' in refused.stderr


def test_member_starts_a_server_from_it(
    cloud: fixture.Cloud, run: Run, member: journey.Server
) -> None:
    """Nova has it copied into its own Ceph, with credentials of its own."""
    run_with_credentials(cloud)
    image = member.active(ordered(run, member))
    assert member.landing(image) == journey.Landing('reliable', whole=True)

    again = journey.Server(
        cloud.site, cloud.tenant('demo'), 'again', image['id'], starts=1
    )

    copied = member.active(image['id'])
    assert set(copied['stores'].split(',')) == {'fast', 'reliable'}
    assert member.landing(copied).whole
    again.delete()


def test_many_servers_at_once(
    cloud: fixture.Cloud, run: Run, member: journey.Server
) -> None:
    """One copy is made for all that a member starts from one image."""
    run_with_credentials(cloud)
    tenant, admin = cloud.tenant('demo'), cloud.tenant('admin')
    image_id = member.active(ordered(run, member))['id']
    tenant.openstack(
        *('server', 'create', 'many', '--image', image_id, '--nic', 'none'),
        *('--flavor', journey.TINY, '--min', str(MANY), '--max', str(MANY)),
    )

    def servers() -> list[Any]:
        found: list[Any] = tenant.ask(
            'nova', 'GET', '/v2.1/servers/detail?name=many'
        )['servers']
        return found

    try:
        started = wait_for(
            f'{MANY} servers',
            servers,
            lambda found: all(
                s['status'] in ('ACTIVE', 'ERROR') for s in found
            ),
        )
        faults = [s['fault'] for s in started if 'fault' in s]
    finally:
        # No other test may find them, whatever has become of them.
        found = [server['id'] for server in servers()]
        tenant.openstack('server', 'delete', '--wait', *found)
    assert faults == []
    assert [s['status'] for s in started] == ['ACTIVE'] * MANY
    tasks = admin.ask('glance', 'GET', f'/v2/images/{image_id}/tasks')['tasks']
    assert [task['status'] for task in tasks] == ['success']


def test_without_credentials(
    cloud: fixture.Cloud, run: Run, member: journey.Server
) -> None:
    """The server's fault says to the member why it is not started."""
    cloud.run_compute(True, 'rbd')
    image_id = member.active(ordered(run, member))['id']

    with pytest.raises(site.CloudFailed, match='copy_image denies this user'):
        journey.Server(cloud.site, cloud.tenant('demo'), 'none', image_id)

    cloud.tenant('demo').openstack('server', 'delete', '--wait', 'none')


def test_move(cloud: fixture.Cloud, run: Run, member: journey.Server) -> None:
    """It is made in Ceph, and moves, also through nova-compute's end."""
    options = {
        'nova_multistore.move_to': 'reliable',
        **nova.copy_credentials(cloud.site),
    }
    cloud.run_compute(True, 'rbd', **options)
    checked = status(cloud, 'upgrade', 'check')
    image_id = member.start_snapshot()
    # It stays in both for half an hour, for those who read it.
    both = cloud.tenant('demo').wait_for_image(
        'the copy',
        image_id,
        lambda image: (
            image['status'] == 'active'
            and 'reliable' in image['stores'].split(',')
        ),
    )
    member.wait_for_status('ACTIVE')
    assert '[nova_multistore] move_to' in checked
    assert both['stores'] == 'fast,reliable'
    assert member.landing(both).whole
    assert (both[record.RULE], both[record.MOVE_FROM]) == ('move', 'fast')
    assert audit(run, '--all-projects')[0].get(image_id) is None
    # An operator who does not want to wait.
    member.active(image_id)
    run('image', 'relocate', image_id, '--to', 'reliable', user='admin')
    moved = cloud.tenant('demo').image(image_id)
    assert member.landing(moved) == journey.Landing('reliable', whole=True)
    assert record.MOVE_FROM not in moved

    with replaced(glance.directory(cloud.site, 'reliable')):
        image = member.active(member.start_snapshot())
        cloud.stop_compute(kill=True)
        # Glance may have been asked for the copy, and fails to make it.
        member.active(image['id'])
    assert member.landing(image) == journey.Landing('fast', whole=True)
    assert image[record.MOVE_FROM] == 'fast'

    configuration = cloud.site.root / 'nova' / 'nova-compute.conf'
    arguments = '--all-projects', '--config-file', str(configuration)
    found, _words = audit(run, *arguments)
    problem = found[image['id']]['problem']
    assert problem.startswith('it is to move from fast to reliable: ')
    mended = run(
        *('snapshot', 'audit', *arguments, '--fix', '-f', 'json'), user='admin'
    )
    remedies = {
        row['id']: row['remedy'] for row in by_name(json.loads(mended.stdout))
    }
    assert remedies[image['id']] == 'moved to reliable'
    after = cloud.tenant('demo').image(image['id'])
    assert member.landing(after) == journey.Landing('reliable', whole=True)


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
        told = status(cloud, 'computes')
        assert f'| fast       | store {store}' in told
        assert '1 with the package, 0 without' in told
    cloud.run_compute(False, 'rbd')
    told = status(cloud, 'computes', code=1)
    assert '0 with the package, 1 without' in told
    image, landing = server.snapshot()
    assert landing == journey.Landing('fast', whole=True)
    made[image['id']] = ''

    found, words = audit(run, '--all-projects')

    assert not set(made) & set(found)
    assert 'with a record of the decision' in words
    listed = run(
        *('image', 'list', '--server', server.id, '-f', 'json'), user='admin'
    )
    rules = {
        row['id']: row['rule'] for row in by_name(json.loads(listed.stdout))
    }
    assert made.items() <= rules.items()
