"""A guest that writes to its disk, and what is on that disk.

It counts how often it was started: a number in the disk's second sector. So a
server made from a snapshot shows that what its ancestors wrote is there.
"""

from __future__ import annotations

import os
from pathlib import Path
import struct
import subprocess
import tempfile

from tests.e2e import ceph
from tests.e2e import glance
from tests.e2e import mariadb
from tests.e2e import site as e2e_site

SECTOR = 512
# Where a disk has the table of its partitions, in bytes.
_PARTITIONS = 446
# Where its partition begins, in sectors.
_FIRST = 2048
# For the processor as the BIOS leaves it, at 0x7c00, the disk's number in DL.
_START = bytes.fromhex(
    '31c0'  # xor ax, ax
    '8ed8'  # mov ds, ax
    '8ec0'  # mov es, ax
    'bb007e'  # mov bx, 0x7e00: to where
    'b80102'  # mov ax, 0x0201: read a sector
    'b90200'  # mov cx, 2: the second one
    '30f6'  # xor dh, dh: of the first head
    'cd13'  # int 0x13
    'ff06007e'  # inc word [0x7e00]
    'b80103'  # mov ax, 0x0301: write a sector
    'cd13'  # int 0x13
    'f4'  # hlt
    'ebfd'  # jmp back to it
)


def write_image(path: Path, size: int) -> None:
    """Write a raw disk that the guest starts from.

    :param size: in bytes; what the guest does not need of it is random
    """
    # Glance takes no disk without a partition.
    partition = struct.pack(
        '<B3xB3xII', 0x80, 0x83, _FIRST, size // SECTOR - _FIRST
    )
    sector = _START.ljust(_PARTITIONS, b'\0') + partition
    sector = sector.ljust(SECTOR - 2, b'\0') + b'\x55\xaa'
    with path.open('wb') as file:
        file.write(sector + bytes(SECTOR))
        left = size - file.tell()
        while left:
            left -= file.write(os.urandom(min(left, 1 << 20)))


class Disk:
    """A disk or an image of one, wherever it is.

    :param format: raw or qcow2
    :param place: a path, or what qemu-img has for an RBD image
    """

    def __init__(self, format: str, place: object) -> None:
        self._format = format
        self._place = str(place)

    @classmethod
    def of_server(cls, site: e2e_site.Site, server_id: str) -> Disk:
        """Return a server's disk."""
        if site.images_type == 'rbd':
            return cls.in_ceph(
                ceph.configuration(site),
                *('raw', f'{ceph.DISKS}/{server_id}_disk'),
            )
        return cls(
            'qcow2', site.root / 'nova' / 'instances' / server_id / 'disk'
        )

    @classmethod
    def of_volume(
        cls, site: e2e_site.Site, volume_id: str, snapshot_id: str = ''
    ) -> Disk:
        """Return the data of a volume, or of a snapshot of it."""
        name = f'{ceph.VOLUMES}/volume-{volume_id}'
        if snapshot_id:
            name += f'@snapshot-{snapshot_id}'
        return cls.in_ceph(ceph.configuration(site), 'raw', name)

    @classmethod
    def of_image(
        cls, site: e2e_site.Site, store: str, image_id: str, format: str
    ) -> Disk:
        """Return an image's data in one of its stores."""
        name = f'{ceph.IMAGES}/{image_id}'
        if store == glance.VOLUMES:
            name = f'{ceph.VOLUMES}/volume-{_volume(site, image_id)}'
        if store in ('fast', glance.VOLUMES):
            return cls.in_ceph(ceph.configuration(site), format, name)
        return cls(format, site.root / 'stores' / store / image_id)

    @classmethod
    def in_ceph(cls, configuration: Path, format: str, name: str) -> Disk:
        """Return an RBD image.

        :param configuration: the path of a ceph.conf
        :param name: as "pool/image"
        """
        return cls(format, f'rbd:{name}:conf={configuration}')

    @property
    def starts(self) -> int:
        """How often a guest was started from it and its ancestors."""
        with tempfile.TemporaryDirectory() as directory:
            head = Path(directory) / 'head'
            _qemu_img(
                *('dd', '-U', '-f', self._format, '-O', 'raw'),
                *(f'bs={SECTOR}', 'count=2'),
                *(f'if={self._place}', f'of={head}'),
            )
            return int.from_bytes(
                head.read_bytes()[SECTOR : SECTOR + 2], 'little'
            )

    def is_same(self, other: Disk) -> bool:
        """Tell whether a guest would find the same bytes."""
        return (
            _qemu_img(
                *('compare', '-U', '-f', self._format, '-F', other._format),
                *(self._place, other._place),
                differs=1,
            )
            == 0
        )


def _volume(site: e2e_site.Site, image_id: str) -> str:
    """Return the id of the volume that is an image."""
    (row,) = mariadb.rows(
        site,
        'SELECT value FROM glance.image_locations WHERE image_id = %s '
        "AND value LIKE 'cinder:%%' AND deleted = 0",
        image_id,
    )
    return str(row[0]).rpartition('/')[2]


def _qemu_img(*arguments: str, differs: int = 0) -> int:
    done = subprocess.run(
        ['qemu-img', *arguments], capture_output=True, text=True
    )
    if done.returncode not in (0, differs):
        raise e2e_site.CloudFailed(
            f'qemu-img {" ".join(arguments)}: {done.stderr}'
        )
    return done.returncode
