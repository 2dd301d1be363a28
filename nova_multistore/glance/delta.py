"""A copy to a Ceph on another site, of which only the changes are sent.

In the target, an image that is probably much like the new one is cloned and
made independent by Ceph itself. What differs from it is then written, and
Ceph's OSDs compute checksums of all that they have: nothing but these prove
that the new image is whole.
"""

from __future__ import annotations

import collections
from concurrent import futures
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import secrets
import time
from typing import TYPE_CHECKING
from typing import Any

import glance_store
from glance_store import location
from glance_store._drivers import rbd
from glance_store.common import utils
from oslo_config import cfg
import rados
import rbd as librbd
import xxhash

from nova_multistore.glance import compare
from nova_multistore.glance import osd
from nova_multistore.glance import remnants

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterator

    from nova_multistore.glance.candidates import Candidate

CONF = cfg.CONF

# How long Ceph's manager has for an answer, in seconds: if it is dead, there
# would be none.
_ANSWER = 10
# How long a connection may take, in seconds. Glance itself waits longer, and
# tries again then.
_CONNECT = 30
# How long Ceph has to make a clone independent, in seconds, and how quick it
# is at least, in bytes for each second.
_FLATTEN = 60
_QUICK = 10 << 20
# How much is on its way at a time: as many writes, and bytes.
_WRITES = 512
_BYTES = 16 << 20
# How much is held until there is an image, in bytes.
_HELD = 64 << 20


class Whole(Exception):
    """Raised if an image has to be sent whole; says why."""


@dataclasses.dataclass(frozen=True)
class _Made:
    """What there is in the target."""

    #: Of librbd, open for writing.
    image: Any
    #: The pool of its data.
    pool: osd.Pool

    def __enter__(self) -> _Made:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.pool.close()
        self.image.close()


