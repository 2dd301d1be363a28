"""The first process of the cloud's own PID and mount namespaces.

When it ends, however that comes, the kernel kills everything in the namespace:
daemons, their daemons and the guests. It ends with the process that runs the
cloud, and when its standard input is closed before the word that lets the
cloud stay: so a starter that is killed takes the cloud along.

The mounts make directories of the cloud's own of those that libvirtd knows
from when it was built. Nobody outside sees them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading

STAY = b'stay\n'
#: What libvirtd writes to, or reads its configuration from.
DIRECTORIES = (
    '/etc/libvirt',
    '/run',
    '/var/cache',
    '/var/lib',
    '/var/log',
)
_GUESTS = 'libvirt-qemu'
_NOBODY = 64055
_ending = threading.Lock()


def _mount(root: Path) -> None:
    for target in DIRECTORIES:
        source = root / 'mounts' / target[1:]
        (source / 'libvirt').mkdir(parents=True)
        _bind(source, target)
    for target in ('/etc/group', '/etc/passwd'):
        # libvirtd wants to know this user, even where its guests are root's.
        text = Path(target).read_text()
        if f'\n{_GUESTS}:' not in text:
            text += f'{_GUESTS}:x:{_NOBODY}:'
            text += (
                f'{_NOBODY}::/:/bin/false\n' if 'passwd' in target else '\n'
            )
        source = root / 'mounts' / target[1:]
        source.write_text(text)
        _bind(source, target)


def _bind(source: Path, target: str) -> None:
    subprocess.run(['mount', '--bind', source, target], check=True)


def _end(root: Path) -> None:
    """Kill all other processes of the namespace, leave nothing, and end."""
    # Both threads come here; the first one that is through ends them both.
    _ending.acquire()
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    shutil.rmtree(root, ignore_errors=True)
    os._exit(1)


def _watch(root: Path) -> None:
    if os.read(sys.stdin.fileno(), len(STAY)) != STAY:
        _end(root)


def main() -> None:
    """Run the cloud and reap whatever ends, until the cloud ends."""
    root = Path(sys.argv[1])
    _mount(root)
    child = subprocess.Popen(
        [sys.executable, '-m', 'tests.e2e.cloud', root],
        stdin=subprocess.DEVNULL,
    )
    threading.Thread(target=_watch, args=[root], daemon=True).start()
    # Guests are nobody's children: libvirtd waits for them to be reaped. The
    # other thread reaps, too, at the end.
    with contextlib.suppress(ChildProcessError):
        while os.wait()[0] != child.pid:
            pass
    _end(root)


if __name__ == '__main__':
    main()
