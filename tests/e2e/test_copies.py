"""Snapshots that are copied by themselves, also through nova-compute's end."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
from pathlib import Path
import subprocess

import pytest

from tests.command import by_name
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e import nova
from tests.functional import replaced

MIB = 1 << 20
PROPERTY = 'nova_multistore_copy_to'

Run = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture
def server(cloud: fixture.Cloud, tmp_path: Path) -> Iterator[journey.Server]:
    """Return a member's server whose snapshots are copied to `reliable`."""
    cloud.run_compute(
        True,
        **{
            'nova_multistore.copy_to': 'reliable',
            **nova.copy_credentials(cloud.site),
        },
    )
    path = tmp_path / 'base.raw'
    guest.write_image(path, 16 * MIB)
    image_id = cloud.tenant('admin').upload('copied', 'fast', path)
    server = journey.Server(
        cloud.site, cloud.tenant('demo'), 'copied', image_id
    )
    yield server
    cloud.ensure_compute()
    server.delete()


def test_killed_compute(
    cloud: fixture.Cloud, run: Run, server: journey.Server
) -> None:
    """What it has copied is whole; what it has not, the audit has copied."""
    configuration = cloud.site.root / 'nova' / 'nova-compute.conf'
    done = subprocess.run(
        [
            cloud.site.bin / 'nova-multistore-status',
            *('--config-file', configuration, 'upgrade', 'check'),
        ],
        env=cloud.site.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert 'copy_to' in done.stdout
    assert done.returncode == 0, done.stdout

    first = server.active(server.start_snapshot())
    copied = cloud.tenant('demo').wait_for_image(
        'the copy',
        first['id'],
        lambda image: image['stores'] == 'fast,reliable',
    )
    assert server.landing(copied).whole

    server.wait_for_status('ACTIVE')
    with replaced(glance.directory(cloud.site, 'reliable')):
        second = server.active(server.start_snapshot())
        cloud.stop_compute(kill=True)
        # Glance may have been asked for the copy, and fails to make it.
        server.active(second['id'])
    # Glance had the image before nova-compute had deleted its own file.
    journey.clean_up(cloud.site)
    assert (second['stores'], second[PROPERTY]) == ('fast', 'reliable')

    audit = (
        *('snapshot', 'audit', '--all-projects'),
        *('--config-file', str(configuration), '-f', 'json'),
    )
    found = run(*audit, user='admin')
    assert found.returncode == 1, found.stderr
    problems = {row['id']: row for row in by_name(json.loads(found.stdout))}
    assert first['id'] not in problems
    assert 'reliable' in problems[second['id']]['problem']

    fixed = run(*audit, '--fix', user='admin')
    assert fixed.returncode == 0, fixed.stderr
    image = cloud.tenant('demo').image(second['id'])
    assert image['stores'] == 'fast,reliable'
    assert server.landing(image).whole
    assert json.loads(run(*audit, user='admin').stdout) == []
