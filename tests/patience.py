"""How long a test waits for something: for longer on a busy machine.

With a limit by the clock alone, a test fails because others are at work.
"""

from __future__ import annotations

import os
from pathlib import Path
import time

# Its fourth word says how many threads want a core, of how many there are.
_LOAD = Path('/proc/loadavg')


class Patience:
    """A limit of time. It is true until that has passed.

    :param seconds: how long, if nobody has to wait for a core. A second with
        twice as many threads as cores counts as half a second.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    def __bool__(self) -> bool:
        now = time.monotonic()
        self._left -= (now - self._looked) * _share()
        self._looked = now
        return self._left > 0


def _share() -> float:
    """Return how much of a core each thread has that wants one: 1 at most."""
    wanting = int(_LOAD.read_text().split()[3].partition('/')[0])
    return min(1.0, (os.cpu_count() or 1) / wanting)
