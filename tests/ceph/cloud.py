"""A cloud with its disks in Ceph.

Stores: `cheap`, files, the default; `fast` and `second`, each a pool in the
Ceph of the disks; `far`, in another Ceph. If they are asked for, `s3` and
`swift`, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import hashlib
from pathlib import Path
from typing import Callable

from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.cloud import keystone as cloud_keystone
from tests.cloud import nova as cloud_nova
from tests.cloud import s3 as cloud_s3
from tests.cloud import swift as cloud_swift

DISKS = 'vms'
#: The pool of each store in the Ceph of the disks.
POOLS = {'fast': 'images', 'second': 'other'}
STORES = {'cheap': 'file', 'far': 'rbd', 'fast': 'rbd', 'second': 'rbd'}
SERVICE = cloud_glance.token('service', ('member', 'reader', 'service'))


class Cloud:
    """Ceph, Glance and Nova, and what a test asks of all three."""

    def __init__(
        self,
        ceph: cloud_ceph.Ceph,
        far: cloud_ceph.Ceph,
        glance: cloud_glance.Glance,
        nova: cloud_nova.Nova,
        objects: Mapping[str, cloud_s3.S3 | cloud_swift.Swift],
    ) -> None:
        self.ceph = ceph
        self.far = far
        self.glance = glance
        self.nova = nova
        #: S3 and Swift, by the store's id, if they are there.
        self.objects = objects

    def show_locations(self, shown: bool) -> None:
        """Have Glance show the locations of images to everyone, or not."""
        if shown != self.glance.show_locations:
            self.glance.stop()
            self.glance.show_locations = shown
            self.glance.start()

    def disk(self, server: str) -> str:
        """Return the name of a server's disk in Ceph."""
        return f'{DISKS}/{server}_disk'

    def has_parent(self, server: str) -> bool:
        return 'parent:' in self.ceph.rbd('info', self.disk(server))

    def flatten(self, server: str) -> None:
        self.ceph.rbd('flatten', '--no-progress', self.disk(server))

    def data(self, image_id: str) -> dict[str, str]:
        """Return the digest of an image's data in each store that has any."""
        found = self.glance.sha256(image_id)
        for store, pool in POOLS.items():
            if image_id in self.ceph.images(pool):
                found[store] = self.ceph.sha256(f'{pool}/{image_id}@snap')
        if image_id in self.far.images('images'):
            found['far'] = self.far.sha256(f'images/{image_id}@snap')
        # Glance does not know an image that is deleted.
        there = self.glance.stores_of(image_id) if self.objects else []
        for store in self.objects.keys() & there:
            data = self.objects[store].read(image_id)
            found[store] = hashlib.sha256(data).hexdigest()
        return found

    def age(self, image_id: str) -> None:
        """Have nothing been said of an image for more than two hours."""
        self.glance.age(image_id)
        self.glance.age_tasks(image_id, minutes=121)

    def left_over(self) -> list[str]:
        """Return what is in Ceph, and is neither an image nor a disk."""
        images = {image['id'] for image in self.glance.images()}
        disks = {f'{s["id"]}_disk' for s in self.nova.api.get_servers(False)}
        found = []
        for pool, known, snapshots in (
            (DISKS, disks, []),
            *((pool, images, ['snap']) for pool in POOLS.values()),
        ):
            for name, present in self.ceph.snapshots(pool).items():
                image = f'{pool}/{name}'
                if name not in known:
                    found.append(image)
                elif present != snapshots:
                    found.append(f'{image}: {present}')
        return found


@contextlib.contextmanager
def running(
    root: Path,
    before_compute: Callable[[], None] = lambda: None,
    size: int = 4 << 30,
    workers: int = 1,
    objects: bool = False,
    **options: object,
) -> Iterator[Cloud]:
    """Run such a cloud.

    :param root: a directory for all that it writes
    :param before_compute: called before each start of nova-compute
    :param size: how much each Ceph holds, in bytes
    :param workers: how many processes of Glance there are
    :param objects: whether it has the stores `s3` and `swift`, too
    :param options: further options of nova.conf, as "group.name"
    """
    for name in ('ceph', 'far', 'glance', 'nova'):
        (root / name).mkdir()
    with contextlib.ExitStack() as stack:
        ceph = stack.enter_context(
            cloud_ceph.Ceph(root / 'ceph', (DISKS, *POOLS.values()), size=size)
        )
        far = stack.enter_context(
            cloud_ceph.Ceph(root / 'far', ['images'], size=size)
        )
        stores = far.store('far', 'images')
        for store, pool in POOLS.items():
            stores.update(ceph.store(store, pool))
        # Ceph has those who write to a full pool wait; and Glance would.
        stores['second.rados_connect_timeout'] = 10
        started = _start_objects(root, ceph, stack) if objects else {}
        for store, fixture in started.items():
            # Glance cannot write several objects to Swift if it knows their
            # size, as that of a base image.
            stores.update(fixture.store(store, large=64))
        glance = stack.enter_context(
            cloud_glance.Glance(
                root / 'glance',
                stores={**STORES, **{store: store for store in started}},
                show_locations=True,
                workers=workers,
                **stores,
            )
        )
        cloud_nova.register_credentials('service_user')
        nova = stack.enter_context(
            cloud_nova.Nova(
                root / 'nova',
                glance,
                before_compute=before_compute,
                small_disks=True,
                **{
                    **ceph.disks(DISKS),
                    # Ceph needs no guest suspended for a direct snapshot.
                    'workarounds.disable_libvirt_livesnapshot': False,
                    # Glance takes locations from services alone.
                    'service_user.send_service_user_token': True,
                    **cloud_nova.credentials(
                        'service_user', glance.url, SERVICE
                    ),
                    **options,
                },
            )
        )
        yield Cloud(ceph, far, glance, nova, started)


def _start_objects(
    root: Path, ceph: cloud_ceph.Ceph, stack: contextlib.ExitStack
) -> dict[str, cloud_s3.S3 | cloud_swift.Swift]:
    """Start S3, which keeps its data in Ceph, and Swift.

    :returns: both, by the id and the type of the store
    """
    for name in ('s3', 'swift'):
        (root / name).mkdir()
    keystone = stack.enter_context(cloud_keystone.Keystone())
    return {
        's3': stack.enter_context(cloud_s3.S3(root / 's3', ceph)),
        'swift': stack.enter_context(
            cloud_swift.Swift(root / 'swift', keystone)
        ),
    }
