"""Where snapshots of disks in Ceph land, and how they are made.

Every base image, disk and choice of store, with Glance showing its locations
and not, stock and patched.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from nova_multistore.compute import patch
from tests.ceph import cloud as ceph_cloud

MIB = 1 << 20
BASES = (('fast',), ('fast', 'cheap'), ('cheap',))
ORDERS = (None, 'fast', 'second', 'cheap')


@dataclasses.dataclass(frozen=True)
class Case:
    """A disk, and what Glance shows of it."""

    base: tuple[str, ...]
    #: Whether the disk is a clone of the base image.
    parent: bool
    #: Whether Glance shows locations when the snapshot is taken.
    shown: bool


@dataclasses.dataclass(frozen=True)
class Landing:
    """What became of a snapshot."""

    stores: str
    #: Whether it was cloned inside Ceph.
    direct: bool
    #: Whether its bytes are those of the disk.
    whole: bool

    def __str__(self) -> str:
        way = 'clone' if self.direct else 'upload'
        return f'{self.stores}, {way}' + ('' if self.whole else ', NOT WHOLE')


def parents(base: tuple[str, ...]) -> tuple[bool, ...]:
    """Return whether a disk can be a clone of a base image, and can be none.

    Only an image in the Ceph of the disks can be cloned.
    """
    return (True, False) if 'fast' in base else (False,)


CASES = tuple(
    Case(base, parent, shown)
    for base in BASES
    for parent in parents(base)
    for shown in (True, False)
)


def expected(case: Case, order: str | None) -> tuple[Landing, Landing]:
    """Return what should become of a snapshot, with stock Nova and patched.

    :param order: `[glance] store`
    """
    # Stock Nova clones where it finds a pool, whoever wants what.
    found = case.parent or (case.shown and 'fast' in case.base)
    store = order or ('fast' if 'fast' in case.base else case.base[0])
    return (
        Landing('fast' if found else 'cheap', direct=found, whole=True),
        Landing(store, direct=store in ceph_cloud.POOLS, whole=True),
    )


class Matrix:
    """The servers, and their snapshots.

    :param cloud: with stock Nova
    :param bases: the stores of each base image
    """

    def __init__(
        self,
        cloud: ceph_cloud.Cloud,
        bases: Iterable[tuple[str, ...]] = BASES,
    ) -> None:
        self.cloud = cloud
        cloud.show_locations(True)
        self._servers: dict[tuple[tuple[str, ...], bool], str] = {}
        for base in bases:
            image = cloud.glance.create_image(
                os.urandom(4 * MIB),
                stores=base,
                disk_format='raw',
                name='-'.join(base),
            )
            for parent in parents(base):
                server = cloud.nova.create_server(image)
                if len(parents(base)) == 2 and not parent:
                    cloud.flatten(server)
                self._servers[base, parent] = server

    def run(
        self,
        cases: Sequence[Case] = CASES,
        orders: Sequence[str | None] = ORDERS,
        say: Callable[[str], None] = lambda text: None,
    ) -> dict[tuple[Case, str | None], tuple[Landing, Landing]]:
        """Take a snapshot for each case and `[glance] store`.

        :param say: told how far it is
        :returns: what became of each with stock Nova and patched, by case
            and `[glance] store`
        """
        stock: dict[Case, Landing] = {}
        patched: dict[tuple[Case, str | None], Landing] = {}
        for shown in sorted({case.shown for case in cases}):
            self.cloud.show_locations(shown)
            concerned = [case for case in cases if case.shown == shown]
            for case in concerned:
                stock[case] = self.land(case)
                say(f'stock: {", ".join(case.base)}')
            patch.apply()
            self.cloud.nova.restart_compute()
            for order in orders:
                self.cloud.nova.conf(**{'glance.store': order})
                for case in concerned:
                    patched[case, order] = self.land(case)
                    say(f'patched: {", ".join(case.base)}')
            patch.remove()
            self.cloud.nova.conf(**{'glance.store': None})
            self.cloud.nova.restart_compute()
        return {
            (case, order): (stock[case], patched[case, order])
            for case in cases
            for order in orders
        }

    def land(self, case: Case) -> Landing:
        """Take one snapshot, of a disk that has changed since the last."""
        server = self._servers[case.base, case.parent]
        assert self.cloud.has_parent(server) == case.parent
        self.cloud.nova.write_disk(server, os.urandom(MIB), offset=MIB)
        return take(self.cloud, server)


def take(
    cloud: ceph_cloud.Cloud, server: str, operation: str = 'snapshot'
) -> Landing:
    """Take a snapshot of a server, and delete it."""
    digest = cloud.ceph.sha256(cloud.disk(server))
    cloud.glance.forget_requests()
    image_id = getattr(cloud.nova, operation)(server)
    direct = not any(r.is_upload for r in cloud.glance.requests())
    landing = look(cloud, image_id, digest, direct)
    cloud.glance.delete_image(image_id)
    return landing


def look(
    cloud: ceph_cloud.Cloud, image_id: str, digest: str, direct: bool
) -> Landing:
    """See what became of an image.

    :param digest: of the disk
    """
    cloud.glance.finish_tasks(image_id)
    data = cloud.data(image_id)
    stores = cloud.glance.stores_of(image_id)
    return Landing(
        ', '.join(stores),
        direct,
        set(data) == set(stores) and set(data.values()) == {digest},
    )


def rows(results: Any) -> Iterable[tuple[str, ...]]:
    """Yield the results as the rows of a table, below a head."""
    yield (
        'base image in',
        'disk',
        'locations',
        '[glance] store',
        'stock Nova',
        'patched',
    )
    for (case, order), (stock, patched) in results.items():
        yield (
            ', '.join(case.base),
            'clone' if case.parent else 'no clone',
            'shown' if case.shown else 'hidden',
            order or '-',
            str(stock),
            str(patched),
        )
