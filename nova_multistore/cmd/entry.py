"""The start of programs that use Nova's code. Without Nova, they say so."""

from __future__ import annotations

import importlib.util
import sys


def status() -> int:
    """Run ``nova-multistore-status``.

    :returns: its exit code
    """
    try:
        from nova_multistore.cmd import status as program
    except ImportError as exc:
        words = f'Nova is not as expected: {exc}'
        if importlib.util.find_spec('nova') is None:
            words = f'Nova is not installed for {sys.executable}'
        print(f'nova-multistore-status: {words}', file=sys.stderr)
        return 255
    return program.main()
