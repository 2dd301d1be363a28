"""What differs between two pieces of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Iterator

#: The shortest run that is told apart, in bytes: what file systems write.
BLOCK = 4096
# How much is compared before single blocks are, in bytes.
_BLOCKS = 16 * BLOCK


def runs(new: bytes, old: bytes) -> Iterator[tuple[int, int]]:
    """Find what is not the same.

    :param new: the new data
    :param old: the old data, as long as the new data
    :returns: first byte, and the first one after it, of each run of blocks
        that differ, in order
    """
    if new == old:
        return
    begin = None
    for start in range(0, len(new), _BLOCKS):
        end = min(start + _BLOCKS, len(new))
        # Slices are copied, and compared at once: a view compares each byte.
        if new[start:end] == old[start:end]:
            if begin is not None:
                yield begin, start
                begin = None
            continue
        for block in range(start, end, BLOCK):
            last = min(block + BLOCK, end)
            if new[block:last] != old[block:last]:
                if begin is None:
                    begin = block
            elif begin is not None:
                yield begin, block
                begin = None
    if begin is not None:
        yield begin, len(new)


def pieces(data: Iterable[bytes], size: int) -> Generator[bytes, None, None]:
    """Return data in pieces of one size; only the last one may be shorter.

    :param data: in pieces of any size
    :param size: of each piece, in bytes
    """
    held = bytearray()
    for piece in data:
        if not held and len(piece) == size:
            yield piece
            continue
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
