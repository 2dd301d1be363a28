"""A real Ceph in processes of its own: a monitor, a manager, an OSD.

As small as it gets: the OSD keeps all in memory, and nothing is replicated.
It needs no root.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import hashlib
import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import time
from typing import Any
import uuid

import fixtures

from tests import patience
from tests.cloud import daemon
from tests.cloud import glance as cloud_glance

LOCALHOST = cloud_glance.LOCALHOST
#: How long a daemon may take to answer, in seconds.
PATIENCE = 90
#: Where all of its programs come from.
PACKAGES = 'Debian packages ceph-common, ceph-mgr, ceph-mon, ceph-osd'
_NAME = 'cloud'
# Those that a manager always has, unless it is told not to.
_MODULES = (
    'balancer',
    'crash',
    'devicehealth',
    'orchestrator',
    'pg_autoscaler',
    'progress',
    'rbd_support',
    'status',
    'telemetry',
    'volumes',
)
# The one of them that obeys "ceph rbd task".
_TASKS = 'rbd_support'
_GIB = 1 << 30


class CephFailed(Exception):
    """Raised if Ceph does not come up, or a command of its fails."""


class Ceph(fixtures.Fixture):
    """A cluster.

    :param root: a directory for all that it writes
    :param pools: the names of the pools that it has
    :param size: how much it can hold, in bytes of this machine's memory
    :param ports: two that are free, for the monitor
    :param launcher: a command that starts the daemon that is put behind it.
        The thread that starts them must live as long as they shall, unless
        it says otherwise
    :param users: what users may do with its data, by name, as OSDs read it;
        or a mapping of it and of what others read, as managers ("mgr"). If
        there are any, everybody has to have a key
    :param address: where its daemons listen, as the launcher knows it. Its
        clients have to reach them there
    :param runner: a command that starts those of Ceph that are put behind it,
        where the daemons are, for example. What uses Ceph's bindings is in
        this process
    :param tasks: whether the manager obeys "ceph rbd task"; false as soon as
        it is known that this one cannot
    """

    def __init__(
        self,
        root: Path,
        pools: Iterable[str],
        size: int = 4 * _GIB,
        ports: Iterable[int] | None = None,
        launcher: Iterable[str] = daemon.TIED,
        users: Mapping[str, str | Mapping[str, str]] | None = None,
        address: str = LOCALHOST,
        runner: Iterable[str] = (),
        tasks: bool = False,
    ) -> None:
        self.root = Path(root).resolve()
        self.pools = tuple(pools)
        self.size = size
        self.ports = tuple(ports or cloud_glance.free_ports(2))
        self.launcher = tuple(launcher)
        self.users = dict(users or {})
        self.address = address
        self.runner = tuple(runner)
        self.tasks = tasks
        self.fsid = str(uuid.uuid4())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def configuration(self) -> Path:
        return self.root / 'ceph.conf'

    def log(self, daemon: str) -> Path:
        return self.root / f'{daemon}.log'

    def _setUp(self) -> None:
        self.addCleanup(self.kill)
        self.start()

    def start(self) -> None:
        """Start it and make its pools.

        :raises CephFailed: it does not come up
        """
        if shutil.which('ceph-mon') is None:
            raise CephFailed(f'Ceph is not installed: {PACKAGES}')
        for name in ('mgr', 'osd', 'run'):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        v2, v1 = (f'{self.address}:{port}' for port in self.ports)
        addresses = f'[v2:{v2},v1:{v1}]'
        cloud_glance.write_sections(
            self.configuration, {'global': self._options(addresses)}
        )
        self._write_keys()
        monmap = str(self.root / 'monmap')
        self.run(
            *('monmaptool', '--create', '--addv', _NAME, addresses),
            *('--fsid', self.fsid, monmap),
        )
        self._conf(
            *('ceph-mon', '--mkfs', '--id', _NAME, '--monmap', monmap),
            *('--keyring', str(self._keyring)),
        )
        self._start('ceph-mon', _NAME, self._answers)
        self._start('ceph-mgr', _NAME, lambda: True)
        # An OSD comes up if the monitor has heard of it under the same id.
        osd = str(uuid.uuid4())
        self._tell('osd new', uuid=osd)
        self._conf('ceph-osd', '--mkfs', '--id', '0', '--osd-uuid', osd)
        self._start('ceph-osd', '0', lambda: True)
        for pool in self.pools:
            self._tell('osd pool create', pool=pool, pg_num=8)
            with self._open(pool) as (rbd, ioctx):
                rbd.RBD().pool_init(ioctx, False)
        # What Nova reports as its disk space comes by way of the manager.
        self._wait('ceph-mgr', self._has_space)
        if self.tasks:
            self._wait('ceph-mgr', self._knows_tasks)

    def _options(self, addresses: str) -> dict[str, object]:
        return {
            'fsid': self.fsid,
            'mon_host': addresses,
            'mon_initial_members': _NAME,
            'public_addr': self.address,
            'cluster_addr': self.address,
            'mon_data': self.root / 'mon',
            'mgr_data': self.root / 'mgr',
            'osd_data': self.root / 'osd',
            'run_dir': self.root / 'run',
            'log_file': '',
            'log_to_stderr': True,
            'mon_cluster_log_to_file': False,
            # Without users, who may connect to this machine may use it.
            **dict.fromkeys(
                (
                    'auth_client_required',
                    'auth_cluster_required',
                    'auth_service_required',
                ),
                'cephx' if self.users else 'none',
            ),
            'keyring': self._keyring,
            # One OSD has every copy that there is.
            'mon_allow_pool_size_one': True,
            'osd_crush_chooseleaf_type': 0,
            'osd_pool_default_min_size': 1,
            'osd_pool_default_size': 1,
            'memstore_device_bytes': self.size,
            'osd_class_dir': self._classes(),
            'osd_class_load_list': '*',
            'osd_objectstore': 'memstore',
            # Its modules are not wanted, but its answer to "ceph df" is.
            'mgr_initial_modules': '',
            'mgr_disabled_modules': ' '.join(
                name
                for name in _MODULES
                if not (self.tasks and name == _TASKS)
            ),
            # Nobody else is there to be waited for.
            'paxos_min_wait': 0.01,
            'paxos_propose_interval': 0.05,
        }

    @property
    def _keyring(self) -> Path:
        """Where the keys of all are."""
        return self.root / 'keyring'

    def _write_keys(self) -> None:
        """Make a key for each daemon and user, with what it may do."""
        everything = {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *'}
        caps = {
            'mon.': everything,
            'osd.0': everything,
            f'mgr.{_NAME}': everything,
            'client.admin': everything,
            **{
                f'client.{name}': {
                    'mon': 'profile rbd',
                    **({'osd': may} if isinstance(may, str) else may),
                }
                for name, may in self.users.items()
            },
        }
        cloud_glance.write_sections(
            self._keyring,
            {
                name: {
                    'key': self.run('ceph-authtool', '--gen-print-key'),
                    **{f'caps {kind}': f'"{cap}"' for kind, cap in of.items()},
                }
                for name, of in caps.items()
            },
        )

    def _classes(self) -> Path:
        """Return the directory of what an OSD loads, images for example.

        Ceph's own value is relative in some builds, as Debian's since 13. It
        is right for an OSD that is started in `/`, as systemd does.
        """
        shown = self.run(
            *('ceph-conf', '--conf', os.devnull),
            *('--show-config-value', 'osd_class_dir'),
        )
        return Path('/', shown.strip())

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def store(self, name: str, pool: str) -> dict[str, object]:
        """Return the options of a Glance store that is one of the pools."""
        return {
            f'{name}.rbd_store_ceph_conf': self.configuration,
            f'{name}.rbd_store_pool': pool,
            f'{name}.rbd_store_user': 'admin',
        }

    def disks(self, pool: str) -> dict[str, object]:
        """Return the options of a Nova whose disks are in one of the pools."""
        return {
            'libvirt.images_type': 'rbd',
            'libvirt.images_rbd_ceph_conf': str(self.configuration),
            'libvirt.images_rbd_pool': pool,
        }

    def ceph(self, *arguments: str) -> str:
        """Run the command of that name, and return what it printed."""
        return self._conf('ceph', *arguments)

    def rbd(self, *arguments: str) -> str:
        """Run the command of that name, and return what it printed."""
        return self._conf('rbd', *arguments)

    def images(self, pool: str) -> list[str]:
        """Return the names of a pool's images."""
        with self._open(pool) as (rbd, ioctx):
            names: list[str] = rbd.RBD().list(ioctx)
        return names

    def snapshots(self, pool: str) -> dict[str, list[str]]:
        """Return the names of the snapshots of each image of a pool."""
        found = {}
        with self._open(pool) as (rbd, ioctx):
            kind = rbd.RBD_SNAP_NAMESPACE_TYPE_USER
            for name in rbd.RBD().list(ioctx):
                with (
                    contextlib.suppress(rbd.ImageNotFound),
                    rbd.Image(ioctx, name, read_only=True) as image,
                ):
                    found[name] = [
                        each['name']
                        for each in image.list_snaps()
                        if each['namespace'] == kind
                    ]
        return found

    @contextlib.contextmanager
    def _open(self, pool: str) -> Iterator[tuple[Any, Any]]:
        """Open a pool; the commands of Ceph take longer to load."""
        # Not earlier: on eventlet, Nova has to patch before.
        import rbd

        with self._connect() as cluster, cluster.open_ioctx(pool) as ioctx:
            yield rbd, ioctx

    def _connect(self) -> Any:
        """Return a connection, which a `with` statement opens."""
        import rados

        return rados.Rados(conffile=str(self.configuration))

    def sha256(self, image: str) -> str:
        """Return the digest of an image's data, in hexadecimal.

        :param image: as "pool/image" or "pool/image@snapshot"
        """
        digest = hashlib.sha256()
        with subprocess.Popen(
            [
                *(*self.runner, 'rbd', '--conf', str(self.configuration)),
                *('export', image, '-'),
            ],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(1 << 20):
                digest.update(chunk)
        if process.returncode:
            raise CephFailed(f'rbd export {image} failed')
        return digest.hexdigest()

    def flip(self, image: str, place: int = 12345) -> None:
        """Change one bit of an image of Glance, behind its back.

        :param image: as "pool/image"; servers must not be clones of it
        :param place: of the byte that has it
        """
        pool, name = image.split('/')
        with (
            self._open(pool) as (rbd, ioctx),
            rbd.Image(ioctx, name) as opened,
        ):
            opened.unprotect_snap('snap')
            opened.remove_snap('snap')
            [byte] = opened.read(place, 1)
            opened.write(bytes([byte ^ 1]), place)
            opened.create_snap('snap')
            opened.protect_snap('snap')

    def run(self, *command: str) -> str:
        """Run any command, and return what it printed.

        :raises CephFailed: it fails
        """
        done = subprocess.run(
            [*self.runner, *command],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            lines = done.stderr.splitlines()[-10:]
            raise CephFailed('\n'.join([' '.join(command), *lines]))
        return done.stdout

    def _conf(self, program: str, *arguments: str) -> str:
        return self.run(program, '--conf', str(self.configuration), *arguments)

    def _tell(self, command: str, **arguments: object) -> Any:
        """Have the monitor obey a command; `ceph` would take long to load.

        :returns: its answer
        :raises CephFailed: it does not obey
        """
        asked = {'prefix': command, 'format': 'json', **arguments}
        with self._connect() as cluster:
            code, answer, words = cluster.mon_command(json.dumps(asked), b'')
        if code:
            raise CephFailed(f'{command}: {words}')
        return json.loads(answer or 'null')

    def _answers(self) -> bool:
        address = self.address, self.ports[0]
        with (
            contextlib.suppress(OSError),
            socket.create_connection(address, PATIENCE),
        ):
            return True
        return False

    def _has_space(self) -> bool:
        stats = self._tell('df')
        pools = {p['name']: p['stats']['max_avail'] for p in stats['pools']}
        return all(pools.get(pool) for pool in self.pools)

    def _knows_tasks(self) -> bool:
        """Tell whether it is known if the manager obeys."""
        asked = json.dumps({'prefix': 'rbd task list'})
        with self._connect() as cluster:
            code, _, _ = cluster.mgr_command(asked, b'')
        if code:
            # Debian 13's Python has a bcrypt that no manager can import.
            log = self.log('ceph-mgr').read_text(errors='replace')
            self.tasks = f"Error loading module '{_TASKS}'" not in log
        return not code or not self.tasks

    def _start(
        self, daemon: str, name: str, answers: Callable[[], bool]
    ) -> None:
        command = [daemon, '--conf', str(self.configuration), '-f']
        with self.log(daemon).open('ab') as log:
            process = subprocess.Popen(
                [*self.launcher, *command, '--id', name],
                cwd=self.root,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes[daemon] = process
        self._wait(daemon, answers)

    def _wait(self, daemon: str, answers: Callable[[], bool]) -> None:
        left = patience.Patience(PATIENCE)
        process = self._processes[daemon]
        while process.poll() is None and left:
            if answers():
                return
            time.sleep(0.1)
        lines = self.log(daemon).read_text(errors='replace').splitlines()[-20:]
        raise CephFailed('\n'.join([f'{daemon} did not come up:', *lines]))

    @staticmethod
    def _environment() -> dict[str, str]:
        """Return an environment without what is meant for another Ceph."""
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('CEPH_', 'PYTHON'))
        }
