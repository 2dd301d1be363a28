"""The package's commands, as processes against the cloud."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
import subprocess
from typing import Any

import pytest

from tests.command import by_name
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.functional import replaced

MIB = 1 << 20
RULE = 'os_compute_api:servers:create_image:store'

Run = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture(scope='module')
def server(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[journey.Server]:
    """Return a server of a user who is no administrator.

    Its base image is in the store `fast`.
    """
    path = tmp_path_factory.mktemp('base') / 'base.raw'
    guest.write_image(path, 16 * MIB)
    image_id = cloud.tenant('admin').upload('commands', 'fast', path)
    server = journey.Server(
        cloud.site, cloud.tenant('demo'), 'commands', image_id
    )
    yield server
    server.delete()


@pytest.fixture
def nothing_made(cloud: fixture.Cloud) -> Iterator[None]:
    """See that there are the same images before and afterwards."""

    def ids() -> set[str]:
        return {image['id'] for image in cloud.tenant('demo').images()}

    before = ids()
    yield
    assert ids() == before


def shown(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return by_name(json.loads(done.stdout))


@pytest.mark.usefixtures('nothing_made')
def test_explain(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    conf = cloud.site.root / 'nova' / 'nova-compute.conf'

    for arguments, store, direct in (
        ([], None, 'not known without --config-file'),
        (
            ['--config-file', str(conf)],
            'fast',
            'no, the disks are not in Ceph',
        ),
    ):
        told = shown(run('explain', server.name, *arguments, '-f', 'json'))

        assert told['store'] == store
        first = told['possibilities'][0]
        assert first['store'] == 'fast'
        assert first['reason'] == 'the base image is in it'
        assert told['base_image_stores'] == ['fast']
        assert told['direct_snapshot'] == direct
        marks = {
            store['id']: (store['default'], store['read_only'])
            for store in told['stores']
        }
        assert marks == {
            'cheap': (True, False),
            'fast': (False, False),
            'reliable': (False, False),
            'web': (False, True),
        }


def test_snapshot(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """It is where it was to, whole, and each state was a line."""
    done = run(
        *('snapshot', 'create', '--store', 'reliable', '--wait'),
        *('--name', 'chosen', '--property', 'colour=red'),
        *(server.name, '-f', 'json'),
    )

    told = shown(done)
    image = server.active(told['id'])
    assert (told['stores'], told['status']) == (['reliable'], 'active')
    assert (image['name'], image['colour']) == ('chosen', 'red')
    assert 'nova_multistore_store' not in image
    assert server.landing(image) == journey.Landing('reliable', whole=True)
    states = done.stderr.splitlines()
    assert states[-1].startswith('image: active')
    assert all(line.startswith('image: ') for line in states)


def test_snapshot_on_a_terminal(run: Run, server: journey.Server) -> None:
    """What is told changes in its place."""
    done = run(
        *('snapshot', 'create', '--store', 'cheap', '--wait', server.id),
        terminal=True,
    )

    assert done.returncode == 0, done.stdout
    # Python reads the carriage return as the end of a line.
    assert '\n\x1b[2Kimage queued' in done.stdout
    assert '| stores    | cheap ' in done.stdout


@pytest.mark.usefixtures('nothing_made')
@pytest.mark.parametrize(
    ('store', 'words'),
    [
        ('nosuch', 'can be written are cheap, fast, reliable'),
        ('web', 'is read-only'),
    ],
)
def test_store_that_takes_nothing(
    run: Run, server: journey.Server, store: str, words: str
) -> None:
    """It is refused at once, by all with the same exit code."""
    for arguments in (
        ('snapshot', 'create'),
        ('backup', 'create', '--type', 'daily', '--rotate', '1'),
        ('explain',),
    ):
        done = run(*arguments, '--store', store, server.id)

        assert done.returncode == 2
        assert words in done.stderr


def test_backup(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """The second one takes the place of the first."""
    first, second = (
        shown(
            run(
                *('backup', 'create', '--store', store, '--wait'),
                *('--type', 'daily', '--rotate', '1'),
                *(server.id, '-f', 'json'),
            )
        )
        for store in ('reliable', 'cheap')
    )

    assert (first['stores'], second['stores']) == (['reliable'], ['cheap'])
    image = server.active(second['id'])
    assert server.landing(image) == journey.Landing('cheap', whole=True)
    cloud.tenant('demo').wait_for_image(
        'the end of the first backup',
        first['id'],
        lambda image: image is None,
    )


def test_snapshot_that_fails(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """The command says so, and the image is gone."""
    with replaced(glance.directory(cloud.site, 'reliable')):
        done = run(
            *('snapshot', 'create', '--store', 'reliable', '--wait'),
            *('--name', 'lost', server.id),
        )

    assert done.returncode == 1
    assert 'was not made: it is gone' in done.stderr
    assert cloud.tenant('demo').images(name='lost') == []
    server.wait_for_status('ACTIVE')


def test_policy(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """Nova's own policy file says who may."""
    path = cloud.site.root / 'nova' / 'policy.yaml'
    before = path.read_text()
    snapshot = ('snapshot', 'create', '--store', 'cheap', '--wait', server.id)
    try:
        path.write_text(f'{before}"{RULE}": "rule:context_is_admin"\n')
        denied = run(*snapshot)
        allowed = run(*snapshot, user='admin')
    finally:
        path.write_text(before)

    assert denied.returncode == 1
    assert RULE in denied.stderr
    assert 'HTTP 403' in denied.stderr
    assert allowed.returncode == 0, allowed.stderr
    assert shown(run(*snapshot, '-f', 'json'))['stores'] == ['cheap']
