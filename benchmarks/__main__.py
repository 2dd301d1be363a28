"""Run all of them and print a table of ratios."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import Any

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from benchmarks import audit
from benchmarks import glance_filter
from benchmarks import near
from benchmarks import stores
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance
from tests.demo import table

MIB = 1 << 20
GIB = 1 << 30

# nova-compute loads its manager right after its command: without the package,
# too.
ACTIVATION = """
import time
import nova.cmd.compute
import nova.compute.manager
begin = time.monotonic()
from nova_multistore.compute import patch
patch.apply()
print(time.monotonic() - begin)
"""


def run(*command: str) -> str:
    """Run a Python program of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


class Uploads:
    """Uploads into the default store of a real Glance."""

    def __init__(self, glance: cloud_glance.Glance, root: pathlib.Path):
        self._glance = glance
        self._root = root
        # Patched or not, the data goes to the default store.
        self._base = glance.create_image(
            b'a base image', stores=[glance.default], disk_format='raw'
        )

    def measure(self, size: int, count: int, patched: bool) -> dict:
        """Take snapshots at once, and delete them.

        :param size: of each, in bytes
        """
        path = self._root / f'data-{size}'
        if not path.exists():
            with path.open('wb') as data:
                for _ in range(0, size, MIB):
                    data.write(os.urandom(MIB))
        command = ['-m', 'benchmarks.upload', '--glance', self._glance.url]
        command += ['--path', str(path), '--base', self._base]
        command += ['--count', str(count)] + ['--patched'] * patched
        found = json.loads(run(*command))
        for image_id in found['images']:
            assert self._glance.size(image_id) == size
            self._glance.delete_image(image_id)
        # What one run left to write is not the next one's burden.
        os.sync()
        return found

    def compare(self, size: int, count: int, pairs: int) -> tuple:
        """Measure in pairs, the first of which does not count."""
        found = []
        for i in range(pairs + 1):
            order = (False, True) if i % 2 else (True, False)
            pair = {p: self.measure(size, count, p) for p in order}
            found.append((pair[False], pair[True]))
        del found[0]
        stock, patched = (
            statistics.median(pair[i]['seconds'] for pair in found)
            for i in (0, 1)
        )
        ratio = statistics.median(
            pair[1]['seconds'] / pair[0]['seconds'] for pair in found
        )
        return f'{stock:.2f} s', f'{patched:.2f} s', f'{ratio:.3f}'

    def memory(self, patched: bool) -> str:
        """How much more memory 1 GiB takes than 64 MiB."""
        small, large = (
            self.measure(size, 1, patched)['grown'] for size in (64 * MIB, GIB)
        )
        return f'{(large - small) / MIB:.1f} MiB'


def requests(root: pathlib.Path, glance: cloud_glance.Glance) -> list[tuple]:
    """Count Glance's requests for one snapshot through Nova's API."""
    rows = []
    raw = root / 'base.raw'
    raw.write_bytes(os.urandom(MIB))
    image = glance.create_image(raw, stores=['fast'], disk_format='raw')
    with cloud_nova.Nova(root, glance) as nova:
        server = nova.create_server(image)

        def count(said: str = '') -> int:
            nova.records.clear()
            glance.forget_requests()
            nova.snapshot(server)
            if said:
                nova.wait_for_line(said)
            return len(glance.requests())

        stock = count()
        patch.apply()
        nova.restart_compute()
        lookup.forget()
        for name in ('cold', 'warm'):
            rows.append((name, stock, count()))
        nova.conf(**{'glance.store': 'reliable'})
        rows.append(('warm, [glance] store', stock, count()))
        cloud_nova.register_credentials(opts.COPY_GROUP)
        nova.conf(
            **{'nova_multistore.copy_to': ['cheap', 'fast']},
            **cloud_nova.credentials(
                opts.COPY_GROUP, glance.url, cloud_glance.ADMIN
            ),
        )
        rows.append(
            ('the same, two copies', stock, count('has a copy in store fast'))
        )
        patch.remove()
    return [
        (f'requests to Glance, {name}', str(a), str(b), f'{b / a:.3f}')
        for name, a, b in rows
    ]


def uploads(root: pathlib.Path) -> list[tuple]:
    """Measure what goes into files."""
    for name in ('glance', 'nova'):
        (root / name).mkdir()
    with cloud_glance.Glance(root / 'glance') as glance:
        measured = Uploads(glance, root)
        return [
            ('1 GiB into a file store', *measured.compare(GIB, 1, 5)),
            (
                '50 snapshots of 8 MiB at once',
                *measured.compare(8 * MIB, 50, 5),
            ),
            (
                'memory, 1 GiB over 64 MiB',
                measured.memory(False),
                measured.memory(True),
                '-',
            ),
            *requests(root / 'nova', glance),
        ]


