"""Tests on the real services."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from keystoneauth1 import session
from keystoneauth1 import token_endpoint
import openstack.connection
import pytest

from nova_multistore.compute import background
from nova_multistore.osc import cloud as osc_cloud
from tests import patience
from tests.cloud import glance as cloud_glance

# Runs a command, as a process.
_PROGRAM = """
import importlib
import sys
from nova_multistore import relocation
from tests import command
from tests.functional import connect
relocation.SETTLE = 1.0
module, name, url, *args = sys.argv[1:]
found = getattr(importlib.import_module(module), name)
sys.exit(command.run(found, connect(url), *args).code)
"""
#: What the end of the output has to say of a run.
notes: pytest.StashKey[list[str]] = pytest.StashKey()

#: An administrator of the project of the tests.
ADMIN = cloud_glance.token('demo', ('admin', 'member', 'reader'))
#: Stores of a Glance that can be written.
SITES = ('central', 'dcn0', 'dcn1')
#: The stores in which a base image is, and the one that follows from them.
FOLLOWED = [
    (('fast',), 'fast'),
    (('reliable',), 'reliable'),
    (('cheap',), 'cheap'),
    (('fast', 'cheap'), 'cheap'),
    (('reliable', 'fast'), 'reliable'),
    (('web',), 'cheap'),
]


class Token(token_endpoint.Token):
    """A token, and where its services are.

    :param endpoints: their URLs by type of service
    :param token: the token
    """

    def __init__(self, endpoints: dict[str, str], token: str) -> None:
        super().__init__(None, token)
        self._endpoints = endpoints

    def get_project_id(self, session: Any) -> str | None:
        _user, project, _roles = str(self.token).split(':')
        return project or None

    def get_endpoint(
        self, session: Any, service_type: Any = None, **_: Any
    ) -> str | None:
        return self._endpoints.get(service_type)

    def get_endpoint_data(
        self,
        session: Any,
        *,
        endpoint_override: Any = None,
        service_type: Any = None,
        **options: Any,
    ) -> Any:
        url = endpoint_override or self._endpoints.get(service_type)
        if url is None:
            return None
        return super().get_endpoint_data(
            session, endpoint_override=url, **options
        )


def connect(url: str, token: str = ADMIN, **endpoints: str) -> osc_cloud.Cloud:
    """Return what the commands ask, in a cloud without Cinder.

    :param url: of Glance
    :param token: says who asks
    :param endpoints: URLs of other services, by their type
    """
    auth = Token({'image': f'{url}/v2', **endpoints}, token)
    # As they stand: nothing has to be discovered there.
    overrides = {
        f'{kind}_endpoint_override': u for kind, u in endpoints.items()
    }
    connection = openstack.connection.Connection(
        session=session.Session(auth=auth),
        compute_api_version='2',
        **overrides,
    )
    return osc_cloud.Cloud(connection)


def three_sites(
    directory: pathlib.Path, **options: Any
) -> cloud_glance.Glance:
    """Return a Glance of three sites, the first of which is the default.

    :param directory: an existing directory for all that it writes
    :param options: what else its constructor has
    """
    stores = {**dict.fromkeys(SITES, 'file'), 'web': 'http'}
    return cloud_glance.Glance(
        directory, stores=stores, default=SITES[0], **options
    )


def equal(glance: cloud_glance.Glance, image_id: str, *stores: str) -> None:
    """See that an image is in these stores alone, with the same bytes."""
    assert sorted(glance.stores_of(image_id)) == sorted(stores)
    digests = glance.sha256(image_id)
    assert sorted(digests) == sorted(stores)
    assert len(set(digests.values())) == 1


def kill(
    command: type,
    glance: cloud_glance.Glance,
    *args: str,
    reached: Callable[[], bool],
    later: float,
    with_glance: bool,
) -> None:
    """Start a command, and kill it.

    :param command: its class
    :param args: its arguments
    :param reached: tells whether it is far enough
    :param later: how long after that, in seconds
    :param with_glance: kill Glance first, and start it again
    """
    process = subprocess.Popen(
        [
            *(sys.executable, '-c', _PROGRAM),
            *(command.__module__, command.__name__, glance.url, *args),
        ]
    )
    while process.poll() is None and not reached():
        time.sleep(0.002)
    time.sleep(later)
    assert process.poll() is None
    if with_glance:
        glance.kill()
    process.kill()
    process.wait()
    if with_glance:
        glance.start()


def arrivals(directory: pathlib.Path, more: int) -> Callable[[], bool]:
    """Return what tells whether a directory has so many files more."""

    def number() -> int:
        return len([*directory.iterdir()])

    goal = number() + more
    return lambda: number() >= goal


def end_background() -> None:
    """Wait until nova-compute has nothing left to do in the background."""
    left = patience.Patience(60)
    while background.pending() and left:
        time.sleep(0.05)
    assert background.pending() == 0


def end_locks(glance: cloud_glance.Glance) -> None:
    """Do what an operator does after Glance was killed, some hours later."""
    glance.change_database(
        "UPDATE tasks SET updated_at = datetime(updated_at, '-3 hours')"
    )
    stores = [name for name, kind in glance.stores.items() if kind == 'file']
    for image in glance.images():
        for store in stores:
            path = glance.directory(store) / image['id']
            if store not in glance.stores_of(image['id']):
                path.unlink(missing_ok=True)


def expected_digest(disk: pathlib.Path) -> str:
    """Return what a whole snapshot of a disk has to be.

    :param disk: a qcow2 file with a backing file
    :returns: sha256 of what qemu-img makes of it, apart from Nova
    """
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / 'snapshot'
        subprocess.run(
            ['qemu-img', 'convert', '-O', 'qcow2', disk, out], check=True
        )
        return hashlib.sha256(out.read_bytes()).hexdigest()


def upgrade_check(
    directory: pathlib.Path, url: str, text: str = ''
) -> tuple[int, str]:
    """Run ``nova-multistore-status upgrade check``.

    :param directory: where to write a ``nova.conf``
    :param url: of Glance
    :param text: what that file has besides
    :returns: its exit code, and what it says in one line
    """
    path = directory / 'nova.conf'
    path.write_text(
        f'[glance]\nendpoint_override = {url}\n'
        f'[service_user]\nauth_type = admin_token\nendpoint = {url}\n'
        f'token = nova:service:service\n{text}'
    )
    program = pathlib.Path(sys.executable).with_name('nova-multistore-status')
    done = subprocess.run(
        [program, '--config-file', path, 'upgrade', 'check'],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = (line.strip('|+-').strip() for line in done.stdout.splitlines())
    return done.returncode, ' '.join(filter(None, lines))


@contextlib.contextmanager
def unwritable(directory: pathlib.Path) -> Iterator[None]:
    """Let nobody write to a directory."""
    mode = directory.stat().st_mode
    directory.chmod(0o500)
    try:
        yield
    finally:
        directory.chmod(mode)


def broken(
    glance: cloud_glance.Glance, store: str
) -> contextlib.AbstractContextManager[None]:
    """Let a store take nothing, whoever writes."""
    return replaced(glance.directory(store))


@contextlib.contextmanager
def replaced(directory: pathlib.Path) -> Iterator[None]:
    """Have a file in the place of a directory."""
    away = directory.with_name(f'{directory.name}-away')
    directory.rename(away)
    directory.write_text('')
    try:
        yield
    finally:
        directory.unlink()
        away.rename(directory)


def small(directory: pathlib.Path, size: int) -> list[str]:
    """Make a directory, and return what starts a command that can fill it.

    Not everybody may start it.

    :param size: what it has room for, in MiB
    """
    directory.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={size}m tmpfs "$0" && exec "$@"'
    return ['unshare', '-rm', 'sh', '-c', mount, str(directory)]
