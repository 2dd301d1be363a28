"""libvirtd and virtlogd, in directories of the cloud's own.

libvirtd knows its directories from when it was built. The cloud runs in a
mount namespace in which they are others (see `tests.e2e.init`).
"""

from __future__ import annotations

from pathlib import Path
import socket
import uuid

from tests.e2e import site as e2e_site

_SOCKETS = Path('/run/libvirt')

_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""


def start(site: e2e_site.Site) -> None:
    """Start both and wait until libvirtd answers."""
    etc = Path('/etc/libvirt')
    (etc / 'qemu.conf').write_text(_QEMU)
    (etc / 'libvirtd.conf').write_text(
        'auth_unix_ro = "none"\n'
        'auth_unix_rw = "none"\n'
        f'host_uuid = "{uuid.uuid4()}"\n'
        'log_outputs = "3:stderr"\n'
    )
    (etc / 'virtlogd.conf').write_text('log_outputs = "3:stderr"\n')
    for name, address in (
        ('virtlogd', 'virtlogd-sock'),
        ('libvirtd', 'libvirt-sock'),
    ):
        site.start(name, f'/usr/sbin/{name}')
        site.wait(name, lambda path=_SOCKETS / address: _answers(path))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
    return True
