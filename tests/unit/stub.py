"""A server that answers as Glance might, to see what goes over the wire."""

from __future__ import annotations

import dataclasses
import http.server
import json
import socket
import struct

import fixtures

from tests.cloud import server as cloud_server

STORES = {
    'stores': [
        {'id': 'cheap', 'default': 'true'},
        {'id': 'fast'},
        {'id': 'web', 'read-only': 'true'},
    ]
}
SCHEMA = {
    'name': 'image',
    'properties': {},
    'additionalProperties': {'type': ['null', 'string']},
}


@dataclasses.dataclass(frozen=True)
class Request:
    """What came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass
class Answer:
    """What goes back: a status, and JSON or raw bytes; nothing for 0."""

    status: int = 200
    body: object = None


def take(image, request):
    """Take an upload as Glance does."""
    store = request.headers.get('x-image-meta-store', 'cheap')
    image.update(status='active', size=len(request.body), stores=store)
    return Answer(204)


class Glance(fixtures.Fixture):
    """The server.

    ``uploads`` holds what to answer to each upload in turn, ``images`` what
    an image is after that; without an answer an upload succeeds.

    :param secure: how TLS is spoken, None for plain connections
    """

    def __init__(self, secure=None):
        self._secure = secure
        self.requests = []
        self.uploads = []
        #: Whether uploads are answered before their data are read.
        self.hasty = False
        self.images = {}
        self.answers = {('GET', '/v2/info/stores'): Answer(200, STORES)}

    def _setUp(self):
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def do_GET(self):
                stub._serve(self)

            do_PUT = do_DELETE = do_PATCH = do_GET

        server = cloud_server.Server(Handler, self._secure)
        self.url = self.useFixture(server).url

    def made(self, method, path=''):
        """The requests of a method whose path ends so."""
        return [
            r
            for r in self.requests
            if r.method == method and r.path.endswith(path)
        ]

    def _serve(self, handler):
        hasty = self.hasty and handler.command == 'PUT'
        request = Request(
            handler.command,
            handler.path,
            {k.lower(): v for k, v in handler.headers.items()},
            b'' if hasty else _body(handler),
        )
        self.requests.append(request)
        if hasty:
            handler.close_connection = True
            if _has_data(handler):
                _reset(handler.connection)
                return
        answer = self._answer(request)
        if callable(answer.body):
            answer.body()
        if not answer.status:
            handler.close_connection = True
            return
        data = answer.body
        if not isinstance(data, bytes):
            data = b'' if data is None else json.dumps(data).encode()
        try:
            handler.send_response(answer.status)
            if handler.close_connection:
                handler.send_header('Connection', 'close')
            if data:
                kind = 'json'
                if handler.path.endswith('/file'):
                    kind = 'octet-stream'
                handler.send_header('Content-Type', f'application/{kind}')
            handler.send_header('Content-Length', str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            handler.close_connection = True

    def _answer(self, request):
        known = self.answers.get((request.method, request.path))
        if callable(known):
            known = known()
            return known if isinstance(known, Answer) else Answer(200, known)
        if known:
            return known
        if request.path == '/v2/schemas/image':
            return Answer(200, SCHEMA)
        image_id = request.path.split('/')[3]
        image = self.images.get(image_id)
        if image is None:
            return Answer(404)
        if request.method == 'DELETE':
            del self.images[image_id]
            return Answer(204)
        if request.method == 'PATCH':
            for change in json.loads(request.body):
                image[change['path'].lstrip('/')] = change['value']
        if request.method == 'PUT':
            if self.uploads:
                return self.uploads.pop(0)(image, request)
            return take(image, request)
        return Answer(200, image)


def _has_data(handler):
    """Tell whether some of a request's body come within a short time."""
    handler.connection.settimeout(0.1)
    try:
        return bool(handler.rfile.peek())
    except OSError:
        return False


def _reset(connection):
    """Break a connection, so that no answer comes through."""
    linger = struct.pack('ii', 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    socket.close(connection.detach())


def _body(handler):
    if handler.headers.get('Transfer-Encoding') != 'chunked':
        return handler.rfile.read(int(handler.headers['Content-Length'] or 0))
    data = b''
    while size := int(handler.rfile.readline(), 16):
        data += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return data
