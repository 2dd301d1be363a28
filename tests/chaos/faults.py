"""Faults between Nova and Glance, at random points that a seed decides."""

from __future__ import annotations

import collections
import random
import re
import threading
from typing import Any

from tests.cloud import proxy as cloud_proxy

_ID = re.compile(r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
#: Errors that Glance, or a proxy before it, answers with.
_STATUSES = (400, 401, 403, 404, 409, 410, 413, 429, 500, 502, 503, 504)
#: How much of an upload may arrive before its connection is cut, in bytes.
_LARGEST = 5 << 20


class Chaos(cloud_proxy.Proxy):
    """A proxy that fails some of all requests.

    Whether a request fails, and how, depends on the seed, the step of the
    history, the method, the path without ids, and on how many such requests
    there have been in that step; not on what other threads do.

    :param upstream: the URL of the Glance behind it
    :param seed: decides
    :param rate: how many of the requests fail, from 0 to 1
    """

    def __init__(self, upstream: str, seed: int, rate: float) -> None:
        super().__init__(upstream)
        self._seed = seed
        self._rate = rate
        self._seen: collections.Counter[tuple[str, str]]
        self._seen = collections.Counter()
        self._counting = threading.Lock()
        self._step = -1
        # How many requests a token is good for.
        self._expiring: dict[str, int] = {}
        #: How often each kind of fault was met.
        self.kinds: collections.Counter[str] = collections.Counter()
        #: What has changed something: the token, the method and the path.
        self.changes: list[tuple[str | None, str, str]] = []
        #: How many requests there were, by method and path without ids.
        self.requests: collections.Counter[tuple[str, str]]
        self.requests = collections.Counter()

    def begin(self, step: int) -> None:
        """Begin a step of the history, with faults.

        :param step: its number
        """
        with self._counting:
            self._seen.clear()
            self._step = step

    def rest(self) -> None:
        """Have no faults until the next step begins."""
        with self._counting:
            self._step = -1

    def expire(self, token: str, after: int) -> None:
        """Have a token expire, and never be valid again.

        :param token: a part of it
        :param after: how many requests it is good for from now on
        """
        with self._counting:
            self._expiring[token] = after

    def has_expired(self, token: str) -> bool:
        """Tell whether a token was used after its time.

        :param token: a part of it
        """
        with self._counting:
            return self._expiring.get(token, 0) < 0

    def _fault(self, method: str, path: str, token: str | None) -> Any:
        kind = method, _ID.sub('', path.partition('?')[0])
        with self._counting:
            self.requests[kind] += 1
            if method != 'GET':
                self.changes.append((token, method, path))
            if self._is_refused(token):
                return self._met(cloud_proxy.Answer(401), 'token expired')
            if self._step < 0:
                return None
            self._seen[kind] += 1
            moment = self._seed, self._step, *kind, self._seen[kind]
        choose = random.Random(repr(moment))
        if choose.random() >= self._rate:
            return None
        fault = _choose(choose, method, path)
        with self._counting:
            return self._met(fault, _name(fault))

    def _is_refused(self, token: str | None) -> bool:
        for part, left in self._expiring.items():
            if part in (token or ''):
                self._expiring[part] = left - 1
                return left <= 0
        return False

    def _met(self, fault: Any, name: str) -> Any:
        self.met += 1
        self.kinds[name] += 1
        return fault


def _choose(choose: random.Random, method: str, path: str) -> Any:
    number = choose.random()
    if number < 0.25:
        return cloud_proxy.LoseAnswer()
    if number < 0.35:
        return cloud_proxy.Hang(choose.uniform(0.1, 1.0))
    if number < 0.6 and method == 'PUT' and path.endswith('/file'):
        return cloud_proxy.Cut(choose.randrange(_LARGEST))
    return cloud_proxy.Answer(choose.choice(_STATUSES))


def _name(fault: Any) -> str:
    if isinstance(fault, cloud_proxy.Answer):
        return f'answered {fault.status}'
    return {
        cloud_proxy.LoseAnswer: 'answer lost',
        cloud_proxy.Hang: 'no answer',
        cloud_proxy.Cut: 'connection cut',
    }[type(fault)]
