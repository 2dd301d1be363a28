"""Copies to a Ceph behind a line: what stock Glance sends, and a delta."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import csv
import hashlib
import pathlib
import random
import time
from typing import Any

from tests.ceph import deltas
from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.cloud import line as cloud_line

TABLE = pathlib.Path(__file__).parents[1] / 'doc' / 'source' / 'delta.csv'
HEADING = ('Copy', 'Round trip', 'Changed, MiB', 'Sent, MiB', 'Time')
MIB = 1 << 20
RATE = 100e6
RTT = 0.02
#: A disk, and what its base image has, in MiB.
DISK, BASE = 1024, 400
#: What is together, in MiB: an object of Glance's.
OBJECT = 8
BLOCKS = {4: '4 KiB', 64: '64 KiB', 1024: '1 MiB'}


class Site:
    """A Glance with files, and with a Ceph behind a line."""

    def __init__(
        self,
        line: cloud_line.Line,
        ceph: cloud_ceph.Ceph,
        glance: cloud_glance.Glance,
    ) -> None:
        self.line = line
        self._ceph = ceph
        self._glance = glance

    @contextlib.contextmanager
    def as_stock(self, thin: bool) -> Iterator[None]:
        """Have Glance send images whole."""
        with self._glance.configured(
            filters={}, **{'central.rbd_thin_provisioning': thin}
        ):
            yield

    def create(self, path: pathlib.Path, *stores: str, **names: str) -> str:
        return self._glance.create_image(
            path, stores=stores, disk_format='raw', **names
        )

    def copy(
        self, path: pathlib.Path, keep: bool = False, **names: str
    ) -> Any:
        """Copy a new image to the centre.

        :param path: its data
        :param keep: whether it stays
        :returns: what was sent, in MiB, how long it took, in seconds, and
            the image's id
        """
        image_id = self.create(path, 'site', **names)
        sent, begin = self.line.sent(), time.monotonic()
        self._glance.copy_image(image_id, ['central'])
        seconds = time.monotonic() - begin
        mib = (self.line.sent() - sent) / MIB
        there = self._ceph.sha256(f'images/{image_id}@snap')
        with path.open('rb') as file:
            wanted = hashlib.sha256()
            while piece := file.read(MIB):
                wanted.update(piece)
        assert there == wanted.hexdigest(), 'the copy has other bytes'
        if not keep:
            self._glance.delete_image(image_id)
        return mib, seconds, image_id


@contextlib.contextmanager
def running(root: pathlib.Path) -> Iterator[Site]:
    """Run both sites."""
    for name in ('ceph', 'glance'):
        (root / name).mkdir()
    # A disk takes longer than what other tests copy.
    cloud_glance.PATIENCE = 600
    with (
        cloud_line.Line() as line,
        cloud_ceph.Ceph(
            root / 'ceph',
            ['images'],
            8 << 30,
            address=line.there,
            launcher=line.launcher,
            runner=line.launcher,
            tasks=True,
        ) as ceph,
        cloud_glance.Glance(
            root / 'glance',
            stores={'site': 'file', 'central': 'rbd'},
            default='site',
            filters=deltas.FILTERS,
            **ceph.store('central', 'images'),
        ) as glance,
    ):
        yield Site(line, ceph, glance)


def disk(path: pathlib.Path, size: int, full: int) -> None:
    """Make the disk of a base image, sparse.

    :param size: in MiB
    :param full: how much of it has data, in MiB
    """
    picked = random.Random(1)
    with path.open('wb') as file:
        for number in picked.sample(range(size // OBJECT), full // OBJECT):
            file.seek(number * OBJECT * MIB)
            file.write(picked.randbytes(OBJECT * MIB))
        file.truncate(size * MIB)


def change(
    source: pathlib.Path, path: pathlib.Path, percent: int, block: int
) -> float:
    """Copy a disk, and change a part of what has data.

    :param percent: of its data
    :param block: in KiB
    :returns: how much was changed, in MiB
    """
    picked = random.Random(2)
    data = bytearray(source.read_bytes())
    length = block * 1024
    blocks = [
        start
        for start in range(0, len(data), length)
        if any(data[start : start + 64])
    ]
    changed = picked.sample(blocks, len(blocks) * percent // 100)
    for start in changed:
        data[start : start + length] = picked.randbytes(length)
    path.write_bytes(data)
    return len(changed) * length / MIB


def run(root: pathlib.Path) -> list[tuple[str, ...]]:
    """Measure all, and write the table of the documentation."""
    base, new = root / 'base', root / 'new'
    disk(base, DISK, BASE)
    found: list[tuple[str, ...]] = []

    def add(what: str, rtt: float, changed: float, got: Any) -> None:
        found.append(
            (
                what,
                f'{rtt * 1000:.0f} ms',
                f'{changed:.1f}',
                f'{got[0]:.1f}',
                f'{got[1]:.1f} s',
            )
        )
        print(*found[-1], sep='\t', flush=True)

    with running(root) as site:
        names = {'base_image_ref': site.create(base, 'site', 'central')}
        changed = change(base, new, 10, 64)
        for name, thin in (('whole, thick', False), ('whole, thin', True)):
            with site.as_stock(thin):
                for rate, rtt in ((RATE, RTT), (0, 0)):
                    site.line.shape(rate, rtt)
                    what = name if rate else f'{name}, no line'
                    add(what, rtt, changed, site.copy(new, **names))
        site.line.shape(0, 0)
        add('delta, no line', 0, changed, site.copy(new, **names))
        for rtt in (0.001, RTT, 0.1):
            site.line.shape(RATE, rtt)
            for percent in (1, 10, 50) if rtt == RTT else (10,):
                for block, words in BLOCKS.items():
                    changed = change(base, new, percent, block)
                    what = f'delta, {percent} % in {words}'
                    add(what, rtt, changed, site.copy(new, **names))
        site.line.shape(RATE, RTT)
        names['instance_uuid'] = '5d8a2a53-61d4-4b5b-a7d9-3a5d8f0d7c11'
        changed = change(base, new, 50, 1024)
        add('first backup', RTT, changed, site.copy(new, True, **names))
        newer = root / 'newer'
        changed = change(new, newer, 2, 64)
        add('second backup', RTT, changed, site.copy(newer, **names))
    with TABLE.open('w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([HEADING, *found])
    return found
