"""The Glance filter, where it needs no Glance that runs."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import importlib.metadata
import sys
entry_points = importlib.metadata.distribution('nova-multistore').entry_points
(own,) = (each for each in entry_points if each.name == 'glance_api')
assert callable(own.load())
print(*sorted({name.partition('.')[0] for name in sys.modules}))
"""


def test_needs_no_nova():
    """It runs where Nova is not installed."""
    loaded = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOADED],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()

    assert 'glance' in loaded
    assert 'nova' not in loaded