class Delta:
    """Sends one image.

    :param store: Glance's store
    :param cluster: a connection to its Ceph
    :param ioctx: its pool, open
    :param image: of Glance
    :param size: how long it is, in bytes
    :param candidate: what it is probably much like
    """

    def __init__(
        self,
        store: Any,
        cluster: Any,
        ioctx: Any,
        image: Any,
        size: int,
        candidate: Candidate,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._ioctx = ioctx
        self._image = image
        self._name: str = image.image_id
        self._size = size
        self._candidate = candidate
        self._chunk: int = store.WRITE_CHUNKSIZE
        self._seed = secrets.randbits(64)
        self._cloned = False
        # xxhash64 of each object, as it has to be.
        self._proof: list[int] = []
        #: How much was written, in bytes.
        self.sent = 0

    def send(
        self,
        pieces: Iterator[bytes],
        staged: pathlib.Path,
        hashing_algo: str,
    ) -> tuple[str, str]:
        """Make the image in the target.

        :param pieces: the image's data
        :param staged: a file with the same data
        :param hashing_algo: name of Glance's hash
        :returns: Glance's checksum and its hash
        :raises Exception: it was not made, and nothing is left of it
        """
        with futures.ThreadPoolExecutor(1) as executor:
            # While this goes on in the target, the data are read here.
            target = executor.submit(self._prepare)
            try:
                hashes = self._write(target, pieces, hashing_algo)
                with target.result() as made:
                    self._prove(made, staged)
                    made.image.create_snap(rbd.DEFAULT_SNAPNAME)
                    made.image.protect_snap(rbd.DEFAULT_SNAPNAME)
            except BaseException:
                self._discard(target)
                raise
        return hashes

    def _prepare(self) -> _Made:
        """Have an image in the target with the candidate's data.

        :returns: the image, open
        :raises Exception: there is none
        """
        self._clone()
        self._flatten()
        image = librbd.Image(self._ioctx, self._name)
        try:
            if image.stat()['obj_size'] != self._chunk:
                raise Whole('its objects have another size')
            remnants.mark(image, self._image)
            if self._size != self._candidate.size:
                image.resize(self._size)
            pool = osd.Pool(
                self._store.conf_file,
                self._store.user,
                image.data_pool_id(),
                _options(self._store),
            )
        except BaseException:
            image.close()
            raise
        return _Made(image, pool)

    def _discard(self, target: futures.Future[_Made]) -> None:
        """Remove what was made."""
        with contextlib.suppress(Exception), target.result():
            pass
        if self._cloned:
            remnants.discard(self._ioctx, self._name)

    def _clone(self) -> None:
        """Clone the candidate.

        :raises Whole: it is in another cluster
        """
        found = location.get_location_from_uri_and_backend(
            self._candidate.far['url'], self._store.backend_group, conf=CONF
        ).store_location
        if found.fsid != self._cluster.get_fsid():
            raise Whole(
                f'image {self._candidate.image_id} is in another cluster'
            )
        # As Glance itself makes an image.
        features = int(self._cluster.conf_get('rbd_default_features') or 0)
        with self._cluster.open_ioctx(found.pool) as parent:
            librbd.RBD().clone(
                *(parent, found.image, found.snapshot),
                *(self._ioctx, self._name),
                features=features | librbd.RBD_FEATURE_LAYERING,
                order=int(math.log2(self._chunk)),
            )
        self._cloned = True

    def _flatten(self) -> None:
        """Have Ceph's manager copy what the clone shares with the candidate.

        If librbd did that here, all of it would come here, and go back.

        :raises Whole: the manager does not, or not in time
        """
        answer = _ask_manager(
            self._cluster,
            'rbd task add flatten',
            image_spec=f'{self._store.pool}/{self._name}',
        )
        patience = _FLATTEN + self._candidate.size / _QUICK
        end = time.monotonic() + patience
        pause = 0.02
        while time.monotonic() < end:
            # A handle that is open does not see what the manager does.
            with librbd.Image(
                self._ioctx, self._name, read_only=True
            ) as image:
                try:
                    image.parent_info()
                except librbd.ImageNotFound:
                    return
            time.sleep(pause)
            pause = min(1.5 * pause, 1)
        with contextlib.suppress(Exception):
            _ask_manager(
                self._cluster, 'rbd task cancel', task_id=answer['id']
            )
        raise Whole(
            f"Ceph's manager has not made the clone of image "
            f'{self._candidate.image_id} independent within {patience:.0f} s'
        )

    def _write(
        self,
        target: futures.Future[_Made],
        pieces: Iterator[bytes],
        hashing_algo: str,
    ) -> tuple[str, str]:
        """Write what differs from the candidate.

        :param target: the image with the candidate's data
        :returns: Glance's checksum and its hash
        :raises Whole: Glance sends more or less than it said
        """
        checksum = utils.get_hasher('md5', False)
        hash_value = utils.get_hasher(hashing_algo, False)
        writes = _Writes(target)
        offset = 0
        with (
            contextlib.closing(self._near()) as near,
            # Both hashes at a time.
            futures.ThreadPoolExecutor(1) as executor,
            writes,
        ):
            for piece in compare.pieces(pieces, self._chunk):
                if offset + len(piece) > self._size:
                    break
                hashed = executor.submit(checksum.update, piece)
                old = next(near, b'')[: len(piece)].ljust(len(piece), b'\0')
                for begin, end in compare.runs(piece, old):
                    writes.add(piece[begin:end], offset + begin)
                hash_value.update(piece)
                self._proof.append(xxhash.xxh64_intdigest(piece, self._seed))
                hashed.result()
                offset += len(piece)
                # Where Glance runs in green threads, the others go on here.
                time.sleep(0)
        if offset != self._size:
            raise Whole(f'Glance did not send {self._size} bytes')
        self.sent = writes.sent
        return checksum.hexdigest(), hash_value.hexdigest()

    def _near(self) -> Generator[bytes, None, None]:
        """Read the candidate where it is near, in pieces, as objects are."""
        near = self._candidate.near
        data, _size = glance_store.get(near['url'], near['metadata']['store'])
        return compare.pieces(data, self._chunk)

    def _prove(self, made: _Made, staged: pathlib.Path) -> None:
        """Make sure that the target has what was read here.

        :raises Whole: it has something else
        """
        prefix = made.image.block_name_prefix()
        found = made.pool.checksums(
            (f'{prefix}.{n:016x}' for n in range(len(self._proof))),
            self._seed,
        )
        with contextlib.closing(found), staged.open('rb') as file:
            for number, (told, wanted) in enumerate(zip(found, self._proof)):
                begin = number * self._chunk
                length = min(self._chunk, self._size - begin)
                if told.size == length and told.value == wanted:
                    continue
                # Ceph need not keep zeros at an object's end.
                file.seek(begin)
                piece = file.read(length)
                if not self._is_shorter(piece, wanted, told):
                    raise Whole(
                        f'object {number} in the store is not what was sent, '
                        f'or image {self._candidate.image_id} is damaged '
                        'there or here'
                    )

    def _is_shorter(
        self, piece: bytes, wanted: int, told: osd.Checksum
    ) -> bool:
        """Tell whether an object is a piece without the zeros at its end.

        :param piece: as it was staged
        :param wanted: the checksum of what was read
        """
        kept = piece[: told.size]
        return (
            told.size < len(piece)
            and xxhash.xxh64_intdigest(piece, self._seed) == wanted
            and piece.count(0, told.size) == len(piece) - told.size
            and (
                not kept
                or xxhash.xxh64_intdigest(kept, self._seed) == told.value
            )
        )


class _Writes:
    """Writes that wait for an image, or are on their way.

    :param target: the image, of librbd, as soon as it is there
    """

    def __init__(self, target: futures.Future[_Made]) -> None:
        self._target = target
        self._waiting: collections.deque[tuple[bytes, int]] = (
            collections.deque()
        )
        # Each with its data, which librbd reads until it is done.
        self._begun: collections.deque[tuple[Any, bytes]] = collections.deque()
        # How much of both there is, in bytes.
        self._held = 0
        self._on_the_way = 0
        #: In bytes.
        self.sent = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._begin()
        finally:
            failed = None
            while self._begun:
                try:
                    self._finish()
                except OSError as exc:
                    failed = exc
        if kind is None:
            if failed:
                raise failed
            self._target.result().image.flush()

    def add(self, data: bytes, offset: int) -> None:
        """Write something, as soon as there is an image and room for it."""
        self._waiting.append((data, offset))
        self._held += len(data)
        self.sent += len(data)
        if self._target.done() or self._held > _HELD:
            self._begin()

    def _begin(self) -> None:
        """Begin with all that waits.

        :raises Exception: there is no image
        """
        image = self._target.result().image
        while self._waiting:
            data, offset = self._waiting.popleft()
            self._held -= len(data)
            while self._begun and (
                len(self._begun) >= _WRITES
                or self._on_the_way + len(data) > _BYTES
            ):
                self._finish()
            done = image.aio_write(data, offset, lambda _completion: None)
            self._begun.append((done, data))
            self._on_the_way += len(data)

    def _finish(self) -> None:
        """Wait for the oldest one.

        :raises OSError: it has failed
        """
        completion, data = self._begun.popleft()
        self._on_the_way -= len(data)
        completion.wait_for_complete_and_cb()
        code = completion.get_return_value()
        if code < 0:
            raise OSError(-code, 'a write to Ceph has failed')


def _options(store: Any) -> dict[str, str]:
    """Return options of Ceph's configuration, as Glance's store has them."""
    # Before 2025.2, stores do not have `store_conf`.
    conf = getattr(store, 'store_conf', None) or CONF[store.backend_group]
    patience = conf.rados_connect_timeout
    options = {
        'client_mount_timeout': str(_CONNECT),
        'rados_mon_op_timeout': str(_ANSWER),
        'rbd_cache': 'false',
    }
    if patience > 0:
        options.update(
            dict.fromkeys(
                (
                    'client_mount_timeout',
                    'rados_mon_op_timeout',
                    'rados_osd_op_timeout',
                ),
                str(patience),
            )
        )
    return options


def connected(store: Any) -> Any:
    """Return a connection, which a `with` statement opens.

    It is not the store's own: that one would wait for ever for a manager that
    is dead.
    """
    return rados.Rados(
        conffile=store.conf_file, rados_id=store.user, conf=_options(store)
    )


def _ask_manager(cluster: Any, command: str, **arguments: str) -> Any:
    """Have Ceph's manager do something.

    :returns: its answer
    :raises Whole: it does not
    """
    asked = {'prefix': command, 'format': 'json', **arguments}
    try:
        code, answer, words = cluster.mgr_command(json.dumps(asked), b'')
    except Exception as exc:
        raise Whole(f"Ceph's manager does not answer: {exc}") from exc
    if code:
        reason = words or os.strerror(abs(code))
        raise Whole(f"Ceph's manager does not obey '{command}': {reason}")
    return json.loads(answer or b'{}')
