"""Snapshots of disks in a real Ceph: stock, patched, and the clone by hand."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import re
import statistics
import time
from unittest import mock

import rados
import rbd

from benchmarks import become
from nova_multistore.compute import patch
from tests.ceph import cloud as ceph_cloud

MIB = 1 << 20
GIB = 1 << 30
PLOT = (
    pathlib.Path(__file__).parents[1] / 'doc' / 'source' / 'ceph-snapshots.svg'
)
_TOOK = re.compile(r'Took ([0-9.]+) seconds to snapshot')


@dataclasses.dataclass(frozen=True)
class Disk:
    """A server's disk."""

    #: In GiB.
    size: int
    #: Which part of it has data, in percent.
    full: int

    def __str__(self) -> str:
        return f'{self.size} GiB, {self.full} % full'


@dataclasses.dataclass
class Figures:
    """Seconds that Nova says a snapshot took, until it was active, by hand."""

    stock: list[float] = dataclasses.field(default_factory=list)
    patched: list[float] = dataclasses.field(default_factory=list)
    second: list[float] = dataclasses.field(default_factory=list)
    by_hand: list[float] = dataclasses.field(default_factory=list)
    stock_clone: list[float] = dataclasses.field(default_factory=list)
    patched_clone: list[float] = dataclasses.field(default_factory=list)
    stock_active: list[float] = dataclasses.field(default_factory=list)
    patched_active: list[float] = dataclasses.field(default_factory=list)


