"""A proxy that fails as networks and servers do.

It stands between Nova and Glance, or between Glance and a store.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import http.client
import http.server
import re
import socket
import struct
import threading
import time
from typing import Any
from urllib import parse

import fixtures

from tests.cloud import server as cloud_server

_PIECE = 64 * 1024
# Headers of an answer that the proxy has itself.
_OWN = ('connection', 'content-length', 'date', 'server', 'transfer-encoding')


@dataclasses.dataclass(frozen=True)
class Cut:
    """Break the connection after so many bytes of the request's body."""

    after: int


@dataclasses.dataclass(frozen=True)
class LoseAnswer:
    """Break the connection when Glance has answered."""


@dataclasses.dataclass(frozen=True)
class CutAnswer:
    """Break the connection after so many bytes of the answer's body."""

    after: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer in Glance's place, once the request's body is read."""

    status: int
    body: bytes = b'{"error": {"message": "not now"}}'
    #: Type of the body.
    kind: str = 'application/json'


@dataclasses.dataclass(frozen=True)
class Hang:
    """Take the request and answer nothing for so many seconds."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Delay:
    """Wait for so many seconds, then go on."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Pause:
    """Wait for an event, then go on.

    It waits when so many bytes of the request's body went to Glance, or, with
    None, before Glance is called at all.
    """

    after: int | None
    reached: threading.Event
    go_on: threading.Event

    def wait(self) -> None:
        """Wait here."""
        self.reached.set()
        self.go_on.wait(60)


class _Broken(Exception):
    """Raised if the connection is to be broken here."""


@dataclasses.dataclass
class _Rule:
    method: str
    path: str
    fault: Any
    times: int | None

    def matches(self, method: str, path: str) -> bool:
        return self.method == method and bool(re.search(self.path, path))


class Proxy(fixtures.Fixture):
    """The proxy.

    :param upstream: the URL of what is behind it
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = parse.urlsplit(upstream)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        #: How often a fault was met.
        self.met = 0
        #: How long the bodies of all answers were, in bytes.
        self.sent = 0

    def _setUp(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        #: Where Nova finds it.
        self.url = self.useFixture(cloud_server.Server(Handler)).url

    def fail(
        self, method: str, path: str, fault: Any, times: int | None = 1
    ) -> None:
        """Arrange a fault.

        :param path: a regular expression that is searched in the path
        :param times: for how many requests, None for all that follow
        """
        self._rules.append(_Rule(method, path, fault, times))

    def heal(self) -> None:
        """Arrange no more faults."""
        self._rules.clear()
        self.met = 0

    def target(self, path: str) -> str:
        """Return the path at the Glance behind it.

        :param path: the path at the proxy
        """
        return path

    def _fault(self, method: str, path: str, token: str | None) -> Any:
        with self._lock:
            for rule in self._rules:
                if rule.matches(method, path):
                    if rule.times is not None:
                        rule.times -= 1
                        if not rule.times:
                            self._rules.remove(rule)
                    self.met += 1
                    return rule.fault
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = 'HTTP/1.1'

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        self.close_connection = True
        fault = self.owner._fault(
            self.command, self.path, self.headers.get('X-Auth-Token')
        )
        if isinstance(fault, Hang):
            time.sleep(fault.seconds)
            return
        if isinstance(fault, Answer):
            for _ in self._body():
                pass
            headers = {'Content-Type': fault.kind}
            self._answer(fault.status, headers, fault.body)
            return
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)
        if isinstance(fault, Pause) and fault.after is None:
            fault.wait()
            fault = None
        upstream = self.owner._upstream
        with socket.create_connection(
            (upstream.hostname, upstream.port)
        ) as glance:
            try:
                self._forward(glance, fault)
            except _Broken:
                _reset(glance)
                _reset(self.connection)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _handle

    def _forward(self, glance: socket.socket, fault: Any) -> None:
        head = [f'{self.command} {self.owner.target(self.path)} HTTP/1.1']
        head += [
            f'{name}: {value}'
            for name, value in self.headers.items()
            if name.lower() != 'connection'
        ]
        head.append('Connection: close')
        glance.sendall('\r\n'.join([*head, '', '']).encode('latin-1'))
        chunked = self.headers.get('Transfer-Encoding') == 'chunked'
        relayed = 0
        try:
            for piece in self._body():
                if isinstance(fault, Cut):
                    piece = piece[: max(0, fault.after - relayed)]
                relayed += len(piece)
                if piece:
                    glance.sendall(_chunk(piece) if chunked else piece)
                if isinstance(fault, Cut) and relayed >= fault.after:
                    raise _Broken
                if isinstance(fault, Pause) and relayed >= fault.after:
                    fault.wait()
            if chunked:
                glance.sendall(b'0\r\n\r\n')
        except OSError:
            # It may have answered before it had read all.
            pass
        answer = http.client.HTTPResponse(glance, method=self.command)
        try:
            answer.begin()
            body = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise _Broken from exc
        if isinstance(fault, LoseAnswer):
            raise _Broken
        self._answer(answer.status, answer.headers, body, fault)

    def _answer(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        fault: Any = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        length = str(len(body))
        if self.command == 'HEAD':
            length = headers.get('Content-Length', length)
        if status != 204:
            self.send_header('Content-Length', length)
        self.send_header('Connection', 'close')
        self.end_headers()
        if isinstance(fault, CutAnswer):
            self.wfile.write(body[: fault.after])
            raise _Broken
        if self.command != 'HEAD':
            self.wfile.write(body)
            with self.owner._lock:
                self.owner.sent += len(body)

    def _body(self) -> Any:
        """Yield the request's body in pieces, without its framing."""
        if self.headers.get('Transfer-Encoding') == 'chunked':
            while left := int(self._line(), 16):
                yield from self._pieces(left)
                self._line()
            self._line()
        else:
            yield from self._pieces(
                int(self.headers.get('Content-Length') or 0)
            )

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line:
            raise _Broken
        return line

    def _pieces(self, left: int) -> Any:
        while left:
            piece = self.rfile.read(min(left, _PIECE))
            if not piece:
                raise _Broken
            left -= len(piece)
            yield piece


def _chunk(piece: bytes) -> bytes:
    return b'%x\r\n%s\r\n' % (len(piece), piece)


def _reset(connection: socket.socket) -> None:
    """Close it as a broken network does: with a reset."""
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
    )
    connection.close()
