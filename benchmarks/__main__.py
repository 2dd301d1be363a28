"""Run all of them and print a table of ratios."""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from benchmarks import glance_filter
from nova_multistore import lookup
from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance
from tests.demo import table

MIB = 1 << 20
GIB = 1 << 30

ACTIVATION = """
import time
import nova.cmd.compute
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
    """Uploads into the file stores of a real Glance."""

    def __init__(self, glance: cloud_glance.Glance, root: pathlib.Path):
        self._glance = glance
        self._root = root
        self._base = glance.create_image(
            b'a base image', stores=['cheap'], disk_format='raw'
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

        def count() -> int:
            glance.forget_requests()
            nova.snapshot(server)
            return len(glance.requests())

        stock = count()
        patch.apply()
        nova.restart_compute()
        lookup.forget()
        for name in ('cold', 'warm'):
            rows.append((name, stock, count()))
        nova.conf(**{'glance.store': 'reliable'})
        rows.append(('warm, [glance] store', stock, count()))
        patch.remove()
    return [
        (f'requests to Glance, {name}', str(a), str(b), f'{b / a:.3f}')
        for name, a, b in rows
    ]


def main() -> None:
    """Print the table."""
    rows = [('what', 'stock', 'patched', 'patched / stock')]
    with tempfile.TemporaryDirectory(prefix='benchmark-') as directory:
        root = pathlib.Path(directory)
        for name in ('glance', 'nova'):
            (root / name).mkdir()
        with cloud_glance.Glance(root / 'glance') as glance:
            uploads = Uploads(glance, root)
            rows.append(
                ('1 GiB into a file store', *uploads.compare(GIB, 1, 5))
            )
            rows.append(
                (
                    '50 snapshots of 8 MiB at once',
                    *uploads.compare(8 * MIB, 50, 5),
                )
            )
            rows.append(
                (
                    'memory, 1 GiB over 64 MiB',
                    uploads.memory(False),
                    uploads.memory(True),
                    '-',
                )
            )
            rows += requests(root / 'nova', glance)
        rows += glance_filter.compare(root)
    seconds = statistics.median(float(run('-c', ACTIVATION)) for _ in range(5))
    rows.append(('activation', '-', f'{seconds * 1000:.0f} ms', '-'))
    seconds = float(run('-m', 'benchmarks.glance_filter'))
    rows.append(
        (
            'Glance, the filter alone, a GET',
            '-',
            f'{seconds * 1e6:.1f} µs',
            '-',
        )
    )
    print(table(rows))


if __name__ == '__main__':
    main()
