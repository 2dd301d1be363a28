"""Data of an image in a local file."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

from osc_lib import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable


class LocalFile(io.BufferedReader):
    """A file that tells how much of it has been read.

    :param path: where it is
    :raises osc_lib.exceptions.CommandError: it cannot be read, or its size is
        not known
    """

    def __init__(self, path: str) -> None:
        try:
            raw = io.FileIO(path)
        except OSError as exc:
            raise exceptions.CommandError(str(exc)) from exc
        super().__init__(raw)
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise exceptions.CommandError(f'{path} is no regular file')
        #: In bytes.
        self.size = status.st_size
        #: Called with how much has been read, in bytes.
        self.report: Callable[[int], None] = lambda _done: None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.report(self.tell())
        return data
