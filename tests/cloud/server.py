"""An HTTP server in the process of the test."""

from __future__ import annotations

import http.server
import ssl
import threading

import fixtures


class _HTTPServer(http.server.ThreadingHTTPServer):
    # Many may come at once. One that finds the queue full would wait for
    # seconds before it tries again.
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """A client that went away is what a test has arranged."""


class Server(fixtures.Fixture):
    """Serves on a free port of 127.0.0.1, each request in its own thread.

    :param handler: the class that handles a request
    :param secure: how TLS is spoken, None for plain connections
    """

    def __init__(
        self,
        handler: type[http.server.BaseHTTPRequestHandler],
        secure: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._secure = secure

    def _setUp(self) -> None:
        server = _HTTPServer(('127.0.0.1', 0), self._handler)
        # An answer's head and body leave in two pieces. The second would wait
        # until the client's system acknowledges the first, 40 ms later.
        self._handler.disable_nagle_algorithm = True
        self.url = f'http://127.0.0.1:{server.server_port}'
        if self._secure:
            server.socket = self._secure.wrap_socket(
                server.socket, server_side=True
            )
            self.url = f'https://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
