"""The `openstack` command, in processes that need not load it again.

To load it takes most of the second of processor time that a command takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import importlib.metadata
import os
from pathlib import Path
import pty
import subprocess
import sys
import tempfile

from tests.cloud import forks

_OWN = importlib.metadata.entry_points(group='openstack.multistore.v1')
_template = forks.Template(
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
        'openstackclient.volume.client',
        'openstackclient.volume.v3.volume',
        'keystoneauth1.loading._plugins.identity.generic',
        'nova_multistore.osc.plugin',
        *{each.module for each in _OWN},
    ]
)


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path = Path('/'),
    merged: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with a terminal to read from.

    :param arguments: what goes after "openstack"
    :param environment: all of it
    :param directory: where it runs
    :param merged: whether its errors are a part of its output
    """
    with tempfile.TemporaryDirectory() as outputs:
        output, errors = (Path(outputs) / name for name in ('out', 'err'))
        process = _template.fork(
            *(f'{__name__}:main', arguments, dict(environment), directory),
            *(output, output if merged else errors),
        )
        return subprocess.CompletedProcess(
            ['openstack', *arguments],
            process.wait(),
            output.read_text(),
            '' if merged else errors.read_text(),
        )


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    output: str,
    errors: str,
) -> None:
    """Run the command in this process."""
    from openstackclient import shell

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    # It uploads what it is piped, even where there is nothing: it needs a
    # terminal.
    _, terminal = pty.openpty()
    os.dup2(terminal, 0)
    for number, path in (1, output), (2, errors):
        mode = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        os.dup2(os.open(path, mode), number)
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ['openstack', *arguments]
    sys.exit(shell.main(list(arguments)))
