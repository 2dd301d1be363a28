"""One cloud for all end-to-end tests, and who runs commands against it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
from pathlib import Path
import shlex
import subprocess

import pytest

from tests.e2e import fixture
from tests.e2e import openstack


@pytest.fixture(scope='session')
def cloud(request: pytest.FixtureRequest) -> Iterator[fixture.Cloud]:
    """Return a cloud that runs as long as the tests do.

    Its logs end with it: if a test fails, what nova-compute said is shown.
    """
    with fixture.Cloud() as cloud:
        yield cloud
        if request.session.testsfailed:
            reporter = request.config.pluginmanager.get_plugin(
                'terminalreporter'
            )
            log = cloud.site.log('nova-compute').read_text(errors='replace')
            reporter.section('errors of nova-compute')
            for line in log.splitlines():
                if ' ERROR ' in line:
                    reporter.line(line)


@pytest.fixture(scope='session')
def clouds(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a clouds.yaml with a cloud for each user."""
    site = cloud.site
    path = tmp_path_factory.mktemp('clouds') / 'clouds.yaml'
    # JSON is YAML.
    path.write_text(
        json.dumps(
            {
                'clouds': {
                    user: {
                        'auth': {
                            'auth_url': f'{site.url("keystone")}/v3',
                            'username': user,
                            'project_name': user,
                            'password': site.password,
                            'user_domain_name': 'Default',
                            'project_domain_name': 'Default',
                        },
                        'region_name': 'RegionOne',
                    }
                    for user in ('admin', 'demo')
                }
            }
        )
    )
    return path


@pytest.fixture
def run(
    cloud: fixture.Cloud, clouds: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of the commands."""

    def run(
        *arguments: str, user: str = 'demo', terminal: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = ['--os-cloud', user, 'multistore', *arguments]
        environment = cloud.site.environment(OS_CLIENT_CONFIG_FILE=clouds)
        if not terminal:
            return openstack.run(command, environment)
        command.insert(0, str(cloud.site.bin / 'openstack'))
        return subprocess.run(
            ['script', '-qec', shlex.join(command), '/dev/null'],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
