"""One question to several servers of a service, until one answers."""

from __future__ import annotations

import concurrent.futures
import functools
import time
from typing import TYPE_CHECKING
from typing import Generic
from typing import TypeVar

from nova_multistore import exception
from nova_multistore import timed_calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

S = TypeVar('S')
T = TypeVar('T')

# Statuses of refusals that may pass: the service, or a proxy, is too busy.
_BUSY = (408, 425, 429)


class Asking(Generic[S, T]):
    """A question that goes to one server after the other.

    Each server is asked in a thread of its own, as the call may hang. While
    the next server is asked, a silent one may still answer.

    :param servers: the servers, in the order in which to ask them
    :param ask: asks one server, within the given number of seconds
    :param timeout: for the whole question, in seconds
    :param silent: called with a server that does not answer in time
    """

    def __init__(
        self,
        servers: Sequence[S],
        ask: Callable[[S, float], T],
        timeout: float,
        silent: Callable[[S], None],
    ) -> None:
        self._servers = servers
        self._ask = ask
        self._deadline = time.monotonic() + timeout
        self._silent = silent
        # Servers that have not answered, in the order of asking.
        self._asked: dict[concurrent.futures.Future[T], S] = {}
        self._error: Exception | None = None

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def answer(self, rounds: int, pause: float) -> T:
        """Return the first answer that is of use.

        :param rounds: how often each server is asked at most
        :param pause: how long to wait before the second round, in seconds;
            it doubles each time
        :raises LookupFailed: no such answer came in that time
        :raises Exception: a server gave an error that others would give, too
        """
        for number in range(rounds):
            if number:
                time.sleep(max(0.0, min(pause, self._left())))
                pause *= 2
            asked = self._asked.values()
            ready = [s for s in self._servers if s not in asked]
            for place, server in enumerate(ready):
                if self._left() <= 0:
                    break
                self._begin(server)
                if found := self._wait(self._left() / (len(ready) - place)):
                    return found.result()
        if found := self._wait(self._left()):
            return found.result()
        raise self._error or exception.ServiceAway('no answer came in time')

    def _begin(self, server: S) -> None:
        ask = functools.partial(self._ask, server, self._left())
        self._asked[timed_calls.start(ask)] = server

    def _wait(self, timeout: float) -> concurrent.futures.Future[T] | None:
        """Wait until the last server that was asked has answered.

        :param timeout: how long at most, in seconds
        :returns: an answer that is of use, from any server
        :raises Exception: a server gave an error that others would give, too
        """
        until = time.monotonic() + timeout
        while self._asked and (left := until - time.monotonic()) > 0:
            last = next(reversed(self._asked))
            done, _ = concurrent.futures.wait(
                self._asked,
                left,
                return_when=concurrent.futures.FIRST_COMPLETED,
            )
            for future in done:
                del self._asked[future]
                error = future.exception()
                if not isinstance(error, Exception):
                    return future
                if not _may_pass(error):
                    raise error
                self._error = error
            if last in done:
                return None
        if self._asked:
            self._silent(next(reversed(self._asked.values())))
        return None


def _may_pass(error: Exception) -> bool:
    """Tell whether another server may answer, or this one a moment later."""
    if isinstance(error, exception.GlanceRefused):
        return error.status in _BUSY
    return isinstance(error, exception.LookupFailed) and not isinstance(
        error, exception.AuthenticationFailed
    )
