"""The program behind `tests.cloud.line`: it is the line, and its far end.

Usage: python shaper.py DEVICE HERE THERE MEMORY

It makes the device, and enters a network namespace of its own with the other
end. Both are gone as soon as it is. It says "ready" and carries packets then,
as the memory tells it to.
"""

from __future__ import annotations

from collections import deque
import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import struct
import subprocess
import sys
import time

#: The largest packet, in bytes. Large ones cost less of this machine's time.
MTU = 9000
#: How long a packet waits for those before it at most, in seconds. One that
#: would have to wait longer is lost, as in a router whose queue is full.
QUEUE = 0.2
#: How many packets wait in the kernel for this program.
_BACKLOG = 5000
# How many packets are read from one end before the other has its turn.
_BATCH = 64
# <linux/if_tun.h>, <linux/sched.h>
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


class Memory:
    """What the program shares with who has started it.

    :param fd: a file of at least `SIZE` bytes
    """

    SIZE = 4 * 8

    def __init__(self, fd: int) -> None:
        memory = memoryview(mmap.mmap(fd, self.SIZE))
        #: How many bytes were carried there, and how many here.
        self.carried = memory[:16].cast('Q')
        #: The rate, in bits per second (0: any), and the delay of a packet,
        #: in seconds.
        self.shape = memory[16:].cast('d')


class _Way:
    """One way of the line.

    :param source: the device that packets are read from
    :param target: the device that they are written to
    :param number: its counter in the memory
    """

    def __init__(
        self, source: int, target: int, memory: Memory, number: int
    ) -> None:
        self.source = source
        self._target = target
        self._memory = memory
        self._number = number
        # When the line has sent the last packet that it has taken.
        self._free = 0.0
        # Packets on their way, each with the time when it comes out.
        self._packets: deque[tuple[float, bytes]] = deque()

    @property
    def due(self) -> float:
        """When the next packet comes out."""
        return self._packets[0][0] if self._packets else float('inf')

    def take(self) -> None:
        """Take what there is at the source."""
        rate, delay = self._memory.shape
        packets = self._packets
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                packet = os.read(self.source, MTU)
                begin = max(now, self._free)
                if begin - now > QUEUE:
                    continue
                self._free = begin + (8 * len(packet) / rate if rate else 0.0)
                due = self._free + delay
                # None overtakes another, if the delay has become shorter.
                if packets and packets[-1][0] > due:
                    due = packets[-1][0]
                packets.append((due, packet))

    def give(self) -> None:
        """Give the target what has come out."""
        packets = self._packets
        now = time.monotonic()
        while packets and packets[0][0] <= now:
            packet = packets.popleft()[1]
            os.write(self._target, packet)
            self._memory.carried[self._number] += len(packet)


def _open(device: str, address: str) -> int:
    """Make a device that has an address, and open what is behind it."""
    fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TUN | _IFF_NO_PI
    request = struct.pack('16sH22x', device.encode(), flags)
    fcntl.ioctl(fd, _TUNSETIFF, request)
    # Without an address of IPv6, the kernel sends nothing of its own.
    _ip('link', 'set', device, 'addrgenmode', 'none', 'mtu', str(MTU))
    _ip('link', 'set', device, 'txqueuelen', str(_BACKLOG), 'up')
    _ip('address', 'add', f'{address}/30', 'dev', device)
    return fd


def _ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], stdin=subprocess.DEVNULL, check=True)


def _enter_namespace() -> None:
    """Enter a new network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f'unshare: {os.strerror(number)}')
    _ip('link', 'set', 'lo', 'up')


def main() -> None:
    device, here, there, memory = sys.argv[1:]
    shared = Memory(int(memory))
    near = _open(device, here)
    _enter_namespace()
    far = _open(device, there)
    # A busy machine does not make the line longer, if it can be helped.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    sys.stdout.write('ready\n')
    sys.stdout.flush()
    ways = _Way(near, far, shared, 0), _Way(far, near, shared, 1)
    while True:
        next_due = min(way.due for way in ways)
        left = max(0.0, next_due - time.monotonic())
        ready, _, _ = select.select(
            [near, far], [], [], left if left < 60 else None
        )
        for way in ways:
            if way.source in ready:
                way.take()
            way.give()


if __name__ == '__main__':
    main()
