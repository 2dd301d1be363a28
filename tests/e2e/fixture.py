"""The cloud as a fixture, for tests and for `make cloud`."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import secrets
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
from tests.e2e import tenant


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
        #: How nova-compute runs; None if it does not.
        self._running: dict[str, Any] | None = {
            'patched': patched,
            'images_type': images_type,
            'options': {},
        }

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
            # What is left running must not hold a pipe of the starter's open.
            stderr=subprocess.STDOUT,
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

    def stop_compute(self, kill: bool = False) -> None:
        """Stop nova-compute: let it end what it does, or kill it at once."""
        self._running = None
        cloud.tell(self.site.root, 'stop', kill=kill)

    def run_compute(
        self, patched: bool, images_type: str = 'qcow2', **options: str
    ) -> None:
        """Have nova-compute run as it is asked for, restarted if need be.

        :param patched: whether it is started with the package
        :param images_type: its `[libvirt] images_type`
        :param options: further options of its configuration, each as
            "group.name"
        """
        wanted = {
            'patched': patched,
            'images_type': images_type,
            'options': options,
        }
        if wanted == self._running:
            return
        self._running = None
        cloud.tell(self.site.root, 'restart', **wanted)
        self._running = wanted
        self.site = e2e_site.Site.load(self.site.root)

    def run_glance(self, filtered: bool, volumes: bool = False) -> None:
        """Restart Glance.

        :param filtered: whether it has the package's filter
        :param volumes: whether it has the store of type cinder
        """
        cloud.tell(
            self.site.root, 'glance', filtered=filtered, volumes=volumes
        )

    def ensure_compute(self, images_type: str = 'qcow2') -> None:
        """Have nova-compute run, in whatever way.

        :param images_type: its `[libvirt] images_type`, if it does not run
        """
        if self._running is None:
            self.run_compute(True, images_type)

    def tenant(self, name: str) -> tenant.Tenant:
        """Return a user of the cloud.

        :param name: "admin" or "demo", who has the role member alone
        """
        return tenant.Tenant(self.site, name)

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
