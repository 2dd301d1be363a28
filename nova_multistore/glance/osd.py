"""Checksums that Ceph's OSDs compute of their objects.

The object is read where it lies; a few bytes cross the network. Ceph's
bindings for Python do not have that operation, so librados is called directly.
The names and types are those of ``rados/librados.h``.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import errno
import os
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Mapping

# `rados_checksum_type_t`
_XXHASH64 = 1
# How many objects are asked for at the same time.
_AT_ONCE = 64
_LIBRARY = 'librados.so.2'
# The functions, with what they take. Those that return a number return 0, or
# an error's number below 0.
_pointer, _string, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
_NUMBERS: dict[str, tuple[Any, ...]] = {
    'rados_create': (_pointer, _string),
    'rados_conf_read_file': (_pointer, _string),
    'rados_conf_set': (_pointer, _string, _string),
    'rados_connect': (_pointer,),
    'rados_ioctx_create2': (_pointer, ctypes.c_int64, _pointer),
    'rados_aio_create_completion': (_pointer, _pointer, _pointer, _pointer),
    'rados_aio_read_op_operate': (
        *(_pointer, _pointer, _pointer, _string, ctypes.c_int),
    ),
    'rados_aio_wait_for_complete': (_pointer,),
}
_NOTHING: dict[str, tuple[Any, ...]] = {
    'rados_shutdown': (_pointer,),
    'rados_ioctx_destroy': (_pointer,),
    'rados_read_op_stat': (_pointer, _pointer, _pointer, _pointer),
    'rados_read_op_checksum': (
        *(_pointer, ctypes.c_int, _string, ctypes.c_size_t),
        *(_size, ctypes.c_size_t, ctypes.c_size_t),
        *(_pointer, ctypes.c_size_t, _pointer),
    ),
    'rados_release_read_op': (_pointer,),
    'rados_aio_release': (_pointer,),
}


@dataclasses.dataclass(frozen=True)
class Checksum:
    """An object, as an OSD has it."""

    #: In bytes; 0 if there is no such object.
    size: int
    #: xxhash64 of all of it, if there is any.
    value: int


class _Answer(ctypes.Structure):
    """What librados writes for one object."""

    _fields_ = (
        ('size', ctypes.c_uint64),
        ('time', ctypes.c_int64),
        ('stat', ctypes.c_int),
        ('failed', ctypes.c_int),
        # How many values there are, and the value, both little-endian.
        ('count', ctypes.c_char * 4),
        ('value', ctypes.c_char * 8),
    )


class Pool:
    """A pool, over a connection of its own.

    :param conffile: path of Ceph's configuration
    :param user: id of Ceph's user
    :param pool: the pool's number
    :param options: of Ceph's configuration, with their values
    :raises OSError: Ceph cannot be reached, or librados is not installed
    """

    def __init__(
        self, conffile: str, user: str, pool: int, options: Mapping[str, str]
    ) -> None:
        self._library = _load()
        self._ioctx = ctypes.c_void_p()
        self._cluster = ctypes.c_void_p()
        self._call('rados_create', ctypes.byref(self._cluster), user.encode())
        try:
            self._call(
                'rados_conf_read_file', self._cluster, conffile.encode()
            )
            for name, value in options.items():
                self._call(
                    *('rados_conf_set', self._cluster),
                    *(name.encode(), value.encode()),
                )
            self._call('rados_connect', self._cluster)
            self._call(
                *('rados_ioctx_create2', self._cluster, pool),
                ctypes.byref(self._ioctx),
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; again, that does nothing."""
        if self._ioctx:
            self._library.rados_ioctx_destroy(self._ioctx)
        if self._cluster:
            self._library.rados_shutdown(self._cluster)
        self._ioctx = ctypes.c_void_p()
        self._cluster = ctypes.c_void_p()

    def checksums(
        self, names: Iterable[str], seed: int
    ) -> Generator[Checksum, None, None]:
        """Ask for the checksums of objects.

        :param names: of the objects
        :param seed: of the checksums, 64 bits
        :returns: the checksums, in the order of the names
        :raises OSError: an OSD does not answer, or cannot read the object
        """
        asked: collections.deque[Iterator[Checksum]] = collections.deque()
        with contextlib.ExitStack() as stack:
            # What was asked is waited for: librados writes into its memory.
            stack.callback(lambda: [next(each, None) for each in asked])
            for name in names:
                if len(asked) == _AT_ONCE:
                    yield next(asked.popleft())
                question = self._ask(name, seed)
                # It goes as far as its first stop: the question is on its way.
                next(question)
                asked.append(question)  # type: ignore[arg-type]
            while asked:
                yield next(asked.popleft())

    def _ask(
        self, name: str, seed: int
    ) -> Generator[Checksum | None, None, None]:
        """Ask for one checksum.

        :returns: yields None when it has asked, and the answer then
        """
        library = self._library
        answer = _Answer()
        completion = ctypes.c_void_p()
        self._call(
            *('rados_aio_create_completion', None, None, None),
            ctypes.byref(completion),
        )
        operation = library.rados_create_read_op()
        try:
            library.rados_read_op_stat(
                operation,
                _address(answer, 'size'),
                _address(answer, 'time'),
                _address(answer, 'stat'),
            )
            library.rados_read_op_checksum(
                *(operation, _XXHASH64, seed.to_bytes(8, 'little'), 8),
                # All of the object, as one value.
                *(0, 0, 0),
                *(_address(answer, 'count'), 12, _address(answer, 'failed')),
            )
            self._call(
                *('rados_aio_read_op_operate', operation, self._ioctx),
                *(completion, name.encode(), 0),
            )
            try:
                yield None
            finally:
                library.rados_aio_wait_for_complete(completion)
            code = library.rados_aio_get_return_value(completion)
            if code == -errno.ENOENT:
                yield Checksum(0, 0)
                return
            for each in (code, answer.stat, answer.failed):
                _check(each, f'checksum of {name}')
            raw = bytes(answer)[_Answer.count.offset :][:12]
            count = int.from_bytes(raw[:4], 'little')
            if answer.size and count != 1:
                raise OSError(
                    errno.EBADMSG, f'{count} checksums of {name} instead of 1'
                )
            yield Checksum(
                answer.size, int.from_bytes(raw[4:], 'little') if count else 0
            )
        finally:
            library.rados_release_read_op(operation)
            library.rados_aio_release(completion)

    def _call(self, name: str, *arguments: Any) -> None:
        _check(getattr(self._library, name)(*arguments), name)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    for name, arguments in _NUMBERS.items():
        getattr(library, name).argtypes = arguments
    for name, arguments in _NOTHING.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    library.rados_create_read_op.argtypes = ()
    library.rados_create_read_op.restype = ctypes.c_void_p
    library.rados_aio_get_return_value.argtypes = (ctypes.c_void_p,)
    return library


def _address(answer: _Answer, field: str) -> int:
    offset: int = getattr(_Answer, field).offset
    return ctypes.addressof(answer) + offset


def _check(code: int, what: str) -> None:
    """Raise if librados returned an error.

    :raises OSError: it did
    """
    if code < 0:
        raise OSError(-code, f'{what}: {os.strerror(-code)}')
