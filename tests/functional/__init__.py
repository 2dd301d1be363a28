"""Tests on the real services."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import tempfile

import pytest

#: What the end of the output has to say of a run.
notes: pytest.StashKey[list[str]] = pytest.StashKey()


def expected_digest(disk: pathlib.Path) -> str:
    """Return what a whole snapshot of a disk has to be.

    :param disk: a qcow2 file with a backing file
    :returns: sha256 of what qemu-img makes of it, apart from Nova
    """
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / 'snapshot'
        subprocess.run(
            ['qemu-img', 'convert', '-O', 'qcow2', disk, out], check=True
        )
        return hashlib.sha256(out.read_bytes()).hexdigest()
