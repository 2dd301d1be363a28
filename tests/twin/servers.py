"""What may stand where nova-compute looks for a glance-api."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import http.server
import itertools
from pathlib import Path
import socket
import socketserver
import threading
from typing import Any
from urllib import parse

import fixtures

from tests.cloud import glance as cloud_glance
from tests.cloud import proxy
from tests.cloud import server as cloud_server

_PIECE = 64 * 1024


def dead() -> str:
    """Return a URL where nobody listens."""
    [port] = cloud_glance.free_ports(1)
    return f'http://{cloud_glance.LOCALHOST}:{port}'


class Hanging(fixtures.Fixture):
    """Takes connections, and says nothing."""

    def _setUp(self) -> None:
        # On eventlet, a socket that nobody holds is closed, though somebody
        # holds its close().
        self._server = server = socket.create_server(
            (cloud_glance.LOCALHOST, 0), backlog=64
        )
        self.addCleanup(server.close)
        self.url = f'http://{cloud_glance.LOCALHOST}:{server.getsockname()[1]}'


class Odd(fixtures.Fixture):
    """A web server that is no Glance: it has nothing."""

    def _setUp(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.close_connection = True
                self.send_error(404)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.url = self.useFixture(cloud_server.Server(Handler)).url


class Balancer(fixtures.Fixture):
    """Gives each connection to the next of several servers.

    :param urls: of those servers
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._targets = itertools.cycle(
            (url.hostname, url.port) for url in map(parse.urlsplit, urls)
        )

    def _setUp(self) -> None:
        targets = self._targets

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(next(targets)) as target,
                ):
                    back = threading.Thread(
                        target=_pipe, args=(target, self.request)
                    )
                    back.start()
                    _pipe(self.request, target)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        server = Server((cloud_glance.LOCALHOST, 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = (
            f'http://{cloud_glance.LOCALHOST}:{server.server_address[1]}'
        )


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class UnderPath(proxy.Proxy):
    """Has Glance under a path, as a web server that has other things, too."""

    PATH = '/image'

    def _setUp(self) -> None:
        super()._setUp()
        self.url += self.PATH

    def target(self, path: str) -> str:
        return path.removeprefix(self.PATH)


class Beside(cloud_glance.Glance):
    """One more glance-api, with the database and the data of another.

    :param other: that one, which is running
    :param root: an existing directory for what it has of its own
    :param options: what is different, as the constructor has it
    """

    def __init__(
        self, other: cloud_glance.Glance, root: Path, **options: Any
    ) -> None:
        for name in ('glance.sqlite', 'stores', 'web'):
            (root / name).symlink_to(other.root / name)
        super().__init__(
            root,
            **{
                'stores': other.stores,
                'default': other.default,
                'multi_store': other.multi_store,
                'show_locations': other.show_locations,
                'flavor': other.flavor,
                'filters': other.filters,
                **other.options,
                **options,
            },
        )
