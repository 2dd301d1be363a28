"""Snapshots that move to another store: stock, ordered there, and moved."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import pathlib
import statistics
import threading
import time
from typing import Any
from unittest import mock

from benchmarks import ceph
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import relocation
from nova_multistore.compute import patch
from tests.ceph import cloud as ceph_cloud
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova

PLOT = ceph.PLOT.with_name('moves.svg')
#: Where all of the snapshots end: files, the default store.
TARGET = 'cheap'
#: What is compared: its name in `Figures`, and in words.
CURVES = (
    ('stock', 'stock Nova', '#c0392b'),
    ('ordered', '[glance] store', '#b9770e'),
    ('moved', 'move_to', '#2471a3'),
)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What one snapshot took."""

    #: Seconds until the image can be used, until the server accepts the next
    #: action, and until the image is in its last store alone.
    active: float
    idle: float
    moved: float
    #: Seconds in which the guest does not run.
    paused: float
    #: Bytes on the compute's disk, at most.
    local: int


@dataclasses.dataclass
class Figures:
    """The snapshots of one disk."""

    stock: list[Snapshot] = dataclasses.field(default_factory=list)
    ordered: list[Snapshot] = dataclasses.field(default_factory=list)
    moved: list[Snapshot] = dataclasses.field(default_factory=list)


class Benchmark(ceph.Benchmark):
    """Snapshots of one server at a time."""

    def compare(self, disk: ceph.Disk) -> Figures:
        """Measure one disk, which is no clone, with locations hidden."""
        cloud = self._cloud
        server = self.start(disk)
        cloud.flatten(server)
        cloud.show_locations(False)
        figures = Figures()
        for _ in range(self._pairs):
            self.become(False)
            figures.stock.append(self._measure(server))
            self.become(True)
            cloud.nova.conf(**{'glance.store': TARGET})
            figures.ordered.append(self._measure(server))
            cloud.nova.conf(
                **{'glance.store': None, 'nova_multistore.move_to': TARGET}
            )
            # The half hour for readers is not counted.
            with mock.patch.object(relocation, 'GRACE', 0.0):
                figures.moved.append(self._measure(server))
            cloud.nova.conf(**{'nova_multistore.move_to': None})
        cloud.nova.delete_server(server)
        return figures

    def _measure(self, server: str) -> Snapshot:
        cloud, nova = self._cloud, self._cloud.nova
        moves = bool(
            patch.is_applied() and _option('nova_multistore', 'move_to')
        )
        nova.records.clear()
        lookup.forget()
        with _pauses(nova.driver) as pauses, _largest(nova.root) as largest:
            begin = time.monotonic()
            image_id = nova.start_snapshot(server)
            active = idle = 0.0
            while not (active and idle):
                now = time.monotonic() - begin
                image = cloud.glance.image(image_id)
                if not active and image['status'] == 'active':
                    active = now
                state = nova.server(server)['OS-EXT-STS:task_state']
                if not idle and state is None:
                    idle = now
                time.sleep(0.02)
            moved = idle
            if moves:
                nova.wait_for_line('has moved from store')
                moved = time.monotonic() - begin
        assert cloud.glance.stores_of(image_id) == [TARGET]
        cloud.glance.finish_tasks(image_id)
        cloud.glance.delete_image(image_id)
        # What one run left to write is not the next one's burden.
        os.sync()
        return Snapshot(active, idle, moved, sum(pauses), max(largest))


def _option(group: str, name: str) -> Any:
    """Return an option of nova.conf."""
    return cloud_nova.CONF[group][name]


@contextlib.contextmanager
def _pauses(driver: Any) -> Iterator[list[float]]:
    """Measure for how long guests do not run."""
    pauses: list[float] = []
    begin = [0.0]
    suspend, resume = driver.suspend, driver._resume_guest_after_snapshot

    def suspended(*args: Any, **kwargs: Any) -> Any:
        begin[0] = time.monotonic()
        return suspend(*args, **kwargs)

    def resumed(*args: Any, **kwargs: Any) -> Any:
        try:
            return resume(*args, **kwargs)
        finally:
            if begin[0]:
                pauses.append(time.monotonic() - begin[0])
                begin[0] = 0.0

    with (
        mock.patch.object(driver, 'suspend', suspended),
        mock.patch.object(driver, '_resume_guest_after_snapshot', resumed),
    ):
        yield pauses


@contextlib.contextmanager
def _largest(root: pathlib.Path) -> Iterator[list[int]]:
    """Watch how much Nova keeps of snapshots on the disk of its host."""
    sizes = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            total = 0
            for path in (root / 'snapshots').rglob('*'):
                with contextlib.suppress(FileNotFoundError):
                    total += path.stat().st_blocks * 512
            sizes.append(total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()


def run(
    root: pathlib.Path, sizes: Sequence[int], pairs: int
) -> list[tuple[str, ...]]:
    """Measure disks of all sizes, and plot what came of it.

    :param root: a directory for all that it writes
    :param sizes: in GiB
    :returns: rows of the table
    """
    disks = [ceph.Disk(size, full) for full in (10, 50) for size in sizes]
    try:
        with ceph_cloud.running(root, size=6 * max(sizes) * ceph.GIB) as cloud:
            opts.register_opts(cloud_nova.CONF)
            cloud_nova.register_credentials(opts.COPY_GROUP)
            cloud.nova.conf(
                **cloud_nova.credentials(
                    opts.COPY_GROUP, cloud.glance.url, cloud_glance.ADMIN
                )
            )
            benchmark = Benchmark(cloud, pairs)
            found = {disk: benchmark.compare(disk) for disk in disks}
    finally:
        patch.remove()
    seconds = {
        disk: {
            name: [each.active for each in getattr(figures, name)]
            for name, _label, _colour in CURVES
        }
        for disk, figures in found.items()
    }
    PLOT.write_text(ceph.plot(seconds, CURVES))
    return [
        row for disk, figures in found.items() for row in _rows(disk, figures)
    ]


def _rows(disk: ceph.Disk, figures: Figures) -> Iterator[tuple[str, ...]]:
    """Return the rows of the table about one disk."""
    for other in ('stock', 'ordered'):
        for what in ('active', 'idle'):
            a, b = (
                [getattr(each, what) for each in getattr(figures, name)]
                for name in (other, 'moved')
            )
            yield f'{disk}: {what}, {other} -> move_to', *ceph.compare(a, b)
    for name, label, _colour in CURVES:
        each = getattr(figures, name)
        yield (
            f'{disk}: {label}: paused, on the disk, in its store',
            f'{statistics.median(s.paused for s in each):.2f} s',
            f'{max(s.local for s in each) >> 20} MiB',
            f'{statistics.median(s.moved for s in each):.2f} s',
        )
