"""The `openstack` command, in processes that need not load it again.

To load it takes most of the second of processor time that a command takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import multiprocessing
import os
import pty
import sys
import tempfile

_processes = multiprocessing.get_context('forkserver')
_processes.set_forkserver_preload(
    [
        'openstackclient.shell',
        'openstackclient.compute.client',
        'openstackclient.compute.v2.server',
        'openstackclient.compute.v2.server_backup',
        'openstackclient.compute.v2.server_image',
        'openstackclient.identity.client',
        'openstackclient.image.client',
        'openstackclient.image.v2.image',
        'openstackclient.network.client',
        'keystoneauth1.loading._plugins.identity.generic',
    ]
)


def run(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run the command to its end, on a terminal.

    :param arguments: what goes after "openstack"
    :param environment: all of it
    :returns: its exit code, and its output and errors
    """
    with tempfile.NamedTemporaryFile() as output:
        process = _processes.Process(
            target=_main, args=(arguments, dict(environment), output.name)
        )
        process.start()
        process.join()
        code = process.exitcode
        if code is None:
            raise AssertionError('a process that has ended has no exit code')
        return code, output.read().decode()


def _main(
    arguments: Sequence[str], environment: Mapping[str, str], path: str
) -> None:
    from openstackclient import shell

    os.environ.clear()
    os.environ.update(environment)
    # It uploads what it is piped, even where there is nothing: it needs a
    # terminal.
    _, terminal = pty.openpty()
    os.dup2(terminal, 0)
    output = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ['openstack', *arguments]
    sys.exit(shell.main(list(arguments)))
