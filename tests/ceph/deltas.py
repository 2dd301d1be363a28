"""Many delta copies of random images, with faults: how many are whole.

Usage: python -m tests.ceph.deltas [--copies N] [--seed N]

Each image differs in another way from an earlier one. Now and then, the
earlier one is damaged in either store, or glance-api is killed. After each
copy, what is in Ceph is compared with the source. The same seed makes the
same images and faults.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator
import contextlib
import hashlib
import json
import pathlib
import random
import tempfile
import time

from tests import patience
from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance

MIB = 1 << 20
POOL = 'images'
NO_TASKS = 'this ceph-mgr cannot load rbd_support; its log says why'
FILTERS = {
    'multistore': {
        'use': cloud_glance.FILTER['multistore'],
        'delta_stores': 'central',
    }
}
SERVER = '7f4b6a53-1f0a-4d59-8c0b-5f9f2b0c7e11'
#: How many of 100 copies meet each fault.
FAULTS = {'killed': 4, 'damaged there': 4, 'damaged here': 4}


@contextlib.contextmanager
def running(
    root: pathlib.Path,
) -> Iterator[tuple[cloud_ceph.Ceph, cloud_glance.Glance]]:
    """Run the target, and a Glance with the stores `site` and `central`.

    The objects of `central` are of one MiB.
    """
    for part in ('ceph', 'glance'):
        (root / part).mkdir()
    with (
        cloud_ceph.Ceph(root / 'ceph', [POOL], tasks=True) as ceph,
        cloud_glance.Glance(
            root / 'glance',
            stores={'site': 'file', 'central': 'rbd'},
            default='site',
            filters=FILTERS,
            **ceph.store('central', POOL),
            **{'central.rbd_store_chunk_size': 1},
        ) as glance,
    ):
        # Ceph shall not believe for half a minute in a Glance that is killed.
        ceph.ceph('config', 'set', 'osd', 'osd_client_watch_timeout', '5')
        yield ceph, glance


def begin_copy(glance: cloud_glance.Glance, image_id: str) -> int:
    """Ask for a copy in `central`; return the status of the answer."""
    return glance.request(
        'POST',
        f'/v2/images/{image_id}/import',
        {'method': {'name': 'copy-image'}, 'stores': ['central']},
        admin=True,
    )[0]


def message(glance: cloud_glance.Glance, image_id: str) -> str:
    """Return what the newest task of an image says."""
    path = f'/v2/images/{image_id}/tasks'
    tasks = json.loads(glance.request('GET', path, admin=True)[1])['tasks']
    said: str = max(tasks, key=lambda task: task['created_at'])['message']
    return said


class Run:
    """Copies, one after the other.

    :param ceph: the target
    :param glance: copies to it
    :param seed: of everything
    """

    def __init__(
        self, ceph: cloud_ceph.Ceph, glance: cloud_glance.Glance, seed: int
    ) -> None:
        self._ceph = ceph
        self._glance = glance
        self._random = random.Random(seed)
        self._data = b''
        self._last: str | None = None
        #: How many copies had which end.
        self.ends: collections.Counter[str] = collections.Counter()
        #: The images whose copies had other bytes.
        self.wrong: list[str] = []

    def copy(self) -> None:
        """Make an image, and copy it."""
        picked = self._random
        if self._last is None or picked.random() < 0.05:
            self._begin()
        fault = picked.choices(
            [*FAULTS, ''], [*FAULTS.values(), 100 - sum(FAULTS.values())]
        )[0]
        place = picked.randrange(len(self._data))
        assert self._last is not None
        if fault == 'damaged here':
            self._glance.flip('site', self._last, place)
        elif fault == 'damaged there':
            self._ceph.flip(f'{POOL}/{self._last}', place)
        self._change()
        image_id = self._create()
        if fault == 'killed':
            self._kill(image_id)
        else:
            self._glance.copy_image(image_id, ['central'])
        wanted = hashlib.sha256(self._data).hexdigest()
        if self._ceph.sha256(
            f'{POOL}/{image_id}@snap'
        ) != wanted or self._ceph.snapshots(POOL)[image_id] != ['snap']:
            self.wrong.append(image_id)
        said = message(self._glance, image_id)
        kind = 'delta' if said.startswith('Sent') else 'whole'
        self.ends[f'{kind}, {fault or "no fault"}'] += 1
        self._glance.delete_image(self._last)
        self._last = image_id

    def _begin(self) -> None:
        """Have an image that is like none before."""
        if self._last:
            self._glance.delete_image(self._last)
        size = self._random.randrange(1, 4 * MIB)
        full = self._random.randbytes(size)
        hole = self._random.randrange(size)
        self._data = full[:hole].ljust(size, b'\0')
        self._last = self._create('site', 'central')

    def _change(self) -> None:
        """Change what the next image has."""
        picked = self._random
        data = bytearray(self._data)
        for _ in range(picked.choice((0, 1, 3, 30))):
            begin = picked.randrange(len(data))
            end = min(begin + picked.choice((1, 4096, 70000)), len(data))
            data[begin:end] = (
                picked.randbytes(end - begin)
                if picked.random() < 0.7
                else bytes(end - begin)
            )
        if picked.random() < 0.1 and len(data) < 6 * MIB:
            data += picked.randbytes(picked.randrange(1, MIB))
        self._data = bytes(data)

    def _create(self, *stores: str) -> str:
        return self._glance.create_image(
            self._data,
            stores=stores or ('site',),
            disk_format='raw',
            instance_uuid=SERVER,
        )

    def _kill(self, image_id: str) -> None:
        """Kill Glance while it copies, and copy again."""
        begin_copy(self._glance, image_id)
        time.sleep(self._random.uniform(0, 0.6))
        self._glance.kill()
        self._glance.start()
        with contextlib.suppress(cloud_glance.GlanceFailed):
            # It may have been killed before the import began.
            self._glance.age_tasks(image_id)
        left = patience.Patience(120)
        while left:
            if 'central' in self._glance.stores_of(image_id):
                return
            begin_copy(self._glance, image_id)
            time.sleep(0.5)
        raise AssertionError(f'{image_id} is not copied any more')


def main() -> None:
    """Run it, and print what came of it."""
    parser = argparse.ArgumentParser(prog='deltas', description=__doc__)
    parser.add_argument('--copies', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix='deltas-') as root,
        running(pathlib.Path(root)) as (ceph, glance),
    ):
        if not ceph.tasks:
            parser.error(NO_TASKS)
        run = Run(ceph, glance, arguments.seed)
        for _ in range(arguments.copies):
            run.copy()
    for end, count in sorted(run.ends.items()):
        print(f'{count:6d}  {end}')
    print(f'{len(run.wrong):6d}  with wrong bytes {run.wrong or ""}')
    raise SystemExit(bool(run.wrong))


if __name__ == '__main__':
    main()
