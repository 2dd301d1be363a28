"""A Glance and a Nova with servers, and a history of what is done to them."""

from __future__ import annotations

from collections.abc import Iterator
import concurrent.futures
import contextlib
import dataclasses
import gc
import os
from pathlib import Path
import random
import subprocess
import threading
import time
from typing import Any

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import record
from nova_multistore.compute import leftover
from nova_multistore.compute import patch
from nova_multistore.compute import upload
from nova_multistore.osc import nova_images
from nova_multistore.osc import snapshot_audit
from tests import command
from tests.chaos import faults
from tests.cloud import glance as cloud_glance
from tests.functional import broken
from tests.functional import connect
from tests.functional import expected_digest

MIB = 1 << 20
STORES = ('cheap', 'fast', 'reliable')
#: How many servers there are, and how many are busy in one step.
SERVERS, BUSY = 4, 3
#: How long copies may take in the background, in seconds.
PATIENCE = 60
ADMIN = cloud_glance.token('admin', ('admin', 'member', 'reader'))


@dataclasses.dataclass
class Tally:
    """What became of the snapshots."""

    #: Snapshots, backups and shelves that were asked for.
    asked: int = 0
    #: Active images with the bytes of their source, in each store.
    whole: int = 0
    #: Those that failed and left no image.
    failed: int = 0
    #: Those of which something wrong is left, by what it is.
    broken: dict[str, int] = dataclasses.field(default_factory=dict)
    #: What was found, in words.
    details: list[str] = dataclasses.field(default_factory=list)
    #: What is done now.
    step: str = ''
    #: How many faults there were, by kind.
    faults: dict[str, int] = dataclasses.field(default_factory=dict)

    def wrong(self, what: str, details: str) -> None:
        """Count something that is wrong."""
        self.broken[what] = self.broken.get(what, 0) + 1
        self.details.append(f'step {self.step}: {what}: {details}')


@dataclasses.dataclass
class Guest:
    """A server, and what a snapshot of it has to be."""

    id: str
    digest: str


