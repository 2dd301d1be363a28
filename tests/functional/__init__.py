"""Tests on the real services."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import pathlib
import subprocess
import tempfile

import pytest

#: What the end of the output has to say of a run.
notes: pytest.StashKey[list[str]] = pytest.StashKey()

#: The stores in which a base image lies, and the one that follows from them.
FOLLOWED = [
    (('fast',), 'fast'),
    (('reliable',), 'reliable'),
    (('cheap',), 'cheap'),
    (('fast', 'cheap'), 'cheap'),
    (('reliable', 'fast'), 'reliable'),
    (('web',), 'cheap'),
]


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


@contextlib.contextmanager
def unwritable(directory: pathlib.Path) -> Iterator[None]:
    """Let nobody write to a directory."""
    mode = directory.stat().st_mode
    directory.chmod(0o500)
    try:
        yield
    finally:
        directory.chmod(mode)
