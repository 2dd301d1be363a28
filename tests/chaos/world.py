"""A Glance and a Nova with servers, and what must hold of them."""

from __future__ import annotations

import collections
from collections.abc import Iterator
import contextlib
import dataclasses
import gc
import hashlib
import os
from pathlib import Path
import resource
import threading
import time
from typing import Any
from typing import Callable
from unittest import mock

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from nova.image import glance as nova_image

from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore.compute import background
from nova_multistore.compute import failed_image
from nova_multistore.compute import location
from nova_multistore.compute import patch
from nova_multistore.compute import upload
from nova_multistore.osc import image_pages
from nova_multistore.osc import snapshot_audit
from tests import command
from tests import patience
from tests.chaos import clouds
from tests.chaos import faults
from tests.cloud import glance as cloud_glance
from tests.functional import connect

MIB = 1 << 20
#: How many servers there are.
SERVERS = 4
#: How long something may go on in the background, in seconds.
PATIENCE = 20
_FOREIGN = 'other'


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
    #: How many requests Nova and the commands sent to Glance.
    requests: int = 0
    #: By how much the memory of the process has grown since the tenth step, in
    #: bytes.
    grown: int = 0

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
    """A cloud, and what must hold of it.

    :param root: an existing directory for all that is written
    :param seed: decides which faults there are
    :param patched: whether nova-compute has the package
    :param in_ceph: whether its servers are in Ceph
    :param rate: how many of Nova's requests to Glance fail, from 0 to 1
    """

    def __init__(
        self,
        root: Path,
        seed: int,
        patched: bool,
        in_ceph: bool,
        rate: float,
    ) -> None:
        self._root = root
        self._seed = seed
        self._rate = rate
        self._stack = contextlib.ExitStack()
        self._step = 0
        self._memory = 0
        self._objects: collections.Counter[str] = collections.Counter()
        #: The images that were asked for, and whose they are.
        self._images: dict[str, Guest] = {}
        self._judged: set[str] = set()
        self._data_left: set[str] = set()
        self._in_ceph = in_ceph
        self.patched = patched
        #: The servers.
        self.guests: list[Guest] = []
        #: The images that servers were started from.
        self.bases: list[str] = []
        #: The images that Nova has created in this step, as far as it knows.
        self.created: list[str] = []
        self.tally = Tally()

    def start(self) -> None:
        """Start it. It is never taken down: it ends with the process."""
        # Nothing leaves it, and nobody collects what it holds.
        enter = self._stack.enter_context
        cloud_nova.register_credentials(opts.COPY_GROUP)
        running = clouds.in_ceph if self._in_ceph else clouds.on_files
        self.cloud = enter(
            running(
                self._root,
                self._seed,
                patch.apply if self.patched else lambda: None,
            )
        )
        self.glance, self.nova = self.cloud.glance, self.cloud.nova
        enter(mock.patch.object(nova_image.API, 'create', self._create()))
        self.proxy = enter(
            faults.Chaos(self.glance.url, self._seed, self._rate)
        )
        upload.PAUSE = failed_image.PAUSE = 0.1
        failed_image.PATIENCE = location.PATIENCE = PATIENCE / 2
        relocation.GRACE = 0.5
        self.nova.conf(
            **{
                'glance.api_servers': [self.proxy.url],
                **cloud_nova.credentials(
                    opts.COPY_GROUP, self.proxy.url, cloud_glance.ADMIN
                ),
            }
        )
        data = self.cloud.base.read_bytes()
        self._digest = hashlib.sha256(data).hexdigest()
        for number in range(SERVERS):
            self.boot(self.cloud.stores[number % len(self.cloud.stores)])
        foreign = self.glance.create_image(
            self.cloud.base,
            ['fast'],
            self.cloud.disk_format,
            name='snapshot',
            project=_FOREIGN,
        )
        self._foreign = self.glance.image(foreign, _FOREIGN)
        # Its data belong to none of the project's images.
        self._data_left.update(self.cloud.left_over())
        lookup.forget()

    def _create(self) -> Callable[..., Any]:
        """Return what keeps the ids of the images that Nova creates."""
        create = nova_image.API.create

        def kept(*args: Any, **kwargs: Any) -> Any:
            image = create(*args, **kwargs)
            self.created.append(image['id'])
            return image

        return kept

    def boot(self, store: str) -> None:
        """Start one more server.

        :param store: where its image is
        """
        image_id = self.glance.create_image(
            self.cloud.base, [store], self.cloud.disk_format
        )
        self.bases.append(image_id)
        server_id = self.nova.create_server(image_id)
        self.nova.write_disk(server_id, os.urandom(MIB))
        self.guests.append(Guest(server_id, self.cloud.digest(server_id)))

    def replace(self, guest: Guest) -> None:
        """Have another server in the place of one that is of no use."""
        self.guests.remove(guest)
        self.boot('fast')

    def begin(self, step: int, name: str) -> None:
        """Begin a step of the history, with faults.

        :param step: its number
        :param name: what is done
        """
        self._step = step
        self.tally.step = f'{step} {name}'
        self.created.clear()
        # Each step has a token of its own.
        self.nova.api.roles = ['reader', 'member', self.mark]

    @property
    def mark(self) -> str:
        """What the token of this step has, and no other."""
        return f'step{self._step}end'

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Have faults; in the end Nova is idle, and there are none."""
        self.proxy.begin(self._step)
        yield
        self.settle()
        self.proxy.rest()

    def asked(self, guest: Guest, image_id: str | None) -> None:
        """Keep what came of the request for a snapshot.

        :param guest: of which server
        :param image_id: the image, None if the user got an error
        """
        if image_id is None:
            self.tally.failed += 1
        else:
            self._images[image_id] = guest

    # What must hold.

    def settle(self) -> None:
        """Wait until Nova is idle."""
        for guest in list(self.guests):
            try:
                self.nova.wait(guest.id)
            except cloud_nova.NovaFailed as exc:
                self.proxy.rest()
                self.tally.wrong('a server stays busy', str(exc)[:200])
                self.replace(guest)

    def snapshots(self) -> list[dict[str, Any]]:
        """Return the images that Nova has made."""
        images: list[dict[str, Any]] = []
        for kind in image_pages.TYPES:
            _, body = self.glance.request(
                'GET', f'/v2/images?limit=1000&image_type={kind}', admin=True
            )
            images += cloud_glance.json.loads(body)['images']
        return images

    def check(self) -> None:
        """See that all is as it must be, and begin with no images again."""
        self.judge()
        for image in self.snapshots():
            self.glance.delete_image(image['id'])
        for left in self.cloud.left_over():
            if left not in self._data_left:
                self._data_left.add(left)
                said = self._said(left.partition('/')[2][:36])
                self.tally.wrong('data is left in Ceph', f'{left}: {said}')
        self._judge_bases()
        self._judge_rights()
        for guest in list(self.guests):
            server = self.nova.server(guest.id)
            if server['status'] != 'ACTIVE':
                self._wake(guest, server['status'])
        # They hold the frames of all errors.
        self.nova.records.clear()
        if self._step == 10:
            self._objects, self._memory = _objects(), _memory()

    def judge(self) -> None:
        """Judge what has come of all that was asked for."""
        self.settle()
        self._wait_for_background()
        present = {image['id']: image for image in self.snapshots()}
        for image_id, guest in self._images.items():
            image = present.pop(image_id, None)
            if image is None:
                self.tally.failed += 1
            else:
                self._judge(image, guest)
        for image in present.values():
            if image['id'] not in self._judged:
                self._judged.add(image['id'])
                self._left(image, 'nova-api')
        self._judged.update(self._images)
        self._images.clear()

    def _wake(self, guest: Guest, status: str) -> None:
        """Have a server run again."""
        if status == 'SHELVED_OFFLOADED':
            return
        try:
            self.nova.api.post_server_action(
                guest.id,
                {'os-start': None}
                if status == 'SHUTOFF'
                else {'os-resetState': {'state': 'active'}},
            )
            self.nova.wait(guest.id, 'ACTIVE')
        except Exception as exc:
            self.tally.wrong('a server does not run', f'{status}: {exc}')
            self.replace(guest)
            return
        if status != 'SHUTOFF':
            self.tally.wrong('a server in another state', status)

    def _wait_for_background(self) -> None:
        left = patience.Patience(PATIENCE)
        while left:
            if not _pending() and not any(
                image.get('os_glance_import_task')
                for image in self.snapshots()
            ):
                return
            time.sleep(0.05)

    def _judge(self, image: dict[str, Any], guest: Guest) -> None:
        image_id = image['id']
        if image['status'] != 'active':
            self._left(image, 'nova-compute')
            return
        listed, wrong = self._compare(image_id, guest.digest)
        if wrong or not listed:
            self.tally.wrong(
                'other bytes',
                f'{image_id} in {listed}, wrong in {wrong}, not '
                f'{guest.digest}: {self.cloud.data(image_id)} {image} '
                f'{self._said(image_id)}',
            )
            return
        if self.patched and not _agrees(image, listed):
            self.tally.wrong('the record is not true', str(image))
            return
        self.tally.whole += 1

    def _compare(
        self, image_id: str, digest: str
    ) -> tuple[list[str], list[str]]:
        """Compare an image with what it has to be.

        :returns: the stores that list it, and those with other bytes
        """
        listed = self.glance.stores_of(image_id)
        found = self.cloud.data(image_id)
        return listed, [s for s in listed if found.get(s) != digest]

    def _judge_bases(self) -> None:
        """See that what servers were started from is whole."""
        for image_id in list(self.bases):
            image = self.glance.image(image_id)
            listed, wrong = [], []
            if image is not None:
                listed, wrong = self._compare(image_id, self._digest)
            if image is None or image['status'] != 'active' or not listed:
                self.tally.wrong('a base image is lost', str(image))
            elif wrong:
                self.tally.wrong('a base image is damaged', str(image))
            else:
                continue
            self.bases.remove(image_id)

    def _judge_rights(self) -> None:
        """See that Nova's own rights were used for its own images alone."""
        own = {*self._judged, *self._images}
        for token, method, path in self.proxy.changes:
            if token == cloud_glance.ADMIN and not any(
                image in path for image in own
            ):
                self.tally.wrong('a privileged request', f'{method} {path}')
        self.proxy.changes.clear()
        now = self.glance.image(str(self._foreign['id']), _FOREIGN)
        if now != self._foreign:
            self.tally.wrong("another project's image has changed", str(now))

    def _left(self, image: dict[str, Any], by: str) -> None:
        """Count an image that is left; the audit has to find it, once old.

        :param by: who has left it
        """
        self.glance.age(image['id'])
        found = command.run(
            snapshot_audit.AuditSnapshots,
            connect(self.glance.url),
            '--all-projects',
        )
        reported = any(row['id'] == image['id'] for row in found.rows)
        if by == 'nova-compute' and self.proxy.has_expired(self.mark):
            by += ', whose token has expired'
        self.tally.wrong(
            f'left by {by}' + (', reported by the audit' if reported else ''),
            f'{image["id"]} is {image["status"]}: {self._said(image["id"])}',
        )

    def _said(self, image_id: str) -> list[str]:
        """Return what nova-compute said of an image in this step."""
        return [line for line in self.nova.log_lines() if image_id in line]

    def end(self) -> None:
        """See that nothing is left behind in this process."""
        self._wait_for_background()
        if pending := _pending():
            self.tally.wrong('work is left', str(pending))
        if self._memory:
            self.tally.grown = _memory() - self._memory
            # Counters have no negative numbers in a difference.
            if more := _objects() - self._objects:
                self.tally.wrong('objects are left', str(more))
        self.tally.faults = dict(self.proxy.kinds)
        self.tally.requests = sum(self.proxy.requests.values())


def _pending() -> int:
    """Return how much the package does in this process."""
    calls = [t for t in threading.enumerate() if t.name == 'multistore call']
    return len(calls) + background.pending()


def _objects() -> collections.Counter[str]:
    """Count the objects of the package's classes, by class."""
    gc.collect()
    kinds = (type(found) for found in gc.get_objects())
    return collections.Counter(
        kind.__qualname__
        for kind in kinds
        if str(kind.__module__).startswith('nova_multistore.')
    )


def _memory() -> int:
    """Return the memory of this process, in bytes."""
    pages = Path('/proc/self/statm').read_text().split()[1]
    return int(pages) * resource.getpagesize()


def _agrees(image: dict[str, Any], listed: list[str]) -> bool:
    """Tell whether the record says where an image is."""
    if record.RULE not in image:
        # Its properties were refused, or Glance told no stores.
        return True
    if image.get(record.MOVE_FROM) in listed:
        # It has yet to move.
        return True
    decided = image.get(record.STORE)
    return decided is None or decided in listed or record.DIFFERENCE in image
