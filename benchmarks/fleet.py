"""What a fleet of computes asks of Glance, on a simulated clock.

The package's own code decides when it asks: the cache of the stores, and the
pauses between looks at a copy. Glance is simulated: it makes so many copies at
a time, one after the other.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import heapq
import itertools
import random
import threading
import types
from typing import Any
from unittest import mock

from nova_multistore import copies
from nova_multistore import stores
from nova_multistore import timed_calls

GIB = 1 << 30
HOUR = 3600.0


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self.now


class Glance:
    """Makes copies, and counts what it is asked.

    :param clock: the time
    :param workers: how many copies are made at a time
    :param seconds: how long one takes
    """

    def __init__(self, clock: Clock, workers: int, seconds: float) -> None:
        self._clock = clock
        self._free = [0.0] * workers
        self._seconds = seconds
        self._done: dict[str, float] = {}
        #: How often each thing was asked in each second.
        self.asked: dict[str, collections.Counter[int]]
        self.asked = collections.defaultdict(collections.Counter)
        #: When the last copy is done.
        self.end = 0.0

    def ask(self, what: str) -> None:
        """Count a request."""
        self.asked[what][int(self._clock.now)] += 1

    def copy(self, image_id: str) -> None:
        """Begin a copy as soon as a worker is free."""
        self.ask('copies asked for')
        begin = max(heapq.heappop(self._free), self._clock.now)
        self._done[image_id] = self.end = begin + self._seconds
        heapq.heappush(self._free, self._done[image_id])

    def catalogue(self) -> stores.Catalogue:
        """Return the stores."""
        self.ask('lists of stores')
        return stores.Catalogue((stores.Store('cheap'), stores.Store('fast')))

    # What a `copies.Follower` asks.

    def show(self, image_id: str) -> dict[str, Any]:
        """Return an image."""
        self.ask('looks at copies')
        done = self._clock.now >= self._done[image_id]
        image: dict[str, Any] = {'id': image_id, 'status': 'active'}
        if done:
            return {**image, 'stores': 'fast,cheap'}
        return {
            **image,
            'stores': 'fast',
            'os_glance_import_task': 'task',
            'os_glance_importing_to_stores': 'cheap',
        }


def simulate(
    computes: int, snapshots: int, window: float, workers: int, seconds: float
) -> Glance:
    """Have a fleet make snapshots, each with one copy.

    :param computes: how many there are
    :param snapshots: how many each makes
    :param window: within how many seconds they begin
    :param workers: how many copies Glance makes at a time
    :param seconds: how long a copy takes
    """
    clock = Clock()
    glance = Glance(clock, workers, seconds)
    caches = [stores.Cache() for _ in range(computes)]
    for cache in caches:
        # A question is answered in the thread that asks.
        cache._lock = threading.RLock()  # type: ignore[assignment]
    choose = random.Random(1)
    number = itertools.count()
    begun = [
        (choose.uniform(0, window), next(number), compute, None)
        for compute in range(computes)
        for _ in range(snapshots)
    ]
    events: list[tuple[float, int, int, copies.Follower | None]] = begun
    heapq.heapify(events)

    def inline(func: Any) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(func())
        return future

    simulated: Any = types.SimpleNamespace(
        monotonic=clock.monotonic, sleep=lambda _: None
    )
    with (
        mock.patch.object(stores, 'time', simulated),
        mock.patch.object(copies, 'time', simulated),
        mock.patch.object(timed_calls, 'start', inline),
    ):
        while events:
            clock.now, event, compute, follower = heapq.heappop(events)
            if follower is None:
                caches[compute].get(glance.catalogue)
                glance.copy(str(event))
                images: Any = glance
                follower = copies.Follower(
                    images, str(event), ['cheap'], detailed=False
                )
            follower.look()
            if not follower.settled:
                heapq.heappush(
                    events,
                    (clock.now + follower.pause, event, compute, follower),
                )
    return glance


def main() -> None:
    """Print what a night is like."""
    parser = argparse.ArgumentParser(prog='fleet', description=__doc__)
    parser.add_argument('--computes', type=int, default=2000)
    parser.add_argument('--snapshots', type=int, default=2)
    parser.add_argument('--window', type=float, default=HOUR)
    parser.add_argument('--workers', type=int, nargs='+', default=[20, 60])
    parser.add_argument('--seconds', type=float, default=86.0)
    args = parser.parse_args()
    for workers in args.workers:
        glance = simulate(
            args.computes, args.snapshots, args.window, workers, args.seconds
        )
        print(
            f'{workers} copies at a time: done after {glance.end / HOUR:.1f} h'
        )
        for what, seconds in glance.asked.items():
            total = sum(seconds.values())
            print(
                f'  {what}: {total:,}, at most {max(seconds.values())} in a '
                f'second, {total / (glance.end / HOUR) / args.computes:.2f} '
                'for each compute and hour'
            )


if __name__ == '__main__':
    main()
