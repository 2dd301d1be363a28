"""Glance, in processes that need not load it again.

To load it takes most of the three seconds of processor time that its start
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import subprocess
import sys

from tests.cloud import forks

_template = forks.Template(
    (
        'glance.api.v2.router',
        'glance.api.versions',
        'glance.common.wsgi_app',
        'glance.db.sqlalchemy.api',
        'glance_store._drivers.filesystem',
        'glance_store._drivers.http',
        'gunicorn.app.wsgiapp',
        'gunicorn.workers.gthread',
        'oslo_db.sqlalchemy.enginefacade',
        'tests.cloud.identity',
    )
)


class Glance:
    """glance-api behind gunicorn, with the methods of a `subprocess.Popen`.

    :param directory: its working directory
    :param environment: all of it
    :param log: what it writes its output to
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self._process = _template.fork(
            f'{__name__}:main', directory, dict(environment), log
        )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired('glance', timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def main(directory: str, environment: Mapping[str, str], log: str) -> None:
    """Become it."""
    from gunicorn.app import wsgiapp

    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    # It dies with the process that loaded it, and that dies with the test.
    os.environ['TESTS_CLOUD_PARENT'] = str(os.getppid())
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_APPEND),
        (2, log, os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(path, flags), number)
    sys.argv = ['gunicorn']
    sys.exit(wsgiapp.run())
