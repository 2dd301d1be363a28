"""A history: what a seed has done to a cloud."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
import contextlib
import datetime
import random
import threading
import time
import types
from unittest import mock

from nova_multistore import copies
from nova_multistore.osc import image_relocate
from nova_multistore.osc import snapshot_audit
from tests import command
from tests.chaos import world as chaos_world
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.functional import broken
from tests.functional import connect

#: How many servers are busy in one step.
BUSY = 3
#: How long a command may wait for Glance, in seconds.
TIMEOUT = '10'


class History:
    """What is done, one step after the other.

    :param world: to what
    :param seed: decides
    """

    def __init__(self, world: chaos_world.World, seed: int) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self._step = 0
        self._acts: dict[Callable[[], None], int] = {
            self._snapshots: 8,
            self._shelve: 2,
            self._restart_glance: 1,
            self._kill_worker: 1,
            self._restart_compute: 1,
            self._lose_store: 2,
            self._configure: 2,
            self._lose_base: 1,
            self._relocate: 2,
            self._audit: 2,
            self._delete: 1,
            self._jump: 1,
        }
        if world.cloud.expires:
            self._acts[self._expire] = 1

    def step(self) -> None:
        """Do one thing, with faults, and see that all is as it must be."""
        self._step += 1
        [act] = self._choose.choices([*self._acts], [*self._acts.values()])
        self._world.begin(self._step, act.__name__.strip('_'))
        act()
        self._world.proxy.rest()
        self._world.check()

    def _snapshots(
        self, beside: Callable[[], None] = lambda: None, later: float = 0.0
    ) -> None:
        """Several servers are busy at once.

        :param beside: what is done at the same time
        :param later: after how many seconds
        """
        guests = self._world.guests
        busy = self._choose.sample(guests, self._choose.randint(1, BUSY))
        kinds = [self._choose.choice(['snapshot', 'backup']) for _ in busy]
        with (
            self._world.faults(),
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            futures = [
                pool.submit(self._ask, guest, kind)
                for guest, kind in zip(busy, kinds)
            ]
            time.sleep(later)
            futures.append(pool.submit(beside))
        for future in futures:
            future.result()

    def _ask(self, guest: chaos_world.Guest, kind: str) -> None:
        """Ask for an image, as a user does."""
        self._world.tally.asked += 1
        image_id: str | None = None
        backup = {'name': 'backup', 'backup_type': 'daily', 'rotation': 100}
        # If the user sees an error, there is no image.
        with contextlib.suppress(Exception):
            if kind == 'snapshot':
                image_id = self._world.nova.start_snapshot(guest.id)
            else:
                image_id = self._world.nova.api.post_server_action(
                    guest.id, {'createBackup': backup}
                )['image_id']
        self._world.asked(guest, image_id)

    def _shelve(self) -> None:
        world = self._world
        guest = self._choose.choice(world.guests)
        world.tally.asked += 1
        with world.faults():
            try:
                world.nova.api.post_server_action(guest.id, {'shelve': None})
            except Exception:
                world.asked(guest, None)
                self._reset(guest)
                return
        [image_id] = world.created
        world.asked(guest, image_id)
        world.judge()
        # Without faults: what comes of a snapshot is asked here.
        if world.nova.server(guest.id)['status'].startswith('SHELVED'):
            try:
                world.nova.unshelve(guest.id)
                guest.digest = world.cloud.digest(guest.id)
            except cloud_nova.NovaFailed as exc:
                world.tally.wrong('a server does not come back', str(exc))
                world.replace(guest)

    def _reset(self, guest: chaos_world.Guest) -> None:
        """Have a server idle again that nova-api has left busy."""
        nova = self._world.nova
        if nova.server(guest.id)['OS-EXT-STS:task_state'] is not None:
            self._world.tally.wrong('nova-api leaves a server busy', guest.id)
            nova.administrator(nova.project).post_server_action(
                guest.id, {'os-resetState': {'state': 'active'}}
            )

    def _restart_glance(self) -> None:
        """Glance is killed while snapshots are made, and comes back."""
        later = self._choose.uniform(0.1, 1.5)
        glance = self._world.glance

        def restart() -> None:
            time.sleep(later)
            glance.kill()
            time.sleep(0.5)
            glance.start()

        thread = threading.Thread(target=restart)
        thread.start()
        self._snapshots()
        thread.join()
        self._world.settle()

    def _kill_worker(self) -> None:
        """One glance-api is killed, the other goes on."""
        later = self._choose.uniform(0.1, 1.5)
        number = self._choose.randrange(2)

        self._snapshots(lambda: self._world.glance.kill_worker(number), later)

    def _restart_compute(self) -> None:
        self._world.nova.restart_compute()
        self._snapshots()

    def _lose_store(self) -> None:
        """A store takes nothing for a while."""
        store = self._choose.choice(self._world.cloud.breakable)
        with broken(self._world.glance, store):
            self._snapshots()
            self._world.settle()

    def _configure(self) -> None:
        """The operator wants something else; stock Nova has no choice."""
        stores = self._world.cloud.stores
        options: dict[str, object] = {
            'glance.store': self._choose.choice(
                [None, None, *stores, 'nosuch']
            ),
            'nova_multistore.copy_to': self._choose.choice(
                [[], [], [stores[-1]], ['cheap', 'fast']]
            ),
        }
        if self._world.cloud.moves:
            options['nova_multistore.move_to'] = self._choose.choice(
                [None, 'cheap', 'far']
            )
        if self._world.patched:
            self._world.nova.conf(**options)
        self._snapshots()
        if self._world.patched and options['glance.store'] == 'nosuch':
            # Nothing else would be made from now on.
            self._world.nova.conf(**{'glance.store': None})

    def _lose_base(self) -> None:
        """A base image is deleted; its server lives on."""
        image_id = self._choose.choice(self._world.bases)
        # Glance may refuse it in Ceph: the disks need it.
        with contextlib.suppress(cloud_glance.GlanceFailed):
            self._world.glance.delete_image(image_id)
            self._world.bases.remove(image_id)
        self._snapshots()
        # There is always one.
        self._world.replace(self._choose.choice(self._world.guests))

    def _relocate(self) -> None:
        """The operator moves base images; the commands meet faults, too."""
        chosen = [
            (
                self._choose.choice(self._world.bases),
                self._choose.choice(self._world.cloud.stores),
            )
            for _ in range(2)
        ]

        def relocate() -> None:
            for image_id, store in chosen:
                command.run(
                    image_relocate.RelocateImage,
                    connect(self._world.proxy.url),
                    *(image_id, '--to', store, '--timeout', TIMEOUT),
                    # Ceph itself refuses what its clones need.
                    '--even-in-use',
                )

        self._snapshots(relocate)

    def _audit(self) -> None:
        """The operator has everything mended while snapshots are made."""
        later = self._choose.uniform(0.0, 1.0)

        def audit() -> None:
            command.run(
                snapshot_audit.AuditSnapshots,
                connect(self._world.proxy.url),
                *('--all-projects', '--fix', '--timeout', TIMEOUT),
                '--even-in-use',
            )

        self._snapshots(audit, later)

    def _delete(self) -> None:
        """The user deletes images while they are made."""
        later = self._choose.uniform(0.1, 1.0)

        def delete() -> None:
            for image in self._world.snapshots():
                self._world.glance.request(
                    'DELETE', f'/v2/images/{image["id"]}'
                )

        self._snapshots(delete, later)

    def _jump(self) -> None:
        """The clock of the package and its commands is not Glance's."""
        seconds = self._choose.choice([-10000, -4000, 4000, 10000])
        with _clock(seconds):
            self._audit()

    def _expire(self) -> None:
        """The token of the user expires while snapshots are made."""
        after = self._choose.randint(2, 20)
        self._world.proxy.expire(self._world.mark, after)
        self._snapshots()


@contextlib.contextmanager
def _clock(ahead: float) -> Iterator[None]:
    """Have the package read another time.

    The rest of the process does not: keystoneauth would have all requests wait
    until a clock that was set back has caught up.

    :param ahead: by how much, in seconds
    """

    class Jumped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Jumped:
            return cls.fromtimestamp(time.time() + ahead, tz)

    jumped = types.SimpleNamespace(**vars(datetime))
    jumped.datetime = Jumped
    with (
        mock.patch.object(copies, 'datetime', jumped),
        mock.patch.object(snapshot_audit, 'datetime', jumped),
    ):
        yield
