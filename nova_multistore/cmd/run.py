"""``nova-multistore-run``: starts nova-compute with the package active."""

# Nova monkey-patches when its own program is loaded. Before that, only the
# standard library may be imported.
from __future__ import annotations

import importlib.metadata
import pathlib
import sys
from typing import Any

USAGE = """\
usage: nova-multistore-run nova-compute [ARGUMENT ...]

Start nova-compute so that each snapshot and backup goes to the Glance store
of its server's base image, or to the one that [glance] store names. All
arguments are nova-compute's own.
"""

_PROGRAMS = ('nova-compute',)


def main() -> Any:
    """Run the program that the first argument names.

    :returns: what the program returns, for ``sys.exit``
    """
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(USAGE, end='', file=sys.stdout if sys.argv[1:] else sys.stderr)
        return 0 if sys.argv[1:] else 2
    program = sys.argv[1]
    if program not in _PROGRAMS:
        return _say(
            f"unknown program '{program}', it can start {_PROGRAMS[0]}", 2
        )
    try:
        scripts = importlib.metadata.distribution('nova').entry_points
    except importlib.metadata.PackageNotFoundError:
        return _say(f'Nova is not installed for {sys.executable}', 1)
    script = next((s for s in scripts if s.name == program), None)
    if script is None:
        return _say(f'the installed Nova has no {program}', 1)
    own = pathlib.Path(sys.argv[0])
    sys.argv = [str(own.with_name(program)), *sys.argv[2:]]
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
        # Some of it is checked only when Nova has loaded its driver.
        return _say(str(exc), 1)


def _say(message: str, code: int) -> int:
    print(f'nova-multistore-run: {message}', file=sys.stderr)
    return code
