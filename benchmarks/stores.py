"""What the commands about stores cost.

Lists are compared with the listing that Glance makes for them, and a drain
with a script that sends the two requests which are needed for each image.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import sqlite3
import statistics
import threading
import time
import urllib.request

from benchmarks import audit
from tests.cloud import glance as cloud_glance

MIB = 1 << 20
#: How many images leave at a time, as with the command.
PARALLEL = 8
#: How long the script waits between looks, in seconds.
PAUSE = 0.1


def lists(
    root: pathlib.Path, counts: tuple[int, int] = (10_000, 100_000)
) -> list[tuple[str, ...]]:
    """Count and plan for few and many images.

    :param root: an existing directory for all that is written
    :param counts: how many images
    :returns: rows of name, the listing alone, the command, and ratio
    """
    rows = []
    peaks: dict[str, list[int]] = {'usage': [], 'plan': []}
    with cloud_glance.Glance(
        root, stores=audit.STORES, default='central'
    ) as glance:
        records = audit.Records(glance)
        for count in counts:
            records.fill(count)
            url = '--glance', glance.url
            # Once for nothing: Glance and its database warm up.
            audit.measure(*url, 'decoded')
            alone = audit.measure(*url, 'decoded')
            for what, name, expected in (
                ('usage', 'store list', len(audit.STORES)),
                ('plan', 'placement plan', count // 100 + audit.BASES),
            ):
                found = audit.measure(*url, what)
                assert found['count'] == expected, found
                peaks[what].append(found['peak'])
                rows.append(
                    (
                        f'{name} of {count:,} images, over the listing',
                        f'{alone["seconds"]:.1f} s',
                        f'{found["seconds"]:.1f} s',
                        f'{found["seconds"] / alone["seconds"]:.3f}',
                    )
                )
    for what, (few, many) in peaks.items():
        rows.append(
            (
                f'memory of {what}, {counts[1]:,} images over {counts[0]:,}',
                f'{few / MIB:.1f} MiB',
                f'{many / MIB:.1f} MiB',
                f'{many / few:.3f}',
            )
        )
    return rows


class _Store:
    """A Glance with images in one store, which are to leave it."""

    def __init__(self, glance: cloud_glance.Glance, count: int) -> None:
        self._glance = glance
        self._count = count
        self._data = os.urandom(MIB)

    def fill(self) -> list[str]:
        """Make the images, in `dcn0`."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            made = [
                pool.submit(
                    self._glance.create_image,
                    self._data,
                    stores=['dcn0'],
                    disk_format='raw',
                )
                for _ in range(self._count)
            ]
            return [future.result() for future in made]

    def check(self, image_ids: list[str]) -> None:
        """See that all have left, and delete them."""
        for image_id in image_ids:
            assert self._glance.stores_of(image_id) == ['dcn1']
            self._glance.delete_image(image_id)
        assert [*self._glance.directory('dcn0').iterdir()] == []

    def by_hand(self, image_ids: list[str]) -> None:
        """Have the images leave, as a script does."""

        def leave(image_id: str) -> None:
            self._ask(
                'POST',
                f'/v2/images/{image_id}/import',
                {'method': {'name': 'copy-image'}, 'stores': ['dcn1']},
            )
            while True:
                image = json.loads(self._ask('GET', f'/v2/images/{image_id}'))
                # If it is deleted before the import has released it, Glance
                # answers with success, and lists the store again later.
                if 'dcn1' in image['stores'].split(',') and not image.get(
                    'os_glance_import_task'
                ):
                    break
                time.sleep(PAUSE)
            self._ask('DELETE', f'/v2/stores/dcn0/{image_id}')

        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            for future in [pool.submit(leave, each) for each in image_ids]:
                future.result()

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            self._glance.url + path,
            None if body is None else json.dumps(body).encode(),
            {
                'X-Auth-Token': audit.TOKEN,
                'Content-Type': 'application/json',
            },
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            found: bytes = answer.read()
        return found

    def drained(self, image_ids: list[str]) -> None:
        """Have the images leave by the command."""
        from nova_multistore.osc import store_drain

        rows = audit.run(
            self._glance.url, store_drain.DrainStore, 'dcn0', '--to', 'dcn1'
        )
        assert rows == 0


def drain(
    root: pathlib.Path, count: int = 1000, pairs: int = 3
) -> list[tuple[str, ...]]:
    """Empty a store, by a script and by the command.

    :param root: an existing directory for all that is written
    :param count: how many images of 1 MiB
    :returns: rows of name, the script, the command, and ratio
    """
    found: list[tuple[float, float]] = []
    with cloud_glance.Glance(
        root, stores=audit.STORES, default='central'
    ) as glance:
        store = _Store(glance, count)
        for number in range(pairs):
            ways = [store.by_hand, store.drained]
            seconds = {}
            for way in ways if number % 2 else reversed(ways):
                image_ids = store.fill()
                os.sync()
                begin = time.monotonic()
                way(image_ids)
                seconds[way] = time.monotonic() - begin
                store.check(image_ids)
            found.append((seconds[store.by_hand], seconds[store.drained]))
    script, command = (
        statistics.median(pair[i] for pair in found) for i in (0, 1)
    )
    ratio = statistics.median(pair[1] / pair[0] for pair in found)
    return [
        (
            f'drain of {count:,} images of 1 MiB, over a script',
            f'{script:.1f} s',
            f'{command:.1f} s',
            f'{ratio:.3f}',
        )
    ]


def apply(
    root: pathlib.Path, count: int = 100, size: int = 16 * MIB
) -> list[tuple[str, ...]]:
    """Copy images by placements, and see how many imports are under way.

    :param root: an existing directory for all that is written
    :param count: how many images
    :param size: of each, in bytes
    :returns: a row of name, the most that can be, and what was
    """
    from nova_multistore.osc.placement import apply as placement_apply

    file = root / 'placements.yaml'
    file.write_text('placements: [{name: x, images: all, stores: [dcn1]}]')
    seen: list[int] = []
    over = threading.Event()
    with cloud_glance.Glance(
        root, stores=audit.STORES, default='central'
    ) as glance:
        for _ in range(count):
            glance.create_image(
                os.urandom(size), stores=['dcn0'], disk_format='raw'
            )

        def look() -> None:
            database = sqlite3.connect(glance.root / 'glance.sqlite')
            while not over.wait(PAUSE):
                [[number]] = database.execute(
                    "SELECT count(*) FROM tasks WHERE status = 'processing'"
                )
                seen.append(number)
            database.close()

        looking = threading.Thread(target=look)
        looking.start()
        begin = time.monotonic()
        rows = audit.run(
            glance.url, placement_apply.ApplyPlacements, str(file)
        )
        seconds = time.monotonic() - begin
        over.set()
        looking.join()
    assert rows == count
    mean = statistics.mean(seen)
    return [
        (
            f'placement apply, {count} images of {size // MIB} MiB in '
            f'{seconds:.0f} s: imports under way',
            f'{PARALLEL}',
            f'{mean:.1f}',
            f'{mean / PARALLEL:.3f}',
        )
    ]
