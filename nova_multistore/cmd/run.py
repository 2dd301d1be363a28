"""``nova-multistore-run``: starts nova-compute with the package active.

The name of the script that Python runs becomes the name of the log file and of
the process, and the name in syslog and the journal. So nova-compute is started
by a script of that name: a link to this program, or a script that replaces it.
"""

# Nova monkey-patches when its own program is loaded. Before that, only the
# standard library may be imported.
from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import sys
from typing import Any

USAGE = """\
usage: nova-multistore-run nova-compute [ARGUMENT ...]

Start nova-compute so that each snapshot and backup goes to the Glance store
of its server's base image, or to the one that [glance] store names. All
arguments are nova-compute's own. A link to this program that is called
nova-compute does the same.
"""

_PROGRAMS = ('nova-compute',)
#: The directory that has a script for each program.
_SCRIPTS = pathlib.Path(__file__).with_name('bin')


def main() -> Any:
    """Run the program that this one's name, or its first argument, names.

    :returns: what the program returns, for ``sys.exit``
    """
    name = pathlib.Path(sys.argv[0]).name
    if name in _PROGRAMS:
        return _start(name)
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(USAGE, end='', file=sys.stdout if sys.argv[1:] else sys.stderr)
        return 0 if sys.argv[1:] else 2
    program = sys.argv[1]
    if program in _PROGRAMS:
        script = str(_SCRIPTS / program)
        os.execv(sys.executable, [sys.executable, script, *sys.argv[2:]])
    return _say(f"unknown program '{program}', it can start {_PROGRAMS[0]}", 2)


def _start(program: str) -> Any:
    """Start one of Nova's programs in this process."""
    # Otherwise the name is that of Python, unless the kernel has started the
    # script itself.
    with contextlib.suppress(OSError):
        pathlib.Path('/proc/self/comm').write_text(program)
    try:
        scripts = importlib.metadata.distribution('nova').entry_points
    except importlib.metadata.PackageNotFoundError:
        return _say(f'Nova is not installed for {sys.executable}', 1)
    script = next((s for s in scripts if s.name == program), None)
    if script is None:
        return _say(f'the installed Nova has no {program}', 1)
    run = script.load()

    from nova_multistore import exception

    try:
        from nova_multistore.compute import patch
    except ImportError as exc:
        return _say(f'Nova is not as expected: {exc}', 1)
    try:
        patch.apply()
        return run()
    except exception.UnsupportedNova as exc:
        # Some checks are made only when Nova has loaded its driver.
        return _say(str(exc), 1)


def _say(message: str, code: int) -> int:
    print(f'nova-multistore-run: {message}', file=sys.stderr)
    return code
