"""The cloud itself: how its start fails, and that nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from tests.e2e import site as e2e_site
from tests.e2e.tenant import wait_for

# Where these tests run in the background, Ctrl-C is ignored.
_START = """\
import signal
from tests.e2e import fixture
signal.signal(signal.SIGINT, signal.default_int_handler)
with fixture.Cloud():
    raise AssertionError('it was to be ended before it was ready')
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[e2e_site.Site]:
    """Return a site on which nothing runs yet."""
    site = e2e_site.Site(tmp_path, 'secret', {})
    site.logs.mkdir()
    yield site
    for process in site.processes.values():
        process.kill()
        process.wait()


def test_service_that_ends_stops_the_start(site: e2e_site.Site) -> None:
    """What it said last is shown."""
    site.start('service', 'sh', '-c', 'echo no such option >&2; exit 3')
    with pytest.raises(
        e2e_site.CloudFailed, match=r'(?s)service ended\..*no such option'
    ):
        site.wait('service', lambda: False)


def test_silent_service_stops_the_start(
    site: e2e_site.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for for ever, and what it said last is shown."""
    monkeypatch.setattr(e2e_site, 'PATIENCE', 1)
    site.start('service', 'sh', '-c', 'echo starting; exec sleep 60')
    with pytest.raises(
        e2e_site.CloudFailed,
        match=r'(?s)service does not answer after 1 s\..*starting',
    ):
        site.wait('service', lambda: False)


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_of_a_start_that_was_ended(
    tmp_path: Path, end: signal.Signals
) -> None:
    """By Ctrl-C or by a kill: no process and no file is left."""
    starter = subprocess.Popen(
        [sys.executable, '-c', _START],
        cwd=e2e_site.REPOSITORY,
        env={**os.environ, 'TMPDIR': str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for('MariaDB', lambda: _commands(tmp_path), _has_mariadb)
    starter.send_signal(end)
    starter.wait(30)
    wait_for('the end', lambda: _commands(tmp_path), lambda left: not left)
    assert list(tmp_path.iterdir()) == []


def _has_mariadb(commands: list[str]) -> bool:
    return any('mariadbd' in command for command in commands)


def _commands(directory: Path) -> list[str]:
    """Return the command lines of the processes that use a directory."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b'\0', b' ').decode()
            if str(directory) in command:
                found.append(command)
    return found
