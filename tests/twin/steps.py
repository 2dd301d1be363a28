"""What is done to a cloud, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
import contextlib
import dataclasses
import random
import time
from typing import Any

from nova_multistore import record
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.twin import knobs
from tests.twin import world as twin_world

#: A step: what is done, and to what.
Step = tuple[str, ...]
#: Some for a test, which have most kinds of images.
SHORT: tuple[Step, ...] = (
    ('base', 'public'),
    ('boot', 'public'),
    ('snapshot', '0'),
    ('backup', '0', '1'),
    ('shelve', '0'),
)
#: How often each is drawn, relative to the others.
_WEIGHTS = {
    'snapshot': 8,
    'snapshot by admin': 1,
    'backup': 4,
    'at once': 2,
    'shelve': 3,
    'rebuild': 1,
    'rescue': 1,
    'resize': 1,
    'boot from snapshot': 2,
    'delete base': 1,
    'delete snapshot': 1,
    'restart compute': 1,
}
#: How many there are after the servers are there.
FEWEST, MOST = 1, 4
#: How many snapshots are made at once.
AT_ONCE = 3


def draw(seed: int) -> list[Step]:
    """Return the steps of a seed; servers and images go by their numbers."""
    choose = random.Random(f'steps {seed}')
    steps: list[Step] = []
    bases = choose.sample(knobs.BASES, choose.choice((1, 1, 2)))
    for base in bases:
        steps += [('base', base), ('boot', base)]
    names, weights = [*_WEIGHTS], [*_WEIGHTS.values()]
    for name in choose.choices(names, weights, k=choose.randint(FEWEST, MOST)):
        server = str(choose.randrange(len(bases)))
        if name in ('rebuild', 'delete base'):
            steps.append((name, server, choose.choice(bases)))
        elif name == 'backup':
            steps.append((name, server, str(choose.randint(1, 2))))
        else:
            steps.append((name, server))
    return steps


@dataclasses.dataclass
class Image:
    """What came of a snapshot."""

    status: str
    whole: bool
    stores: list[str]
    #: Where it is to be; empty if that is not known.
    expected: list[str]
    #: What its record says of that.
    difference: str | None

    @property
    def elsewhere(self) -> bool:
        return bool(self.expected) and not set(self.expected) & set(
            self.stores
        )


@dataclasses.dataclass
class Outcome:
    """What came of a step."""

    step: Step
    ok: bool
    words: str = ''
    seconds: float = 0.0
    images: list[Image] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Twin:
    """What came of all steps in one cloud."""

    outcomes: list[Outcome]
    #: What is left in stores once all images are deleted.
    left_over: list[str]
    #: What the package said at WARNING and above.
    warnings: list[str]
    #: Images that were there in the end: kind and status.
    images: list[str]


class _Failed(Exception):
    """Raised if a step does not come to what was asked for."""


class Steps:
    """Does the steps, one after the other.

    :param cloud: to what
    """

    def __init__(self, cloud: twin_world.Cloud) -> None:
        self._cloud = cloud
        self._nova = cloud.nova
        self._bases: dict[str, str] = {}
        self._servers: list[str] = []
        #: The base image of each server.
        self._base_of: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._snapshots: list[str] = []
        self._found: list[Image] = []
        #: How long images were looked at in this step, in seconds.
        self._looked = 0.0

    def run(self, steps: Sequence[Step]) -> Twin:
        """Do them, whatever comes of each."""
        outcomes = []
        for step in steps:
            if self._servers and step[0] not in ('base', 'boot'):
                self._cloud.begin()
            outcomes.append(self._do(step))
        # Nova may leave a server busy for ever.
        with contextlib.suppress(cloud_nova.NovaFailed):
            self._cloud.settle()
        images = sorted(
            f'{image.get("image_type", "base")} {image["status"]}'
            for image in self._cloud.everything()
        )
        warnings = self._cloud.warnings()
        self._cloud.end()
        return Twin(outcomes, self._cloud.left_over(), warnings, images)

    def _do(self, step: Step) -> Outcome:
        name, *arguments = step
        self._found, self._looked = [], 0.0
        begin = time.monotonic()
        words = ''
        try:
            act: Callable[..., None] = getattr(
                self, f'_{name.replace(" ", "_")}'
            )
            act(*arguments)
        except Exception as exc:
            lines = str(exc).splitlines() or ['']
            words = f'{type(exc).__name__}: {" ".join(lines)[:1000]}'
        seconds = time.monotonic() - begin - self._looked
        return Outcome(step, not words, words, seconds, self._found)

    def _server(self, number: str) -> str:
        if int(number) >= len(self._servers):
            raise _Failed('there is no such server')
        return self._servers[int(number)]

    def _base(self, kind: str) -> None:
        self._bases[kind] = self._cloud.base(kind)
        self._cloud.upgrade()

    def _boot(self, kind: str) -> None:
        self._start(self._bases[kind])

    def _start(self, image_id: str) -> None:
        server_id = self._asked_again(self._nova.create_server, image_id)
        self._servers.append(server_id)
        self._base_of[server_id] = image_id
        self._cloud.write(server_id)
        self._digests[server_id] = self._cloud.disk(server_id)

    @staticmethod
    def _asked_again(ask: Callable[[str], str], what: str) -> str:
        """Ask up to three times, as a user does whom Nova's API refuses."""
        for _ in range(2):
            with contextlib.suppress(Exception):
                return ask(what)
        return ask(what)

    def _snapshot(self, number: str) -> None:
        server = self._server(number)
        expected = self._expected(server, 'snapshot')
        self._judge(server, self._nova.snapshot(server), expected)

    def _snapshot_by_admin(self, number: str) -> None:
        server = self._server(number)
        admin = self._nova.administrator(self._nova.project)
        expected = self._expected(server, 'snapshot')
        answer = admin.post_server_action(
            server, {'createImage': {'name': 'admin', 'metadata': {}}}
        )
        self._nova.wait(server)
        self._judge(server, answer['image_id'], expected)

    def _at_once(self, _number: str) -> None:
        servers = list(self._servers)
        while self._bases and len(servers) < AT_ONCE:
            self._start([*self._bases.values()][-1])
            servers = list(self._servers)
        expected = {s: self._expected(s, 'snapshot') for s in servers}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            images = dict(
                zip(servers, pool.map(self._nova.start_snapshot, servers))
            )
        for server in servers:
            self._nova.wait(server)
        for server, image_id in images.items():
            self._judge(server, image_id, expected[server])

    def _backup(self, number: str, rotation: str) -> None:
        server = self._server(number)
        expected = self._expected(server, 'backup')
        for _ in range(2):
            image_id = self._nova.backup(server, int(rotation))
            self._judge(server, image_id, expected)

    def _shelve(self, number: str) -> None:
        server = self._server(number)
        expected = self._expected(server, 'shelve')
        known = {image['id'] for image in self._cloud.everything()}
        self._nova._action(server, {'shelve': None})
        self._nova.wait(server)
        for image in self._cloud.everything():
            if image['id'] not in known:
                self._judge(server, image['id'], expected, keep=False)
        status = self._nova.server(server)['status']
        if status != 'SHELVED_OFFLOADED':
            raise _Failed(f'it is {status}: {self._fault(server)}')
        self._nova.unshelve(server)
        digest = self._cloud.disk(server)
        if digest != self._digests[server]:
            raise _Failed('the disk is another after unshelve')

    def _rebuild(self, number: str, kind: str) -> None:
        server = self._server(number)
        self._nova._action(
            server, {'rebuild': {'imageRef': self._bases[kind]}}
        )
        self._nova.wait(server, 'ACTIVE')
        self._base_of[server] = self._bases[kind]
        self._cloud.write(server)
        self._digests[server] = self._cloud.disk(server)

    def _rescue(self, number: str) -> None:
        server = self._server(number)
        self._nova._action(server, {'rescue': {}})
        self._nova.wait(server, 'RESCUE')
        self._nova._action(server, {'unrescue': None})
        self._nova.wait(server, 'ACTIVE')

    def _resize(self, number: str) -> None:
        server = self._server(number)
        flavors = self._nova.api.get_flavors()
        flavor = max(flavors, key=lambda f: int(f['id']))['id']
        self._nova._action(server, {'resize': {'flavorRef': flavor}})
        self._nova.wait(server, 'VERIFY_RESIZE')
        self._nova._action(server, {'confirmResize': None})
        self._nova.wait(server, 'ACTIVE')
        self._digests[server] = self._cloud.disk(server)

    def _boot_from_snapshot(self, _number: str) -> None:
        if not self._snapshots:
            raise _Failed('there is no snapshot')
        self._start(self._snapshots[-1])

    def _delete_base(self, _number: str, kind: str) -> None:
        self._cloud.glance.delete_image(self._bases[kind])

    def _delete_snapshot(self, _number: str) -> None:
        if not self._snapshots:
            raise _Failed('there is no snapshot')
        path = f'/v2/images/{self._snapshots.pop()}'
        status, body = self._cloud.glance.request('DELETE', path)
        if status != 204:
            raise _Failed(f'{status} {body!r}')

    def _restart_compute(self, _number: str) -> None:
        self._nova.restart_compute()

    def _judge(
        self,
        server: str,
        image_id: str,
        expected: list[str],
        keep: bool = True,
    ) -> None:
        """Look at what came of a snapshot.

        :raises _Failed: it is not whole
        """
        begin = time.monotonic()
        try:
            self._look(server, image_id, expected, keep)
        finally:
            self._looked += time.monotonic() - begin

    def _look(
        self, server: str, image_id: str, expected: list[str], keep: bool
    ) -> None:
        glance = self._cloud.glance
        self._cloud.settle()
        image = glance.image(image_id)
        if image is None or image['status'] != 'active':
            status = image and image['status']
            raise _Failed(f'the image is {status}: {self._fault(server)}')
        found = Image(
            image['status'],
            self._cloud.data(image) == self._digests[server],
            glance.stores_of(image_id) if glance.multi_store else [],
            expected,
            image.get(record.DIFFERENCE) or image.get(record.MOVE_FROM),
        )
        self._found.append(found)
        if keep:
            self._snapshots.append(image_id)
        if not found.whole:
            raise _Failed('the image is not whole')

    def _fault(self, server: str) -> str:
        faults = self._nova.faults(server)
        return faults[0].splitlines()[0] if faults else 'no fault'

    def _expected(self, server: str, kind: str) -> list[str]:
        """Return the stores one of which has to have a snapshot.

        This is the documentation's table, read by a second reader.
        """
        cloud, glance = self._cloud, self._cloud.glance
        if not cloud.patched or not glance.multi_store:
            return []
        order = cloud.orders.get('glance.store') or (
            cloud.orders.get('nova_multistore.move_to')
        )
        if order in glance.stores and kind != 'shelve':
            return [str(order)]
        image = glance.image(self._base_of[server], cloud_glance.PROJECT)
        held = _stores(image)
        if cloud.ceph:
            # Where it is cloned depends on what Ceph and Glance show.
            return [*held, 'fast', glance.default]
        if glance.default in held or not held:
            return [glance.default]
        if 'uneven' in cloud.world.get('servers', ()):
            # A Glance that lists the default store alone has been asked.
            return [*held, glance.default]
        # A store of type http is read-only.
        return [s for s in held if glance.stores.get(s) != 'http'][:1]


def _stores(image: Mapping[str, Any] | None) -> list[str]:
    return [s for s in (image or {}).get('stores', '').split(',') if s]
