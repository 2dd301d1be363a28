"""Nova, stock and patched, with a Glance as other tests do not have it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import os
from pathlib import Path
import subprocess
from typing import Any

from nova_multistore import lookup
from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova

MIB = 1 << 20


def make_base(directory: Path) -> Path:
    """Make the file of a base image, small enough for every limit."""
    raw, qcow2 = directory / 'raw', directory / 'qcow2'
    raw.write_bytes(os.urandom(MIB // 16))
    subprocess.run(
        ['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True
    )
    return qcow2


class Cloud:
    """A Glance and its Nova."""

    def __init__(
        self,
        glance: cloud_glance.Glance,
        nova: cloud_nova.Nova,
        base_file: Path,
    ) -> None:
        self.glance = glance
        self.nova = nova
        self._base_file = base_file

    def boot(self, store: str, size: int) -> str:
        """Boot a server whose snapshots have a certain size at least."""
        base = self.glance.create_image(self._base_file, stores=[store])
        server = self.nova.create_server(base)
        self.nova.write_disk(server, os.urandom(size))
        return server

    def snapshot(self, server: str) -> dict[str, Any] | None:
        """Take a snapshot; return its image, None if there is none."""
        return self.glance.image(self.nova.snapshot(server))

    def digest(self, image: dict[str, Any]) -> str:
        """Return the digest of the data that Glance gives for an image."""
        path = f'/v2/images/{image["id"]}/file'
        status, data = self.glance.request('GET', path)
        assert status == 200
        return hashlib.sha256(data).hexdigest()

    @contextlib.contextmanager
    def stock(self) -> Iterator[None]:
        """Have Nova as it is without the package."""
        patch.remove()
        self.nova.restart_compute()
        try:
            yield
        finally:
            patch.apply()
            self.nova.restart_compute()


@contextlib.contextmanager
def running(
    root: Path, glance: cloud_glance.Glance, base_file: Path, **options: Any
) -> Iterator[Cloud]:
    """Run Nova, patched, with a Glance.

    :param root: an existing directory for all that Nova writes
    :param options: as the constructor of Nova has them
    """
    patch.apply()
    try:
        with cloud_nova.Nova(root, glance, **options) as nova:
            yield Cloud(glance, nova, base_file)
    finally:
        patch.remove()
        lookup.forget()