def short(root: pathlib.Path, has_ceph: bool) -> list[tuple]:
    """Measure in about two minutes what most snapshots cost."""
    for name in ('glance', 'ceph'):
        (root / name).mkdir()
    with cloud_glance.Glance(root / 'glance') as glance:
        measured = Uploads(glance, root)
        rows = [
            (f'{count} of {size} MiB', *measured.compare(size * MIB, count, 2))
            for size, count in ((256, 1), (8, 10))
        ]
    if has_ceph:
        # Where there is none, this is not imported.
        from benchmarks import ceph as ceph_benchmark

        rows += ceph_benchmark.short(root / 'ceph', 2)
    return rows + activation()


def ceph(
    root: pathlib.Path, sizes: list[int], pairs: int
) -> list[tuple[str, ...]]:
    """Measure what goes into Ceph."""
    # Where there is none, this is not imported.
    from benchmarks import ceph as ceph_benchmark
    from tests.cloud import ceph as cloud_ceph

    for name in ('cloud', 'ceph', 'glance'):
        (root / name).mkdir()
    rows = ceph_benchmark.run(root / 'cloud', sizes, pairs)
    with (
        cloud_ceph.Ceph(root / 'ceph', ['images'], 6 * GIB) as cluster,
        cloud_glance.Glance(
            root / 'glance',
            stores={'fast': 'rbd'},
            default='fast',
            **cluster.store('fast', 'images'),
        ) as glance,
    ):
        measured = Uploads(glance, root)
        name = '1 GiB into an rbd store'
        rows.append((name, *measured.compare(GIB, 1, pairs)))
    return rows


def activation() -> list[tuple[str, ...]]:
    """Measure how long it takes to activate the package."""
    seconds = statistics.median(float(run('-c', ACTIVATION)) for _ in range(5))
    return [('activation', '-', f'{seconds * 1000:.0f} ms', '-')]


def move(
    root: pathlib.Path, sizes: list[int], pairs: int
) -> list[tuple[str, ...]]:
    """Measure snapshots that move."""
    # Where there is no Ceph, this is not imported.
    from benchmarks import move as move_benchmark

    return move_benchmark.run(root, sizes, pairs)


def delta(root: pathlib.Path) -> list[tuple[str, ...]]:
    """Measure copies to a Ceph behind a line, as root."""
    # Where there is no Ceph, this is not imported.
    from benchmarks import delta as delta_benchmark

    return [
        (f'{what}, {rtt}, {changed} MiB changed', f'{sent} MiB', seconds, '-')
        for what, rtt, changed, sent, seconds in delta_benchmark.run(root)
    ]


def filters(root: pathlib.Path) -> list[tuple[str, ...]]:
    """Measure the filter in Glance."""
    seconds = float(run('-m', 'benchmarks.glance_filter'))
    alone = f'{seconds * 1e6:.1f} µs'
    return [
        *glance_filter.compare(root),
        ('Glance, the filter alone, a GET', '-', alone, '-'),
    ]


HEADING = ('what', 'stock', 'patched', 'patched / stock')
NEED_CEPH = ('near', 'ceph', 'move', 'delta')


def main() -> None:
    """Print a table for each part, as soon as it is measured."""
    sizes: list[int]
    pairs: int
    parts: dict[str, Callable[[pathlib.Path], list[Any]]] = {
        'uploads': uploads,
        'near': lambda root: near.compare(root, pairs),
        'ceph': lambda root: ceph(root, sizes, pairs),
        'move': lambda root: move(root, sizes, pairs),
        'delta': delta,
        'filter': filters,
        'audit': audit.compare,
        'lists': stores.lists,
        'drain': lambda root: stores.drain(root, pairs=pairs),
        'apply': stores.apply,
        'activation': lambda root: activation(),
    }
    parser = argparse.ArgumentParser(prog='bench', description=__doc__)
    parser.add_argument(
        'what', nargs='*', help=f'{", ".join(parts)}; all if none is named'
    )
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[1, 2, 4], metavar='GIB'
    )
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument(
        '--short',
        action='store_true',
        help='a few small ones instead, in about two minutes',
    )
    arguments = parser.parse_args()
    sizes, pairs = arguments.sizes, arguments.pairs
    has_ceph = shutil.which('ceph-mon') and importlib.util.find_spec('rbd')
    if unknown := [name for name in arguments.what if name not in parts]:
        parser.error(
            f'there is no {", ".join(unknown)}; there are {", ".join(parts)}'
        )
    what = arguments.what or [
        name
        for name in parts
        if (has_ceph or name not in NEED_CEPH)
        and (not os.geteuid() or name != 'delta')
    ]
    if arguments.short:
        what = ['short']
        parts['short'] = lambda root: short(root, bool(has_ceph))
    for name in what:
        with tempfile.TemporaryDirectory(prefix='benchmark-') as root:
            print(table([HEADING, *parts[name](pathlib.Path(root))]))


if __name__ == '__main__':
    main()