class Benchmark:
    """Snapshots of one server at a time.

    :param cloud: with stock Nova
    :param pairs: how often each is measured; a first one does not count
    """

    def __init__(self, cloud: ceph_cloud.Cloud, pairs: int) -> None:
        self._cloud = cloud
        self._pairs = pairs
        cloud.show_locations(True)
        self._image = cloud.glance.create_image(
            os.urandom(4 * MIB), stores=['fast'], disk_format='raw'
        )
        self._small = cloud.nova.create_server(self._image)

    def measure(self, disk: Disk) -> Figures:
        """Measure one disk: as a clone, then flattened and hidden."""
        cloud = self._cloud
        server = self.start(disk)
        name = cloud.disk(server)
        figures = self.clones(server)
        cloud.flatten(server)
        cloud.show_locations(False)
        for _ in range(self._pairs):
            figures.stock.append(self._snapshot(server)[0])
            figures.patched.append(self._snapshot(server, patched=True)[0])
            figures.second.append(
                self._snapshot(server, patched=True, store='second')[0]
            )
            figures.by_hand.append(self._by_hand(name))
        cloud.nova.delete_server(server)
        return figures

    def clones(self, server: str) -> Figures:
        """Measure a disk that stock Nova clones, too."""
        figures = Figures()
        for i in range(self._pairs + 1):
            stock = self._snapshot(server)
            patched = self._snapshot(server, patched=True)
            if i:
                figures.stock_clone.append(stock[0])
                figures.stock_active.append(stock[1])
                figures.patched_clone.append(patched[0])
                figures.patched_active.append(patched[1])
        return figures

    def start(self, disk: Disk) -> str:
        """Start a server with such a disk, a clone, and return its id."""
        cloud = self._cloud
        cloud.show_locations(True)
        server = cloud.nova.create_server(self._image)
        name = cloud.disk(server)
        cloud.ceph.rbd('resize', '--no-progress', name, '-s', f'{disk.size}G')
        self._fill(f'{server}_disk', disk)
        return server

    def _fill(self, name: str, disk: Disk) -> None:
        """Write random data to the beginning of a disk."""
        cluster = rados.Rados(conffile=str(self._cloud.ceph.configuration))
        with (
            cluster,
            cluster.open_ioctx(ceph_cloud.DISKS) as pool,
            rbd.Image(pool, name) as image,
        ):
            for offset in range(0, disk.size * GIB * disk.full // 100, MIB):
                image.write(os.urandom(MIB), offset)

    def _snapshot(
        self, server: str, patched: bool = False, store: str | None = None
    ) -> tuple[float, float]:
        """Take a snapshot, delete it, and return how long it took."""
        nova = self._cloud.nova
        self.become(patched)
        if patched:
            nova.conf(**{'glance.store': store})
        with mock.patch.object(
            nova.driver, 'suspend', side_effect=nova.driver.suspend
        ) as suspend:
            took = self._take(server)
        assert not (patched and suspend.called)
        return took

    def become(self, patched: bool) -> None:
        """Have nova-compute run with the package or without, and warm up."""
        if become(self._cloud.nova, patched):
            self._take(self._small)

    def _take(self, server: str) -> tuple[float, float]:
        """Take a snapshot, and delete it.

        :returns: how long nova-compute says it took, and how long it took
            from the request until the image was active, in seconds
        """
        cloud = self._cloud
        cloud.nova.records.clear()
        begin = time.monotonic()
        image_id = cloud.nova.snapshot(server)
        while (image := cloud.glance.image(image_id)) and (
            image['status'] != 'active'
        ):
            time.sleep(0.01)
        active = time.monotonic() - begin
        [took] = filter(None, map(_TOOK.search, cloud.nova.log_lines()))
        cloud.glance.finish_tasks(image_id)
        cloud.glance.delete_image(image_id)
        # What one run left to write is not the next one's burden.
        os.sync()
        return float(took[1]), active

    def _by_hand(self, disk: str) -> float:
        """Clone and flatten a disk as Nova does, with Ceph's own command."""
        image = f'{ceph_cloud.POOLS["fast"]}/by-hand'
        rbd = self._cloud.ceph.rbd
        begin = time.monotonic()
        rbd('snap', 'create', '--no-progress', f'{disk}@by-hand')
        rbd('snap', 'protect', f'{disk}@by-hand')
        rbd('clone', f'{disk}@by-hand', image)
        rbd('flatten', '--no-progress', image)
        rbd('snap', 'unprotect', f'{disk}@by-hand')
        rbd('snap', 'rm', '--no-progress', f'{disk}@by-hand')
        rbd('snap', 'create', '--no-progress', f'{image}@snap')
        rbd('snap', 'protect', f'{image}@snap')
        seconds = time.monotonic() - begin
        rbd('snap', 'unprotect', f'{image}@snap')
        rbd('snap', 'purge', '--no-progress', image)
        rbd('rm', '--no-progress', image)
        return seconds


def run(
    root: pathlib.Path, sizes: Sequence[int], pairs: int
) -> list[tuple[str, ...]]:
    """Measure disks of all sizes, and plot what came of it.

    :param root: a directory for all that it writes
    :param sizes: in GiB
    :returns: rows of the table
    """
    disks = [Disk(size, full) for full in (10, 50) for size in sizes]
    try:
        with ceph_cloud.running(root, size=6 * max(sizes) * GIB) as cloud:
            benchmark = Benchmark(cloud, pairs)
            found = {disk: benchmark.measure(disk) for disk in disks}
    finally:
        patch.remove()
    PLOT.write_text(
        plot({disk: vars(figures) for disk, figures in found.items()}, _CURVES)
    )
    rows = []
    for disk, figures in found.items():
        rows += _clones(disk, figures)
        for what, stock, patched in (
            ('flattened, locations hidden', figures.stock, figures.patched),
            ('the same, [glance] store', figures.stock, figures.second),
            ('clone by hand -> patched', figures.by_hand, figures.patched),
        ):
            rows.append((f'{disk}: {what}', *compare(stock, patched)))
    return rows


def short(root: pathlib.Path, pairs: int) -> list[tuple[str, ...]]:
    """Measure a clone that stock Nova makes, too.

    :param root: a directory for all that it writes
    :returns: rows of the table
    """
    disk = Disk(1, 10)
    try:
        with ceph_cloud.running(root, size=4 * GIB) as cloud:
            benchmark = Benchmark(cloud, pairs)
            found = benchmark.clones(benchmark.start(disk))
    finally:
        patch.remove()
    return _clones(disk, found)


def _clones(disk: Disk, figures: Figures) -> list[tuple[str, ...]]:
    """Return the rows of a disk that stock Nova clones, too."""
    return [
        (f'{disk}: {what}', *compare(stock, patched))
        for what, stock, patched in (
            (
                'a clone of its base',
                figures.stock_clone,
                figures.patched_clone,
            ),
            (
                'the same, until it is active',
                figures.stock_active,
                figures.patched_active,
            ),
        )
    ]


def compare(stock: list[float], patched: list[float]) -> tuple[str, str, str]:
    """Return two medians, and the median of the ratios of the pairs."""
    ratio = statistics.median(b / a for a, b in zip(stock, patched))
    return (
        f'{statistics.median(stock):.2f} s',
        f'{statistics.median(patched):.2f} s',
        f'{ratio:.3f}',
    )


_WIDTH, _HEIGHT, _LEFT, _TOP = 300, 220, 50, 40
_CURVES = (
    ('stock', 'stock Nova', '#c0392b'),
    ('patched', 'patched', '#2471a3'),
    ('by_hand', 'clone and flatten by hand', '#555555'),
)


def plot(
    found: dict[Disk, dict[str, list[float]]],
    named: Sequence[tuple[str, str, str]],
) -> str:
    """Draw the time of a snapshot against the size of the disk, as SVG.

    :param found: seconds, by disk and curve
    :param named: the name of each curve, in `found` and in words, and its
        colour
    """
    panels = []
    for number, full in enumerate(sorted({disk.full for disk in found})):
        panel = {d: f for d, f in found.items() if d.full == full}
        panels += _panel(
            panel,
            named,
            _LEFT + number * (_WIDTH + 2 * _LEFT),
            f'{full} % full',
        )
    for number, (_, label, colour) in enumerate(named):
        y = _TOP + _HEIGHT + 55 + 18 * number
        panels += [
            f'<path d="M{_LEFT},{y} h30" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_LEFT + 38}" y="{y + 4}">{label}</text>',
        ]
    width = 2 * (_WIDTH + 2 * _LEFT)
    height = _TOP + _HEIGHT + 110
    return '\n'.join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *panels,
            '</svg>\n',
        ]
    )


