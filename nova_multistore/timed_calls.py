"""Calls that may hang, and a limit for how long to wait for them."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from typing import TYPE_CHECKING
from typing import TypeVar

from nova_multistore import exception

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator

T = TypeVar('T')
R = TypeVar('R')


def start(func: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Call a function in a new thread.

    The thread is a daemon, so that a call which hangs does not keep the
    process alive. Under eventlet it is a green thread.

    :param func: the function
    :returns: its future
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(func())
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=run, name='multistore call', daemon=True).start()
    return future


def each(
    func: Callable[[T], R], items: Iterable[T], limit: int
) -> Iterator[tuple[T, R]]:
    """Call a function for each of some items, a few at a time.

    :param func: the function
    :param items: what it is called with; the next item is taken when there is
        a thread for it
    :param limit: how many threads there are at most
    :returns: each item and what the function returned, in the order in which
        the calls end
    :raises Exception: what the function raised
    """
    begun: dict[concurrent.futures.Future[R], T] = {}

    def ended() -> Iterator[tuple[T, R]]:
        done, _ = concurrent.futures.wait(
            begun, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            yield begun.pop(future), future.result()

    for item in items:
        if len(begun) == limit:
            yield from ended()
        begun[start(functools.partial(func, item))] = item
    while begun:
        yield from ended()


def wait(future: concurrent.futures.Future[T], timeout: float) -> T:
    """Wait for the result of a function.

    :param future: the function's future
    :param timeout: how long to wait, in seconds; not at all if it is negative
    :returns: what the function returned
    :raises ServiceAway: the function has not returned in that time
    :raises Exception: what the function raised
    """
    concurrent.futures.wait([future], timeout=max(0.0, timeout))
    if not future.done():
        raise exception.ServiceAway('no answer came in time')
    return future.result()


def call(func: Callable[[], T], timeout: float) -> T:
    """Call a function in a new thread, and wait for its result.

    The arguments and errors are those of :func:`start` and :func:`wait`.
    """
    return wait(start(func), timeout)
