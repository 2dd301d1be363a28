"""The cloud as a fixture, for tests and for `make cloud`."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import fixtures

from tests.e2e import cloud
from tests.e2e import init
from tests.e2e import site as e2e_site


class Cloud(fixtures.Fixture):
    """A running cloud.

    It lives in namespaces of its own. A test that ends, or is killed, takes
    it along, unless `detach` was called.

    :param images_type: nova-compute's `[libvirt] images_type`
    :param patched: whether nova-compute is started with the package
    """

    def __init__(
        self, images_type: str = 'qcow2', patched: bool = True
    ) -> None:
        self.images_type = images_type
        self.patched = patched
        self._detached = False

    def _setUp(self) -> None:
        if os.geteuid():
            raise e2e_site.CloudFailed('the cloud has to be started as root')
        root = Path(tempfile.mkdtemp(prefix='cloud-')).resolve()
        self.addCleanup(self._remove, root)
        self.site = e2e_site.Site(
            root,
            secrets.token_hex(16),
            e2e_site.free_ports(),
            self.images_type,
            self.patched,
        )
        self.site.logs.mkdir()
        self.site.save()
        begin = time.monotonic()
        self._process = subprocess.Popen(
            [
                'unshare',
                '--mount',
                '--pid',
                '--fork',
                '--kill-child',
                '--mount-proc',
                sys.executable,
                '-m',
                'tests.e2e.init',
                root,
            ],
            cwd=e2e_site.REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # So Ctrl-C reaches the starter alone, which then ends the cloud.
            start_new_session=True,
        )
        self.addCleanup(self._end)
        if self._process.stdout is None or self._process.stdin is None:
            raise AssertionError('unshare was started without pipes')
        for line in self._process.stdout:
            text = line.decode(errors='replace').rstrip()
            if text == cloud.READY:
                break
            print(text, flush=True)
        else:
            raise e2e_site.CloudFailed('the cloud did not come up')
        #: How long it took, in seconds.
        self.ready_after = time.monotonic() - begin

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart_compute(self, patched: bool, **options: str) -> None:
        """Restart nova-compute.

        :param patched: whether it is started with the package
        :param options: further options of its configuration, each as
            "group.name"
        """
        cloud.restart_compute(self.site.root, patched, options)
        self.site.patched = patched

    def openstack(self, *arguments: str) -> Any:
        """Run the command as an administrator would.

        :returns: its output, from JSON, or None
        :raises CloudFailed: if it fails
        """
        environment = self.site.environment()
        for line in self.site.openrc.read_text().splitlines():
            name, _, value = line.removeprefix('export ').partition('=')
            if name.startswith('OS_'):
                environment[name] = value
        command = [str(self.site.bin / 'openstack'), *arguments]
        if arguments[:2] != ('image', 'stage'):
            command += ['-f', 'json']
        # It uploads what it is piped, even where there is nothing: it needs a
        # terminal.
        done = subprocess.run(
            [
                'script',
                '-qec',
                f'{shlex.join(command)} 2>&1',
                '/dev/null',
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise e2e_site.CloudFailed(
                f'openstack {shlex.join(arguments)}: {done.stdout}'
            )
        # Some say how far they are before.
        _, brace, rest = done.stdout.partition('{')
        return json.loads(brace + rest) if brace else None

    def detach(self) -> None:
        """Let the cloud outlive this process."""
        if self._process.stdin is None:
            raise AssertionError('unshare was started without a pipe')
        self._process.stdin.write(init.STAY)
        self._process.stdin.close()
        self._detached = True

    def _end(self) -> None:
        if not self._detached:
            end(self._process.pid)
            self._process.wait()

    def _remove(self, root: Path) -> None:
        if not self._detached:
            shutil.rmtree(root, ignore_errors=True)


def end(pid: int) -> None:
    """Kill a cloud, and wait until nothing of it runs any more.

    :param pid: of the process that holds the namespaces
    """
    inside = list(_children(pid))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    # The first process of a namespace is gone after all the others.
    while any(_runs(each) for each in inside):
        time.sleep(0.05)


def _children(pid: int) -> Iterator[int]:
    path = Path(f'/proc/{pid}/task/{pid}/children')
    with contextlib.suppress(OSError):
        yield from map(int, path.read_text().split())


def _runs(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
    except OSError:
        return False
    return state.split()[0] not in 'XZ'
