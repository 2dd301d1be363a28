"""Calls that may hang, and a limit for how long to wait for them."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING
from typing import TypeVar

from nova_multistore import exception

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar('T')


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

    threading.Thread(target=run, daemon=True).start()
    return future


def wait(future: concurrent.futures.Future[T], timeout: float) -> T:
    """Wait for the result of a function.

    :param future: the function's future
    :param timeout: how long to wait, in seconds; not at all if it is negative
    :returns: what the function returned
    :raises ServiceAway: it has not returned in that time
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
