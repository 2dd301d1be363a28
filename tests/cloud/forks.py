"""Processes that need not load what they run.

A template has loaded it, and forks. It is a process of its own, so what starts
it may be on eventlet. To have something run, it is sent one line of JSON. It
answers with two lines: the id of the process, and, at its end, its exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
import contextlib
import gc
import importlib
import json
import os
from pathlib import Path
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import Any
import uuid

_REPOSITORY = Path(__file__).parents[2]


class Process:
    """A process that a template has forked, used as a `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile()
        self.pid = int(self._answers.readline())
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, None if it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code.

        :param timeout: how long, in seconds; for ever if it is None
        :raises TimeoutExpired: it runs still
        """
        if self._code is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self._code = int(self._answers.readline() or 1)
            self._answers.close()
            self._connection.close()
        return self._code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class Template:
    """A process that has loaded some modules, and is forked.

    It is started for the first fork. It ends with this process and those that
    were forked from it, and so does all that it has forked.

    :param modules: their full names
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = tuple(modules)
        self._address = f'\0tests-{uuid.uuid4()}'
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, target: str, *arguments: Any) -> Process:
        """Start a process.

        :param target: what it calls, as "module:function"
        :param arguments: for that, as they are in JSON
        """
        self.start()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        line = json.dumps([target, arguments], default=str)
        connection.sendall(f'{line}\n'.encode())
        return Process(connection)

    def start(self) -> None:
        """Start the template, unless this process or its parent did."""
        with self._lock:
            if self._process is None:
                self._start()

    def _start(self) -> None:
        address = self._address[1:]
        self._process = subprocess.Popen(
            [sys.executable, '-m', __name__, address, *self._modules],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._process.stdout is None:
            raise AssertionError('the template was started without a pipe')
        self._process.stdout.readline()


def main() -> None:
    """Load modules, and fork as often as it is asked for."""
    address, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    # A garbage collection would write to all that was loaded, in each process
    # that was forked.
    gc.collect()
    gc.freeze()
    # Nobody waits for those who look after what was forked; and Ctrl-C is for
    # the process that wants it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f'\0{address}')
        server.listen()
        os.write(1, b'ready\n')
        while server in select.select([server, 0], [], [])[0]:
            connection, _ = server.accept()
            if not os.fork():
                server.close()
                _look_after(connection)
            connection.close()


def _look_after(connection: socket.socket) -> None:
    """Fork, and tell of the end; kill it if nobody wants to know any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    target, arguments = json.loads(connection.makefile().readline())
    pid = os.fork()
    if not pid:
        connection.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run(target, arguments)
    connection.sendall(f'{pid}\n'.encode())
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with connection, contextlib.suppress(OSError):
        connection.sendall(f'{code}\n'.encode())
    os._exit(0)


def _run(target: str, arguments: list[Any]) -> None:
    """Call a function, and end as a program would."""
    code: Any = 0
    try:
        module, _, name = target.partition(':')
        getattr(importlib.import_module(module), name)(*arguments)
    except SystemExit as exc:
        code = exc.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f'{code}\n')
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == '__main__':
    main()
