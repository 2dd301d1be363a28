"""The data of an upload: their length, and whether they can be sent again."""

from __future__ import annotations

import io
import os
import stat
import time
from typing import Any

#: What buffers on the way to Glance may hold, in bytes.
BUFFERS = 16 << 20
#: How much is read between two pauses, in bytes.
STEP = 1 << 20
#: How much one read returns, in bytes. glanceclient asks for 1 MiB and sends
#: that as one chunk. uWSGI takes so much only if it is configured to.
PIECE = 1 << 19


class Body:
    """The data of an upload, as a file to read from.

    :param data: a file, a stream with ``read``, bytes or str
    """

    def __init__(self, data: Any) -> None:
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        self._data = data
        self._start = _position(data)
        #: Length in bytes; None if it is known only after the last byte.
        self.size = _size(data, self._start)
        self._read = 0
        #: When the data were read to their end, on the monotonic clock.
        self._ended: float | None = None
        #: Pauses that are left: after how many bytes, and how many seconds.
        self._pauses: list[tuple[int, float]] = []

    @property
    def sent(self) -> int | None:
        """How many bytes the image has; None if that is not known yet."""
        if self.size is not None:
            return self.size
        return self._read if self.ended else None

    @property
    def begun(self) -> bool:
        """Whether anything was read since the data were rewound."""
        return bool(self._read) or self.ended

    @property
    def ended(self) -> bool:
        """Whether the data were read to their end since they were rewound."""
        return self._ended is not None

    @property
    def age(self) -> float:
        """How long ago the end was read, in seconds; 0 if it was not."""
        return 0.0 if self._ended is None else time.monotonic() - self._ended

    @property
    def rewindable(self) -> bool:
        """Whether the data can be sent from the first byte, now or again."""
        return self._start is not None or not self._read

    @property
    def place(self) -> int:
        """How many bytes were read since the data were rewound."""
        return self._read

    def rewind(self, broken_at: int | None = None, pause: float = 0.0) -> Any:
        """Go back to the first byte.

        :param broken_at: place where the last try was broken off, None if it
            was not. The data before it are read slowly: Glance may have
            answered anywhere there, and is heard only while nothing is sent
        :param pause: how long the first pause is, in seconds; the others are
            an eighth of it
        :returns: what glanceclient takes as the image's data
        """
        if isinstance(self._data, str):
            return self._data
        if self._start is not None:
            self._data.seek(self._start)
        self._read = 0
        self._ended = None
        self._pauses = []
        if broken_at is not None:
            first = max(0, broken_at - BUFFERS)
            others = range(first + STEP, broken_at + 1, STEP)
            self._pauses = [(first, pause)]
            self._pauses += [(place, pause / 8) for place in others]
        return self

    def read(self, size: int = -1) -> Any:
        """Read the next bytes.

        :param size: how many bytes at most
        :returns: bytes, empty at the end
        """
        if self._pauses and self._pauses[0][0] <= self._read:
            time.sleep(self._pauses.pop(0)[1])
        chunk = self._data.read(size if size < 0 else min(size, PIECE))
        if isinstance(chunk, str):
            # Nova's zVM driver opens the file as text.
            chunk = chunk.encode()
        self._read += len(chunk)
        self._ended = None if chunk else time.monotonic()
        return chunk


def _position(data: Any) -> int | None:
    """Return where the data start; None if one cannot go back there."""
    if isinstance(data, str):
        return 0
    try:
        position: int | None = data.tell() if data.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None
    return position


def _size(data: Any, start: int | None) -> int | None:
    """Return the length of str, bytes and regular files; of others, None.

    What other objects say of their length may be wrong: the stream of Nova's
    VMware driver gives the capacity of the disk, and a decompressing file the
    length of the compressed one.
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
