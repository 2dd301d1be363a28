"""Snapshots behind HAProxy while one of three glance-api is in trouble.

Usage: python -m tests.servers.balanced [--snapshots N] [--seed N]
                                        [--stopped SECONDS] [--write FILE]

Each trouble is run with stock Nova and with the package, with the same times.
Each glance-api is behind uWSGI, as Kolla has it. The exit code is 1 if a
snapshot that is made with stock Nova is not made with the package. With
--write, FILE becomes the documentation's table.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import csv
import dataclasses
from pathlib import Path
import random
import sys
import tempfile
import threading
import time
from typing import Any
from typing import ClassVar
from typing import TextIO

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401

# isort: split

from nova.tests.functional.api import client as api_client

from nova_multistore import lookup
from tests import functional
from tests.cloud import glance as cloud_glance
from tests.cloud import haproxy
from tests.cloud import uwsgi
from tests.servers import clouds
from tests.twin import servers

MIB = 1 << 20
#: In which store the base image is; the default one is another.
STORE = 'fast'
#: How often a user asks for one snapshot, while nova-api refuses.
ASKED = 5
#: How often in a run one is killed, or stopped: once in so many snapshots.
OFTEN = {'killed': 5, 'stopped': 10}


class _Beside(servers.Beside, uwsgi.Glance):
    """One more glance-api, behind uWSGI."""


class Trouble:
    """What happens to one glance-api while snapshots are made.

    :param api: that one
    :param random: the times come from
    :param stopped: how long it is stopped, in seconds
    """

    #: What it is called in the table.
    title = 'none'
    #: Options of nova.conf.
    options: ClassVar[dict[str, object]] = {}
    #: The stores of that glance-api.
    stores: ClassVar[dict[str, str]] = cloud_glance.STORES

    def __init__(
        self, api: cloud_glance.Glance, random: random.Random, stopped: float
    ) -> None:
        self.api = api
        self.random = random
        self.stopped = stopped

    @contextlib.contextmanager
    def lasting(self) -> Iterator[None]:
        """Be there, whatever snapshots are made."""
        yield

    def during(self, number: int) -> None:
        """Come, as nova-api has accepted a request.

        :param number: of snapshots that were made before
        """

    def after(self, number: int) -> None:
        """Go, as that snapshot is made."""


class Killed(Trouble):
    """It is killed at some time, and is away for two snapshots more."""

    title = 'killed, and away for some time'

    def during(self, number: int) -> None:
        if number % OFTEN['killed'] == 1:
            time.sleep(self.random.uniform(0, 0.6))
            self.api.kill()

    def after(self, number: int) -> None:
        if number % OFTEN['killed'] == 3:
            self.api.start()


class Stopped(Trouble):
    """It takes connections, and says nothing."""

    title = 'stopped (SIGSTOP) for {stopped:.0f} s'

    def during(self, number: int) -> None:
        if number % OFTEN['stopped'] == 2:
            time.sleep(self.random.uniform(0, 0.6))
            self.api.pause()
            threading.Timer(self.stopped, self.api.resume).start()


class Restarting(Trouble):
    """It is stopped as an operator does it, and started, all the time."""

    title = 'restarted again and again'

    @contextlib.contextmanager
    def lasting(self) -> Iterator[None]:
        over = threading.Event()

        def restart() -> None:
            while not over.wait(self.random.uniform(0, 1)):
                self.api.stop()
                self.api.start()

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class OtherStores(Trouble):
    """It has the default store alone."""

    title = 'with the default store alone'
    stores: ClassVar[dict[str, str]] = {'cheap': 'file'}


class OtherStoresOrdered(OtherStores):
    """It lacks the store of all snapshots."""

    title = f'the same, and [glance] store = {STORE}'
    options: ClassVar[dict[str, object]] = {'glance.store': STORE}


TROUBLES: tuple[type[Trouble], ...] = (
    Trouble,
    Killed,
    Stopped,
    Restarting,
    OtherStores,
    OtherStoresOrdered,
)


@dataclasses.dataclass(frozen=True)
class Made:
    """What came of a request for a snapshot."""

    #: The stores that have all the bytes of the disk, none if it failed.
    stores: tuple[str, ...]
    #: How long it took, in seconds.
    seconds: float
    #: How often nova-api refused the request before. It has no part of the
    #: package.
    refused: int


@dataclasses.dataclass(frozen=True)
class Pair:
    """What came of requests with stock Nova, and with the package."""

    title: str
    stock: Sequence[Made]
    patched: Sequence[Made]

    @property
    def lost(self) -> list[int]:
        """The requests that succeed with stock Nova alone, by number."""
        both = zip(self.stock, self.patched)
        return [
            number
            for number, (stock, patched) in enumerate(both)
            if stock.stores and not patched.stores
        ]


class World:
    """Three glance-api behind an HAProxy, and a Nova.

    :param root: an existing directory for all that it writes
    :param kind: what the first glance-api is
    :param beside: what the others are
    """

    def __init__(
        self,
        root: Path,
        kind: type[cloud_glance.Glance],
        beside: type[servers.Beside],
    ) -> None:
        self._root = root
        self._stack = contextlib.ExitStack()
        self._kinds = kind, beside

    def __enter__(self) -> World:
        with contextlib.ExitStack() as stack:
            kind, beside = self._kinds
            first = stack.enter_context(kind(self._directory('api1')))
            others = [
                stack.enter_context(beside(first, self._directory(name)))
                for name in ('api2', 'api3')
            ]
            self.apis = [first, *others]
            cloud = clouds.running(
                self._directory('nova'),
                first,
                clouds.make_base(self._directory('base')),
            )
            self.cloud = stack.enter_context(cloud)
            self._server = self.cloud.boot(STORE, MIB)
            self._expected = functional.expected_digest(
                self.cloud.nova.disk(self._server)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _directory(self, name: str) -> Path:
        path = self._root / name
        path.mkdir()
        return path

    def pair(
        self, kind: type[Trouble], count: int, seed: int, stopped: float
    ) -> Pair:
        """Make snapshots under a trouble, stock and patched.

        :param count: how many
        :param seed: of the times
        :param stopped: how long something is stopped, in seconds
        """
        with self.cloud.stock():
            stock = self._run(kind, count, seed, stopped, {})
        patched = self._run(kind, count, seed, stopped, kind.options)
        title = kind.title.format(stopped=stopped)
        return Pair(title, stock, patched)

    def _run(
        self,
        kind: type[Trouble],
        count: int,
        seed: int,
        stopped: float,
        options: dict[str, object],
    ) -> list[Made]:
        api = self.apis[1]
        trouble = kind(api, random.Random(seed), stopped)
        api.stop()
        api.start(stores=kind.stores)
        lookup.forget()
        with tempfile.TemporaryDirectory(dir=self._root) as directory:
            balancer = haproxy.HAProxy(
                Path(directory), [each.port for each in self.apis]
            )
            with balancer, trouble.lasting():
                before = {'glance.api_servers': [self.cloud.glance.url]}
                self.cloud.nova.conf(
                    **{'glance.api_servers': [balancer.url], **options}
                )
                try:
                    return [self._make(trouble, n) for n in range(count)]
                finally:
                    self.cloud.nova.conf(
                        **dict.fromkeys(options, None), **before
                    )

    def _make(self, trouble: Trouble, number: int) -> Made:
        nova = self.cloud.nova
        refused = 0
        while True:
            begin = time.monotonic()
            try:
                image_id = nova.start_snapshot(self._server)
                break
            except api_client.OpenStackApiException:
                refused += 1
                if refused == ASKED:
                    raise
        trouble.during(number)
        nova.wait(self._server)
        seconds = time.monotonic() - begin
        trouble.after(number)
        return Made(self._stores(image_id), seconds, refused)

    def _stores(self, image_id: str) -> tuple[str, ...]:
        """Return the stores of an image that is a whole snapshot."""
        image = self.cloud.glance.image(image_id)
        if image is None or image['status'] != 'active':
            return ()
        digests = self.cloud.glance.sha256(image_id)
        if set(digests.values()) != {self._expected}:
            return ()
        return tuple(digests)


def _where(made: Iterable[Made]) -> str:
    """Return in which stores snapshots are, in words."""
    found = collections.Counter(','.join(each.stores) for each in made)
    found.pop('', None)
    return ', '.join(f'{store}: {n}' for store, n in sorted(found.items()))


def write(pairs: Iterable[Pair], out: TextIO) -> None:
    """Write the table."""
    lines = csv.writer(out, lineterminator='\n')
    lines.writerow(
        [
            'One of three glance-api is',
            *(
                f'{name}: {what}'
                for name in ('Stock Nova', 'Patched')
                for what in ('snapshots', 'in store', 'longest, s')
            ),
        ]
    )
    for pair in pairs:
        row: list[Any] = [pair.title]
        for made in (pair.stock, pair.patched):
            whole = sum(bool(each.stores) for each in made)
            longest = max(each.seconds for each in made)
            refused = sum(each.refused for each in made)
            also = f', {refused} refused by nova-api' if refused else ''
            row += [
                f'{whole} of {len(made)}{also}',
                _where(made),
                f'{longest:.1f}',
            ]
        lines.writerow(row)


def main() -> int:
    parser = argparse.ArgumentParser(prog='balanced')
    parser.add_argument('--snapshots', type=int, default=20)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--stopped', type=float, default=75.0)
    parser.add_argument('--write', type=Path)
    args = parser.parse_args()
    pairs = []
    with (
        tempfile.TemporaryDirectory(prefix='balanced-') as root,
        World(Path(root), uwsgi.Glance, _Beside) as world,
    ):
        for kind in TROUBLES:
            pairs.append(
                world.pair(kind, args.snapshots, args.seed, args.stopped)
            )
            write(pairs[-1:], sys.stdout)
            sys.stdout.flush()
    if args.write:
        with args.write.open('w') as file:
            write(pairs, file)
    return int(any(pair.lost for pair in pairs))


if __name__ == '__main__':
    sys.exit(main())
