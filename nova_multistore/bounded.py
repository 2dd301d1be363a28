"""Calls that may hang, waited for no longer than is said."""

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
    """Call a function in a thread of its own.

    The thread is a daemon: one that hangs does not keep the process alive.
    Under eventlet it is a green thread.

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
    """Wait for what a function returns.

    :param future: the function's future
    :param timeout: how long to wait, in seconds; nothing waits below zero
    :returns: the function's result
    :raises LookupFailed: it has not returned by then
    :raises Exception: whatever the function raised
    """
    concurrent.futures.wait([future], timeout=max(0.0, timeout))
    if not future.done():
        raise exception.LookupFailed('no answer came in time')
    return future.result()
