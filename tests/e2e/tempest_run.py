"""Tempest against the cloud, test by test."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import io
from pathlib import Path
import re
import subprocess
import time
from typing import Any

import subunit
import testtools

from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import site as e2e_site

#: What of tempest's own touches images of servers and of volumes, and several
#: stores.
UPSTREAM = (
    r'tempest\.api\.compute\.images\.test_images\.',
    r'tempest\.api\.compute\.images\.test_images_oneserver',
    r'tempest\.api\.compute\.images\.test_list_image_filters\.',
    r'tempest\.api\.compute\.servers\.test_delete_server\..*shelved',
    r'tempest\.api\.compute\.servers\.test_server_actions\..*'
    r'(create_backup|shelve)',
    r'tempest\.api\.compute\.servers\.test_servers_negative\..*shelve',
    r'tempest\.api\.image\.v2\.(admin\.)?test_images\.'
    r'(ImportCopyImagesTest|MultiStores)',
    r'tempest\.api\.volume\.test_image_metadata\.',
    r'tempest\.api\.volume\.test_volumes_actions\..*volume_upload',
    r'tempest\.api\.volume\.test_volumes_get\..*from_image',
)
#: The package's own.
PLUGIN = r'nova_multistore\.tests\.tempest\.'
#: How many tests run at once.
CONCURRENCY = 4
#: How long one run may take, in seconds.
PATIENCE = 600
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one test.

    :param status: success, skip, fail or another word of subunit's
    :param details: the traceback, or why it was skipped
    """

    status: str
    details: str = ''


@dataclasses.dataclass(frozen=True)
class Run:
    """What became of all tests of a run.

    :param outcomes: by the test's id
    :param seconds: how long it took
    """

    outcomes: Mapping[str, Outcome]
    seconds: float

    @property
    def passed(self) -> list[str]:
        return self._ended('success')

    @property
    def skipped(self) -> list[str]:
        return self._ended('skip')

    @property
    def failed(self) -> list[str]:
        """The tests that did not end well, or did not end at all."""
        return sorted({*self.outcomes} - {*self.passed, *self.skipped})

    def _ended(self, status: str) -> list[str]:
        return sorted(
            test
            for test, outcome in self.outcomes.items()
            if outcome.status == status
        )

    def only(self, tests: str) -> Run:
        """Return what became of the tests that a regular expression fits."""
        return self._choose(lambda test: re.match(tests, test) is not None)

    def without(self, tests: str) -> Run:
        """Return what became of those that it does not fit."""
        return self._choose(lambda test: re.match(tests, test) is None)

    def _choose(self, chosen: Callable[[str], bool]) -> Run:
        return Run(
            {t: o for t, o in self.outcomes.items() if chosen(t)}, self.seconds
        )

    def end(self, test: str) -> str:
        """Return the end of a test's traceback."""
        lines = self.outcomes[test].details.splitlines()
        return '\n'.join(lines[-e2e_site.TAIL :])

    def failures(self) -> str:
        """Return which tests failed, each with its traceback's end."""
        return '\n\n'.join(
            f'{test}:\n{self.end(test)}' for test in self.failed
        )

    def counts(self) -> str:
        return (
            f'{len(self.passed)} passed, {len(self.failed)} failed, '
            f'{len(self.skipped)} skipped'
        )


class Workspace:
    """A place of the cloud's own to run tempest from."""

    def __init__(self, cloud: fixture.Cloud) -> None:
        self._site = cloud.site
        self._directory = cloud.site.directory('tempest')
        self._image = _public_image(cloud, self._directory)

    def run(
        self,
        tests: Collection[str],
        options: Mapping[str, str],
    ) -> Run:
        """Run tests.

        :param tests: regular expressions that choose them
        :param options: of the plugin
        :raises CloudFailed: if tempest does not run
        """
        configuration = self._site.write(
            self._directory / 'tempest.conf',
            {**self._sections(), 'nova_multistore': options},
        )
        begin = time.monotonic()
        done = subprocess.run(
            [
                self._site.bin / 'tempest',
                *('run', '--subunit'),
                *('--config-file', configuration),
                *('--concurrency', str(CONCURRENCY)),
                *('--regex', '|'.join(tests)),
            ],
            cwd=self._directory,
            env=self._site.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )
        # Its exit status tells no more than the outcomes do.
        outcomes = _parse(done.stdout)
        if not outcomes:
            raise e2e_site.CloudFailed(
                f'tempest ran nothing. {done.stderr.decode(errors="replace")}'
            )
        return Run(outcomes, time.monotonic() - begin)

    def _sections(self) -> dict[str, dict[str, object]]:
        return {
            'DEFAULT': {'log_file': self._site.log('tempest')},
            'auth': {
                'admin_domain_name': 'Default',
                'admin_password': self._site.password,
                'admin_project_name': 'admin',
                'admin_username': 'admin',
                'create_isolated_networks': False,
            },
            'compute': {
                'build_timeout': 120,
                'flavor_ref': 1,
                'flavor_ref_alt': 2,
                'image_ref': self._image,
                'image_ref_alt': self._image,
                'max_microversion': 'latest',
            },
            'identity': {
                'auth_version': 'v3',
                'region': e2e_site.REGION,
                'uri_v3': f'{self._site.url("keystone")}/v3',
            },
            'image': {'build_timeout': 120},
            'oslo_concurrency': {'lock_path': self._directory / 'locks'},
            'service_available': {
                'cinder': True,
                'horizon': False,
                'neutron': True,
                'swift': False,
            },
            'validation': {'run_validation': False},
            'volume': {
                'build_timeout': 120,
                'catalog_type': 'block-storage',
                'storage_protocol': 'ceph',
            },
        }


def _public_image(cloud: fixture.Cloud, directory: Path) -> str:
    """Make the image that tempest's own tests start servers from."""
    path = directory / 'image.raw'
    guest.write_image(path, 2 * MIB)
    return cloud.tenant('admin').upload('tempest', glance.DEFAULT, path)


def _parse(stream: bytes) -> dict[str, Outcome]:
    """Read a stream of subunit's second version.

    :returns: what became of each test, by its id without its attributes
    """
    outcomes: dict[str, Outcome] = {}

    def note(test: Mapping[str, Any]) -> None:
        outcomes[test['id'].partition('[')[0]] = Outcome(
            test['status'],
            '\n'.join(
                test['details'][name].as_text()
                for name in ('traceback', 'reason')
                if name in test['details']
            ),
        )

    result = testtools.StreamToDict(note)
    result.startTestRun()
    # What a worker prints by itself is no test.
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='stdout'
    ).run(result)
    result.stopTestRun()
    outcomes.pop('stdout', None)
    # A class that is skipped or fails as a whole says so once, and its tests
    # are only named.
    whole = {
        test: f'setUpClass ({test.rpartition(".")[0]})'
        for test, outcome in outcomes.items()
        if outcome.status == 'exists'
    }
    for test, name in whole.items():
        outcomes[test] = outcomes.get(name, outcomes[test])
    for name in whole.values():
        outcomes.pop(name, None)
    return outcomes