def _panel(
    found: dict[Disk, dict[str, list[float]]],
    named: Sequence[tuple[str, str, str]],
    left: int,
    title: str,
) -> list[str]:
    """Draw the disks that are equally full."""
    bottom = _TOP + _HEIGHT
    sizes = [disk.size for disk in found]
    curves = {
        name: [statistics.median(f[name]) for f in found.values()]
        for name, _, _ in named
    }
    top = max(map(max, curves.values()))
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if top / s <= 6)

    def x(size: int) -> float:
        return left + _WIDTH * size / max(sizes)

    def y(seconds: float) -> float:
        return bottom - _HEIGHT * seconds / (step * (top // step + 1))

    drawn = [
        f'<text x="{left}" y="{_TOP - 18}" font-size="14">{title}</text>',
        f'<path d="M{left},{_TOP} V{bottom} h{_WIDTH}" fill="none" '
        'stroke="black"/>',
        f'<text x="{left + _WIDTH}" y="{bottom + 34}" text-anchor="end">'
        'disk, in GiB</text>',
        f'<text x="{left - 40}" y="{_TOP - 4}">seconds</text>',
    ]
    for size in sizes:
        drawn.append(
            f'<text x="{x(size):.0f}" y="{bottom + 18}" '
            f'text-anchor="middle">{size}</text>'
        )
    for tick in range(0, int(top) + step + 1, step):
        drawn += [
            f'<path d="M{left},{y(tick):.0f} h{_WIDTH}" stroke="#dddddd"/>',
            f'<text x="{left - 6}" y="{y(tick) + 4:.0f}" text-anchor="end">'
            f'{tick}</text>',
        ]
    for name, _, colour in named:
        points = [(x(s), y(v)) for s, v in zip(sizes, curves[name])]
        line = ' '.join(f'{a:.1f},{b:.1f}' for a, b in points)
        drawn.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        drawn += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>'
            for a, b in points
        ]
    return drawn
