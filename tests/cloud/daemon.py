"""Programs that a test starts, and that end with it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import contextlib
import http.client
import os
from pathlib import Path
import signal
import subprocess
import time

import fixtures

from tests import patience

#: Starts a command that is killed as soon as its parent is gone.
TIED = ('setpriv', '--pdeathsig', 'KILL')
#: How long one may take to answer, or to end, in seconds.
PATIENCE = 30


class DaemonFailed(Exception):
    """Raised if a program does not come up."""


class Daemon(fixtures.Fixture):
    """A program in a process of its own, which answers when it is set up.

    The thread that sets it up must live as long as it shall.

    :param command: what starts it
    :param log: takes what it writes to its output
    :param answers: tells whether it is ready
    :param environment: variables that it has besides
    """

    def __init__(
        self,
        command: Iterable[object],
        log: Path,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [*TIED, *map(str, command)]
        self._log = log
        self._answers = answers
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def _setUp(self) -> None:
        self.addCleanup(self.stop)
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        left = patience.Patience(PATIENCE)
        while self._process.poll() is None and left:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._answers():
                    return
            time.sleep(0.05)
        lines = self._log.read_text(errors='replace').splitlines()[-40:]
        raise DaemonFailed(
            '\n'.join([*self._command, 'did not come up:', *lines])
        )

    def stop(self) -> None:
        """End it, and what it has started."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def status(port: int, path: str = '/') -> int:
    """Return the status of what a server on this machine answers to a GET.

    :raises OSError: it does not answer
    """
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    with contextlib.closing(connection):
        connection.request('GET', path)
        return connection.getresponse().status
