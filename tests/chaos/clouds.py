"""The clouds that histories are of: servers on files, or in Ceph."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
import random
import subprocess
from typing import Callable

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from tests.cloud import glance as cloud_glance
from tests.functional import expected_digest

MIB = 1 << 20
#: How many glance-api there are behind one port.
WORKERS = 2


@dataclasses.dataclass
class Cloud:
    """A Glance and a Nova."""

    glance: cloud_glance.Glance
    nova: cloud_nova.Nova
    #: The stores that are written to.
    stores: tuple[str, ...]
    #: Those that can be made to take nothing.
    breakable: tuple[str, ...]
    #: What servers are started from, and its format.
    base: Path
    disk_format: str
    #: Returns the digest of what a snapshot of a server has to be.
    digest: Callable[[str], str]
    #: Returns the digest of an image in each store that has data of it.
    data: Callable[[str], dict[str, str]]
    #: Returns what is in stores, and is of no image.
    left_over: Callable[[], list[str]]
    #: Whether snapshots may be made in one store, and move to another.
    moves: bool = False
    #: Whether the token of a user counts after its time. It does where Nova
    #: sends a service token.
    expires: bool = True


@contextlib.contextmanager
def on_files(
    root: Path, seed: int, before_compute: Callable[[], None]
) -> Iterator[Cloud]:
    """Run a cloud whose servers and stores are files.

    :param root: an existing directory for all that it writes
    :param seed: of the data of its images
    :param before_compute: called before each start of nova-compute
    """
    for name in ('glance', 'nova'):
        (root / name).mkdir()
    raw, qcow2 = root / 'raw', root / 'qcow2'
    raw.write_bytes(random.Random(seed).randbytes(4 * MIB))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    with (
        cloud_glance.Glance(root / 'glance', workers=WORKERS) as glance,
        cloud_nova.Nova(
            root / 'nova',
            glance,
            before_compute=before_compute,
            small_disks=True,
        ) as nova,
    ):
        stores = ('cheap', 'fast', 'reliable')
        yield Cloud(
            glance,
            nova,
            stores=stores,
            breakable=stores,
            base=qcow2,
            disk_format='qcow2',
            digest=lambda server: expected_digest(nova.disk(server)),
            data=glance.sha256,
            left_over=list,
        )


@contextlib.contextmanager
def in_ceph(
    root: Path, seed: int, before_compute: Callable[[], None]
) -> Iterator[Cloud]:
    """Run a cloud whose servers are in Ceph, and most of its stores.

    Arguments are those of :func:`on_files`.
    """
    # Where there is no Ceph, this is not imported.
    from tests.ceph import cloud as ceph_cloud

    base = root / 'raw'
    base.write_bytes(random.Random(seed).randbytes(4 * MIB))
    with ceph_cloud.running(
        root, before_compute, size=2 << 30, workers=WORKERS
    ) as cloud:
        yield Cloud(
            cloud.glance,
            cloud.nova,
            stores=('cheap', 'fast', 'second', 'far'),
            breakable=('cheap',),
            base=base,
            disk_format='raw',
            digest=lambda server: cloud.ceph.sha256(cloud.disk(server)),
            data=cloud.data,
            left_over=cloud.left_over,
            moves=True,
            expires=False,
        )
