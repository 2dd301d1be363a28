"""The digest of one copy of an image, as Glance's filter tells it.

The answer to ``GET /v2/stores/{store}/{image}?digest={algorithm}`` is a JSON
object in each line (``application/x-ndjson``). The first ones say how much was
read, so that nobody on the way takes the connection for an idle one; only the
last one has the digest. RFC 9530 has no place for that in its field
``Repr-Digest``, and no names for md5 and others that images have.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import TYPE_CHECKING

from nova_multistore import exception

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator
    from collections.abc import Iterable

#: The parameter of the request: name of an algorithm, as hashlib has it.
PARAMETER = 'digest'
#: Type of the answer.
CONTENT_TYPE = 'application/x-ndjson'
#: How long there may be no line, in seconds, if the store is not slower.
INTERVAL = 1.0
#: Status of a glance-api that computes as many digests as it may.
BUSY = 429
#: After how many seconds such a glance-api may be asked again.
RETRY_AFTER = 2
#: What is said of an answer without its end, and of one that is another.
BROKEN_OFF = 'Glance broke off before it told the digest'
MALFORMED = "Glance's answer is not a digest"


@dataclasses.dataclass(frozen=True)
class Progress:
    """How much was read."""

    #: In bytes, from the beginning.
    size: int


@dataclasses.dataclass(frozen=True)
class Digest:
    """What a store has of an image."""

    image_id: str
    #: Id of the store.
    store: str
    #: Name of the hash, as hashlib has it.
    algorithm: str
    #: The hash of the data, in hexadecimal.
    value: str
    #: How long the data are, in bytes.
    size: int


def encode(told: Progress | Digest) -> bytes:
    """Return a line of an answer."""
    return json.dumps(dataclasses.asdict(told)).encode() + b'\n'


def read(
    lines: Iterable[bytes],
    image_id: str,
    store: str,
    algorithm: str,
    report: Callable[[int], None],
) -> Generator[float, None, Digest]:
    """Read an answer.

    :param lines: those of the answer
    :param image_id: id of the image that was asked for
    :param store: id of the store that was asked for
    :param algorithm: name of the hash that was asked for
    :param report: called with how much Glance has read since the last line,
        in bytes
    :returns: yields 0.0 after each line that says how much was read, and
        returns the digest
    :raises LookupFailed: the answer is not as the filter writes it, or its
        digest is not the one that was asked for
    """
    received = 0
    found = None
    for line in lines:
        told = _parse(line)
        if found or told.size < received:
            raise exception.LookupFailed(MALFORMED)
        report(told.size - received)
        received = told.size
        if isinstance(told, Digest):
            found = told
        else:
            yield 0.0
    if found is None:
        raise exception.ServiceAway(BROKEN_OFF)
    wanted = dataclasses.replace(
        found, image_id=image_id, store=store, algorithm=algorithm
    )
    length = 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
    if found != wanted or not re.fullmatch(
        f'[0-9a-f]{{{length}}}', found.value
    ):
        raise exception.LookupFailed(
            f'Glance was asked for the {algorithm} of image {image_id} in '
            f'store {store}, and answered with another digest'
        )
    return found


def _parse(line: bytes) -> Progress | Digest:
    """Read one line of an answer.

    :raises LookupFailed: it is not as the filter writes it
    """
    try:
        told = json.loads(line)
        found = Progress(**told) if told.keys() == {'size'} else Digest(**told)
    except (ValueError, TypeError, AttributeError) as exc:
        raise exception.LookupFailed(MALFORMED) from exc
    if type(found.size) is not int or (
        isinstance(found, Digest) and type(found.value) is not str
    ):
        raise exception.LookupFailed(MALFORMED)
    return found
