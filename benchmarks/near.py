"""Servers started from an image in a far store and in the own Ceph."""

from __future__ import annotations

import http.server
import os
import pathlib
import shutil
import statistics
import threading
import time
from typing import ClassVar

from benchmarks import become
from nova_multistore.compute import patch
from tests.ceph import cloud as ceph_cloud
from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.cloud import server as cloud_server

MIB = 1 << 20
SIZE = 256 * MIB
#: How much the far store sends, in bytes per second.
RATE = 32 * MIB
FAR, NEAR = 'central', 'dcn0'


class _Slow(http.server.BaseHTTPRequestHandler):
    """A far store: it sends all that it has at one rate."""

    data: ClassVar[bytes] = b''
    #: How many bytes of it were sent.
    sent: ClassVar[int] = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.data)))
        self.send_header('Content-Type', 'application/octet-stream')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        begin = time.monotonic()
        for start in range(0, len(self.data), MIB):
            piece = self.data[start : start + MIB]
            self.wfile.write(piece)
            type(self).sent += len(piece)
            late = begin + (start + MIB) / RATE - time.monotonic()
            time.sleep(max(0.0, late))

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Glance(cloud_glance.Glance):
    """A Glance whose images over HTTP come from the far store."""

    far: str

    def serve(
        self,
        data: pathlib.Path | bytes,
        gate: threading.Event | None = None,
    ) -> str:
        assert isinstance(data, bytes)
        _Slow.data = data
        return self.far


def compare(root: pathlib.Path, pairs: int) -> list[tuple[str, ...]]:
    """Measure how long a start takes, and what is read from where.

    :param root: a directory for all that it writes
    :returns: rows of the table
    """
    for name in ('ceph', 'glance', 'nova'):
        (root / name).mkdir()
    found: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
    try:
        with (
            cloud_server.Server(_Slow) as far,
            cloud_ceph.Ceph(
                root / 'ceph', (ceph_cloud.DISKS, 'images'), size=4 << 30
            ) as ceph,
            _Glance(
                root / 'glance',
                stores={FAR: 'http', NEAR: 'rbd'},
                default=NEAR,
                **{
                    **ceph.store(NEAR, 'images'),
                    'import_filtering_opts.allowed_ports': (
                        f'[{far.url.rpartition(":")[2]}]'
                    ),
                },
            ) as glance,
        ):
            glance.far = f'{far.url}/image'
            image = glance.create_image(
                os.urandom(SIZE), [FAR, NEAR], disk_format='raw'
            )
            assert glance.stores_of(image) == [FAR, NEAR]
            cloud_nova.register_credentials('service_user')
            with cloud_nova.Nova(
                root / 'nova',
                glance,
                small_disks=True,
                **{
                    **ceph.disks(ceph_cloud.DISKS),
                    'service_user.send_service_user_token': True,
                    **cloud_nova.credentials(
                        'service_user', glance.url, ceph_cloud.SERVICE
                    ),
                },
            ) as nova:
                for number in range(pairs):
                    for is_patched in (
                        (False, True) if number % 2 else (True, False)
                    ):
                        become(nova, is_patched)
                        found[is_patched].append(_start(nova, image))
    finally:
        patch.remove()
    both = found[False], found[True]
    stock, patched = (statistics.median(s for s, _ in each) for each in both)
    far_reads = [max(sent for _, sent in each) // MIB for each in both]
    near_reads = [
        (SIZE - min(sent for _, sent in each)) // MIB for each in both
    ]
    return [
        (
            f'{SIZE // MIB} MiB in a far store and in the own Ceph: a start',
            f'{stock:.2f} s',
            f'{patched:.2f} s',
            f'{patched / stock:.3f}',
        ),
        *(
            (
                f'the same, read from the {name} store',
                *(f'{each} MiB' for each in reads),
                '-',
            )
            for name, reads in (('far', far_reads), ('own', near_reads))
        ),
    ]


def _start(nova: cloud_nova.Nova, image: str) -> tuple[float, int]:
    """Start a server where the image was never before.

    :returns: seconds, and how many bytes the far store sent
    """
    shutil.rmtree(nova.instances / '_base', ignore_errors=True)
    _Slow.sent = 0
    begin = time.monotonic()
    server = nova.create_server(image)
    took = time.monotonic() - begin
    nova.delete_server(server)
    return took, _Slow.sent
