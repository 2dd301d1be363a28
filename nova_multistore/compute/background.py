"""Work that goes on when Nova is done with a snapshot.

A copy may take a day, and most of that is waiting. So a few threads do the
work for all snapshots, however many there are.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

from oslo_log import log as logging

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger(__name__)

#: How many threads there are at most. A Glance that hangs may block all.
THREADS = 8


class Background:
    """A queue of work, and the threads that do it while there is any.

    Work is an iterator. It does a part of what it has to do, and yields for
    how long to pause before the next part, in seconds.

    :param threads: how many there are at most
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._limit = threads
        self._changed = threading.Condition()
        self._number = itertools.count()
        # Waiting work: when it may go on, its number in the order, the work.
        self._waiting: list[tuple[float, int, Iterator[float]]] = []
        self._threads = 0
        self._under_way = 0

    @property
    def pending(self) -> int:
        """How much of the work has not ended."""
        with self._changed:
            return len(self._waiting) + self._under_way

    def begin(self, work: Iterator[float]) -> None:
        """Have work done, from now on.

        :param work: it is not to raise errors; if it does, they are logged
        :raises RuntimeError: no thread can be started
        """
        with self._changed:
            if self._threads < self._limit:
                try:
                    threading.Thread(
                        target=self._run,
                        name='multistore background',
                        daemon=True,
                    ).start()
                except RuntimeError:
                    if not self._threads:
                        raise
                else:
                    self._threads += 1
            self._push(0.0, work)

    def _push(self, pause: float, work: Iterator[float]) -> None:
        when = time.monotonic() + pause
        heapq.heappush(self._waiting, (when, next(self._number), work))
        self._changed.notify()

    def _run(self) -> None:
        while work := self._take():
            self._go_on(work)

    def _take(self) -> Iterator[float] | None:
        """Wait for work that may go on; return None if none is waiting."""
        with self._changed:
            while self._waiting:
                left = self._waiting[0][0] - time.monotonic()
                if left <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(left)
            # Work that comes after this starts a thread.
            self._threads -= 1
        return None

    def _go_on(self, work: Iterator[float]) -> None:
        pause = None
        try:
            pause = next(work, None)
        except BaseException:
            LOG.exception('Work in the background failed')
        with self._changed:
            self._under_way -= 1
            if pause is not None:
                self._push(pause, work)


_background = Background()


def begin(work: Iterator[float]) -> None:
    """Have work done in the background of this process.

    Arguments and errors are those of :meth:`Background.begin`.
    """
    _background.begin(work)


def pending() -> int:
    """Return how much work in the background has not ended."""
    return _background.pending
