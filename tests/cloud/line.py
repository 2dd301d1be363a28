"""A long, narrow line from this machine to a network namespace."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import ipaddress
import json
import os
from pathlib import Path
import random
import secrets
import shutil
import subprocess
import sys

import fixtures

from tests.cloud import daemon
from tests.cloud import shaper

_TUN = Path('/dev/net/tun')
# Set aside for benchmarks of networks: nobody is there (RFC 2544).
_NETWORK = ipaddress.IPv4Network('198.18.0.0/15')


class LineFailed(Exception):
    """Raised if a line does not come up, or cannot."""


class Line(fixtures.Fixture):
    """A line, and the network namespace at its far end.

    It is two tun devices and a process that carries packets from one to the
    other. Both devices and the namespace end with that process; it ends with
    the thread that sets it up, at the latest.

    :param rate: how much it carries each way, in bits per second; 0 for as
        much as this machine can
    :param rtt: how long a packet is on its way there and back, in seconds
    """

    def __init__(self, rate: float = 0, rtt: float = 0) -> None:
        self._shape = rate, rtt / 2

    def _setUp(self) -> None:
        _check_machine()
        #: The name of the device, at both ends.
        self.name = f'line-{secrets.token_hex(4)}'
        #: The addresses of this end and of the far one.
        self.here, self.there = map(str, _free_network().hosts())
        fd = os.memfd_create(self.name)
        try:
            os.truncate(fd, shaper.Memory.SIZE)
            self._memory = shaper.Memory(fd)
            self._memory.shape[0], self._memory.shape[1] = self._shape
            command = [sys.executable, '-I', shaper.__file__]
            self._process = subprocess.Popen(
                [
                    *(*daemon.TIED, *command),
                    *(self.name, self.here, self.there, str(fd)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=[fd],
            )
        finally:
            os.close(fd)
        self.addCleanup(self._end)
        assert self._process.stdout is not None
        words = []
        for line in self._process.stdout:
            if line == 'ready\n':
                break
            words.append(line)
        else:
            raise LineFailed('the line did not come up:\n' + ''.join(words))
        #: The namespace, as a file.
        self.namespace = f'/proc/{self._process.pid}/ns/net'
        #: Starts a command in the namespace that is put behind it. It is
        #: killed as soon as its parent is gone.
        self.launcher = (*daemon.TIED, 'nsenter', f'--net={self.namespace}')

    def _end(self) -> None:
        self._process.kill()
        # It is closed after the last packet only.
        self._process.communicate()

    def shape(self, rate: float, rtt: float) -> None:
        """Change the rate and the time; see the class."""
        self._memory.shape[0], self._memory.shape[1] = rate, rtt / 2

    def sent(self) -> int:
        """Return how many bytes it has carried to the namespace.

        They are those of IP's packets.
        """
        return self._memory.carried[0]

    def received(self) -> int:
        """Return how many bytes it has carried from the namespace."""
        return self._memory.carried[1]


def _check_machine() -> None:
    """Check what a line needs.

    :raises LineFailed: it is not there
    """
    if os.geteuid():
        raise LineFailed('a line needs root, for its network namespace')
    if not _TUN.exists():
        raise LineFailed(f'a line needs {_TUN}, of the kernel module tun')
    if shutil.which('ip') is None:
        raise LineFailed('a line needs "ip", of the Debian package iproute2')


def _free_network() -> ipaddress.IPv4Network:
    """Return a network of two hosts that this machine does not use."""
    used = list(_networks())
    while True:
        network = ipaddress.IPv4Network(
            (
                int(_NETWORK.network_address)
                + 4 * random.randrange(_NETWORK.num_addresses // 4),
                30,
            )
        )
        if not any(network.overlaps(each) for each in used):
            return network


def _networks() -> Iterator[ipaddress.IPv4Network]:
    shown = subprocess.run(
        ['ip', '-json', '-4', 'route', 'show', 'table', 'all'],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    for route in json.loads(shown.stdout):
        with contextlib.suppress(ValueError):
            yield ipaddress.IPv4Network(route['dst'])