class World:
    """A cloud, and the history that a seed makes of it.

    :param root: an existing directory for all that is written
    :param seed: decides what is done, and which faults there are
    :param patched: whether nova-compute has the package
    :param rate: how many of Nova's requests to Glance fail, from 0 to 1
    """

    def __init__(
        self, root: Path, seed: int, patched: bool, rate: float
    ) -> None:
        self._root = root
        self._choose = random.Random(seed)
        self._seed = seed
        self._patched = patched
        self._rate = rate
        self._stack = contextlib.ExitStack()
        self._step = 0
        self._guests: list[Guest] = []
        #: The images that were asked for, and whose they are.
        self._images: dict[str, Guest] = {}
        self._judged: set[str] = set()
        self.tally = Tally()

    def __enter__(self) -> World:
        enter = self._stack.enter_context
        for name in ('glance', 'nova'):
            (self._root / name).mkdir()
        self._glance = enter(cloud_glance.Glance(self._root / 'glance'))
        self._proxy = enter(
            faults.Chaos(self._glance.url, self._seed, self._rate)
        )
        self._stack.callback(patch.remove)
        upload.PAUSE = leftover.PAUSE = 0.1
        cloud_nova.register_credentials(opts.COPY_GROUP)
        self._nova = enter(
            cloud_nova.Nova(
                self._root / 'nova',
                self._glance,
                before_compute=patch.apply if self._patched else lambda: None,
                small_disks=True,
            )
        )
        self._nova.conf(
            **{
                'glance.api_servers': [self._proxy.url],
                **cloud_nova.credentials(
                    opts.COPY_GROUP, self._proxy.url, ADMIN
                ),
            }
        )
        raw, self._qcow2 = self._root / 'raw', self._root / 'qcow2'
        raw.write_bytes(random.Random(self._seed).randbytes(4 * MIB))
        subprocess.run(
            ['qemu-img', 'convert', '-O', 'qcow2', raw, self._qcow2],
            check=True,
        )
        for number in range(SERVERS):
            self._guests.append(self._boot(STORES[number % len(STORES)]))
        lookup.forget()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _boot(self, store: str) -> Guest:
        image_id = self._glance.create_image(self._qcow2, stores=[store])
        server_id = self._nova.create_server(image_id)
        self._nova.write_disk(server_id, os.urandom(MIB))
        return Guest(server_id, self._expected(server_id))

    def _expected(self, server_id: str) -> str:
        return expected_digest(self._nova.disk(server_id))

    # What is done.

    def step(self) -> None:
        """Do one thing, with faults, and see that all is as it must be."""
        self._step += 1
        weights = {
            self._snapshots: 10,
            self._shelve: 2,
            self._restart_glance: 1,
            self._restart_compute: 1,
            self._lose_store: 2,
            self._configure: 2,
            self._lose_base: 1,
        }
        [act] = self._choose.choices([*weights], [*weights.values()])
        self.tally.step = f'{self._step} {act.__name__.strip("_")}'
        act()
        self._proxy.rest()
        self._check()

    def _snapshots(self) -> None:
        """Several servers are busy at once."""
        busy = self._choose.sample(self._guests, self._choose.randint(1, BUSY))
        kinds = [self._choose.choice(['snapshot', 'backup']) for _ in busy]
        with self._faults(), concurrent.futures.ThreadPoolExecutor() as pool:
            for guest, kind in zip(busy, kinds):
                pool.submit(self._ask, guest, kind)

    def _ask(self, guest: Guest, kind: str) -> None:
        """Ask for an image, as a user does."""
        self.tally.asked += 1
        try:
            if kind == 'snapshot':
                answer = self._nova.start_snapshot(guest.id)
            else:
                answer = self._nova.api.post_server_action(
                    guest.id,
                    {
                        'createBackup': {
                            'name': 'backup',
                            'backup_type': 'daily',
                            'rotation': 100,
                        }
                    },
                )['image_id']
        except Exception:
            # The user sees the error, and there is no image.
            self.tally.failed += 1
            return
        self._images[answer] = guest

    def _shelve(self) -> None:
        guest = self._choose.choice(self._guests)
        self.tally.asked += 1
        before = {image['id'] for image in self._all_images()}
        with self._faults():
            try:
                self._nova.api.post_server_action(guest.id, {'shelve': None})
            except Exception:
                self.tally.failed += 1
                self._reset(guest)
                return
            self._settle()
        made = [i for i in self._all_images() if i['id'] not in before]
        for image in made:
            self._images[image['id']] = guest
        if not made:
            self.tally.failed += 1
        self._judge_all()
        # Without faults: what comes of a snapshot is asked here.
        server = self._nova.server(guest.id)
        if server['status'].startswith('SHELVED'):
            try:
                self._nova.unshelve(guest.id)
                guest.digest = self._expected(guest.id)
            except cloud_nova.NovaFailed as exc:
                self.tally.wrong('a server does not come back', str(exc))
                self._guests.remove(guest)
                self._guests.append(self._boot('fast'))

    def _reset(self, guest: Guest) -> None:
        """Have a server idle again that nova-api has left busy."""
        server = self._nova.server(guest.id)
        if server['OS-EXT-STS:task_state'] is not None:
            self.tally.wrong('nova-api leaves a server busy', guest.id)
            self._nova.administrator(self._nova.project).post_server_action(
                guest.id, {'os-resetState': {'state': 'active'}}
            )

    def _restart_glance(self) -> None:
        """Glance is killed while snapshots are made, and comes back."""
        later = self._choose.uniform(0.1, 1.5)

        def restart() -> None:
            time.sleep(later)
            self._glance.kill()
            time.sleep(0.5)
            self._glance.start()

        thread = threading.Thread(target=restart)
        thread.start()
        self._snapshots()
        thread.join()
        self._settle()

    def _restart_compute(self) -> None:
        self._nova.restart_compute()
        self._snapshots()

    def _lose_store(self) -> None:
        """A store takes nothing for a while."""
        store = self._choose.choice(STORES)
        with broken(self._glance, store):
            self._snapshots()
            self._settle()

    def _configure(self) -> None:
        """The operator wants something else; stock Nova has no choice."""
        options = {
            'glance.store': self._choose.choice(
                [None, None, *STORES, 'nosuch']
            ),
            'nova_multistore.copy_to': self._choose.choice(
                [[], [], ['reliable'], ['cheap', 'fast']]
            ),
        }
        if self._patched:
            self._nova.conf(**options)
        self._snapshots()

    def _lose_base(self) -> None:
        """A base image is deleted; its server lives on."""
        guest = self._choose.choice(self._guests)
        image = self._nova.server(guest.id)['image']
        with contextlib.suppress(cloud_glance.GlanceFailed):
            self._glance.delete_image(image['id'])
        self._snapshots()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        self._proxy.begin(self._step)
        yield
        self._settle()
        self._proxy.rest()

    # What must hold.

    def _settle(self) -> None:
        """Wait until Nova is idle."""
        for guest in list(self._guests):
            try:
                self._nova.wait(guest.id)
            except cloud_nova.NovaFailed as exc:
                self._proxy.rest()
                self.tally.wrong('a server stays busy', str(exc)[:200])
                self._guests.remove(guest)
                self._guests.append(self._boot('fast'))

    def _all_images(self) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = []
        for kind in nova_images.TYPES:
            _, body = self._glance.request(
                'GET', f'/v2/images?limit=1000&image_type={kind}', admin=True
            )
            images += cloud_glance.json.loads(body)['images']
        return images

    def _check(self) -> None:
        """See that all is as it must be, and begin with no images again."""
        self._judge_all()
        for image in self._all_images():
            self._glance.delete_image(image['id'])
        for guest in list(self._guests):
            server = self._nova.server(guest.id)
            if server['status'] != 'ACTIVE':
                self._wake(guest, server['status'])

    def _judge_all(self) -> None:
        """Judge what has come of all that was asked for."""
        self._settle()
        self._wait_for_copies()
        present = {image['id']: image for image in self._all_images()}
        for image_id, guest in self._images.items():
            image = present.pop(image_id, None)
            if image is None:
                self.tally.failed += 1
            else:
                self._judge(image, guest)
        for image in present.values():
            if image['id'] not in self._judged:
                self._left(image, 'nova-api')
        self._judged.update(self._images)
        self._images.clear()

    def _wake(self, guest: Guest, status: str) -> None:
        """Have a server run again."""
        if status == 'SHELVED_OFFLOADED':
            return
        try:
            self._nova.api.post_server_action(
                guest.id,
                {'os-start': None}
                if status == 'SHUTOFF'
                else {'os-resetState': {'state': 'active'}},
            )
            self._nova.wait(guest.id, 'ACTIVE')
        except Exception as exc:
            self.tally.wrong('a server does not run', f'{status}: {exc}')
            self._guests.remove(guest)
            self._guests.append(self._boot('fast'))
            return
        if status != 'SHUTOFF':
            self.tally.wrong('a server in another state', status)

    def _wait_for_copies(self) -> None:
        """Wait until nothing goes on in the background."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not _background() and not any(
                image.get('os_glance_import_task')
                for image in self._all_images()
            ):
                return
            time.sleep(0.05)

    def _judge(self, image: dict[str, Any], guest: Guest) -> None:
        image_id = image['id']
        if image['status'] != 'active':
            self._left(image, 'nova-compute')
            return
        listed = self._glance.stores_of(image_id)
        found = self._glance.sha256(image_id)
        wrong = [s for s in listed if found.get(s) != guest.digest]
        if wrong or not listed:
            self.tally.wrong(
                'other bytes', f'{image_id} in {listed}, wrong in {wrong}'
            )
            return
        if self._patched and not _agrees(image, listed):
            self.tally.wrong('the record is not true', str(image))
            return
        self.tally.whole += 1

    def _left(self, image: dict[str, Any], by: str) -> None:
        """Count an image that is left; the audit has to find it, once old.

        :param by: who has left it
        """
        self._glance.change_database(
            "UPDATE images SET updated_at = datetime('now', '-121 minutes') "
            'WHERE id = ?',
            image['id'],
        )
        found = command.run(
            snapshot_audit.AuditSnapshots,
            connect(self._glance.url),
            '--all-projects',
        )
        reported = any(row['id'] == image['id'] for row in found.rows)
        self.tally.wrong(
            f'left by {by}' + (', reported by the audit' if reported else ''),
            f'{image["id"]} is {image["status"]}',
        )

    def end(self) -> None:
        """See that nothing is left behind in this process."""
        self._wait_for_copies()
        gc.collect()
        if left := _background():
            self.tally.wrong('threads are left', ', '.join(left))
        self.tally.faults = dict(self._proxy.kinds)


def _background() -> list[str]:
    """Return the names of the threads that the package has started."""
    return [t.name for t in threading.enumerate() if '(run)' in t.name]


def _agrees(image: dict[str, Any], listed: list[str]) -> bool:
    """Tell whether the record says where an image is."""
    if record.RULE not in image:
        # Its properties were refused, or Glance told no stores.
        return True
    decided = image.get(record.STORE)
    return decided is None or decided in listed or record.DIFFERENCE in image
