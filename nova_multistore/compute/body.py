"""The data of one upload: how long it is, and whether it can be sent again."""

from __future__ import annotations

import io
import os
import stat
from typing import Any


class Body:
    """Wrap what Nova uploads.

    :param data: a file, a stream with ``read``, bytes or str
    """

    def __init__(self, data: Any) -> None:
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        self._data = data
        self._start = _position(data)
        #: Length in bytes, None if only reading to the end tells.
        self.size = _size(data, self._start)
        self._read = 0
        self._ended = False

    @property
    def sent(self) -> int | None:
        """How many bytes make up the image, None if that is not known."""
        if self.size is not None:
            return self.size
        return self._read if self._ended else None

    @property
    def rewindable(self) -> bool:
        """Whether it can be sent, once more, from its first byte."""
        return self._start is not None or not self._read

    def rewind(self) -> Any:
        """Go to the first byte.

        :returns: what glanceclient takes as the image's data
        """
        if isinstance(self._data, str):
            return self._data
        if self._start is not None:
            self._data.seek(self._start)
        self._read = 0
        self._ended = False
        return self

    def read(self, size: int = -1) -> Any:
        """Read the next bytes.

        :param size: at most as many
        :returns: bytes, empty at the end
        """
        chunk = self._data.read(size)
        if isinstance(chunk, str):
            # Nova's zVM driver opens its file as text.
            chunk = chunk.encode()
        self._read += len(chunk)
        self._ended = not chunk
        return chunk


def _position(data: Any) -> int | None:
    """Return where the data starts, None where one cannot go back there."""
    if isinstance(data, str):
        return 0
    try:
        position: int | None = data.tell() if data.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None
    return position


def _size(data: Any, start: int | None) -> int | None:
    """Return the length of what is sure to have one.

    A stream's own word is not taken for it: the one that Nova's VMware driver
    hands over announces the disk's capacity, and a decompressing file has the
    descriptor of a shorter one.
    """
    if isinstance(data, str):
        return len(data.encode())
    if isinstance(data, io.BytesIO):
        return data.getbuffer().nbytes - (start or 0)
    raw = data.raw if isinstance(data, io.BufferedReader) else data
    if start is None or not isinstance(raw, io.FileIO):
        return None
    status = os.fstat(raw.fileno())
    return status.st_size - start if stat.S_ISREG(status.st_mode) else None
