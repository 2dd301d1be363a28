"""The digest of one copy: what is taken for one, and what is not."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import threading
import time
import types

from keystoneauth1 import adapter
from keystoneauth1 import session
import pytest

from nova_multistore import copies
from nova_multistore import digests
from nova_multistore import exception
from nova_multistore import image_api
from tests.cloud import server as cloud_server

IMAGE = '11111111-1111-4111-8111-111111111111'
DATA = b'right'
SHA256 = hashlib.sha256(DATA).hexdigest()
RIGHT = digests.Digest(IMAGE, 'far', 'sha256', SHA256, len(DATA))
END = digests.encode(RIGHT)
PATH = f'/v2/stores/far/{IMAGE}'
#: The same with the wish for a digest.
WISH = f'{PATH}?digest=sha256'
#: What a filter answers that knows of no digests, whatever the query.
OLD = (
    b'HTTP/1.1 200 OK\r\n'
    b'Server: gunicorn\r\n'
    b'Date: Mon, 30 Nov 2026 13:00:00 GMT\r\n'
    b'Connection: close\r\n'
    b'Content-Length: 5\r\n'
    b'Content-Type: application/octet-stream\r\n'
    b'x-openstack-request-id: req-bd6d9f3b-6c1f-4fb2-a273-a1c74bd6b2f3\r\n'
    b'\r\n'
) + DATA
BUSY = (
    b'HTTP/1.1 429 Too Many Requests\r\n'
    b'Retry-After: 2\r\n'
    b'Content-Length: 0\r\n'
    b'Connection: close\r\n\r\n'
)
HEAD = (
    b'HTTP/1.1 200 OK\r\n'
    b'Content-Type: application/x-ndjson\r\n'
    b'Connection: close\r\n'
)
CHUNKED = HEAD + b'Transfer-Encoding: chunked\r\n\r\n'


def chunk(data):
    return b'%x\r\n%s\r\n' % (len(data), data)


def told(*lines):
    """An answer of that filter, whole for HTTP."""
    return CHUNKED + b''.join(map(chunk, lines)) + b'0\r\n\r\n'


class Glance(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to, byte by byte."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        for part in self.answers.pop(0):
            if isinstance(part, threading.Event):
                part.wait(30)
            else:
                self.wfile.write(part)
        self.close_connection = True


@pytest.fixture
def ask():
    """Ask for a digest; return it, the pauses, and what was reported."""

    class Handler(Glance):
        answers, asked = [], []

    with cloud_server.Server(Handler) as server:
        connected = adapter.Adapter(
            session.Session(), endpoint_override=f'{server.url}/v2'
        )
        images = image_api.Images(lambda: connected)

        class Asking:
            asked = Handler.asked

            def __init__(self, *answers, report=None):
                Handler.answers[:] = [
                    (answer,) if isinstance(answer, bytes) else answer
                    for answer in answers
                ]
                Handler.asked.clear()
                self.reported = []
                self.pauses = []
                self.steps = images.digest(
                    IMAGE, 'far', 'sha256', report or self.reported.append
                )

            def end(self):
                def noting():
                    steps = self.steps
                    while True:
                        try:
                            pause = next(steps)
                        except StopIteration as end:
                            return end.value
                        self.pauses.append(pause)
                        # Not for as long as it says.
                        yield min(pause, 0.1)

                return copies.finish(noting())

        yield Asking


def progress(size):
    return digests.encode(digests.Progress(size))


@pytest.mark.parametrize(
    'answer',
    [
        told(END),
        told(progress(2), progress(5), END),
        # As lines come in one packet, or one in several.
        told(progress(2) + END),
        told(END[:9], END[9:]),
        # uWSGI may end an answer with the connection.
        HEAD + b'\r\n' + progress(2) + END,
    ],
)
def test_digest(ask, answer):
    asking = ask(answer)

    assert asking.end() == RIGHT
    assert asking.asked == [WISH]
    assert sum(asking.reported) == len(DATA)
    assert not any(asking.pauses)


@pytest.mark.parametrize('head', [CHUNKED, HEAD + b'\r\n'])
def test_progress(ask, head):
    """It is told while Glance reads."""
    seen = threading.Event()
    reported = []

    def report(received):
        reported.append(received)
        seen.set()

    frame = chunk if head == CHUNKED else bytes
    end = frame(END) + (b'0\r\n\r\n' if head == CHUNKED else b'')
    # The rest is sent once that is reported, or after 30 s.
    answer = (head, frame(progress(2)), seen, end)
    began = time.monotonic()

    assert ask(answer, report=report).end() == RIGHT

    assert reported == [2, 3]
    assert time.monotonic() - began < 20


def test_older_filter(ask):
    """It sends the data, which count."""
    asking = ask(OLD)

    assert asking.end() == RIGHT
    assert asking.asked == [WISH]
    assert sum(asking.reported) == len(DATA)


def changed(**values):
    return digests.encode(dataclasses.replace(RIGHT, **values))


LIES = [
    # Another digest than was asked for.
    told(changed(algorithm='md5', value=hashlib.md5(DATA).hexdigest())),
    told(changed(algorithm='md5')),
    told(changed(store='near')),
    told(changed(image_id=IMAGE.replace('1', '2'))),
    # Another hash that calls itself by that name.
    told(changed(value=hashlib.sha512(DATA).hexdigest())),
    told(changed(value=SHA256[:-2])),
    told(changed(value=SHA256.upper())),
    told(changed(value='')),
    told(changed(value=None)),
    told(changed(value=[SHA256])),
    told(changed(value=SHA256[:-1] + 'x')),
    told(changed(size='5')),
    told(changed(size=None)),
    told(changed(size=True)),
    told(changed(size=-1)),
    told(changed(size=5.0)),
    # More than a digest, or less.
    told(json.dumps({'value': SHA256}).encode()),
    told(json.dumps({**dataclasses.asdict(RIGHT), 'more': 1}).encode()),
    told(END, END),
    told(END, progress(6)),
    told(progress(6), END),
    told(b'\n', END),
    told(b'null\n'),
    told(b'[]\n'),
    told(b'"sha256"\n'),
    told(b'\xff\n'),
    told(b'<html>not now</html>\n'),
    told(END.replace(b'sha256', b'\xff')),
    # No end.
    told(),
    told(progress(2)),
    told(END[:-3]),
    HEAD + b'\r\n' + progress(2),
    HEAD + b'\r\n' + END[:-3],
    CHUNKED + chunk(progress(2)),
    CHUNKED + chunk(END),
    CHUNKED + chunk(END)[:-9],
    # Data of unknown length, as from a proxy that knows the path.
    HEAD.replace(b'x-ndjson', b'octet-stream') + b'\r\n' + END,
    # Fewer data than announced.
    OLD[:-1],
    # Glance fails.
    b'HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    b'',
]


@pytest.mark.parametrize('answer', LIES)
def test_no_digest(ask, answer):
    """What is not exactly a digest proves nothing."""
    with pytest.raises(exception.LookupFailed):
        ask(answer, answer).end()


def test_data_that_look_like_a_digest(ask):
    """Data are data: a user chooses what is in an image."""
    plain = OLD.replace(b': 5', b': %d' % len(END)).replace(DATA, END)

    found = ask(plain).end()

    assert (found.size, found.value) == (
        len(END),
        hashlib.sha256(END).hexdigest(),
    )


def test_refused(ask):
    lost = (
        b'HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n'
        b'Connection: close\r\n\r\nlost'
    )
    with pytest.raises(exception.GlanceRefused) as caught:
        ask(lost).end()

    assert caught.value.status == 410


def test_glance_is_busy(ask):
    """It is asked again."""
    asking = ask(BUSY, BUSY, told(END))

    assert asking.end() == RIGHT
    assert asking.asked == [WISH] * 3
    assert asking.pauses == [digests.RETRY_AFTER] * 2


@pytest.fixture
def late(monkeypatch):
    """The third request is sent after ten minutes."""
    limit = image_api.BUSY_TIMEOUT
    times = iter([0.0, 0.0, limit, limit + 1])
    clock = types.SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(image_api, 'time', clock)


@pytest.mark.usefixtures('late')
def test_glance_stays_busy(ask):
    """After a while, the data are read."""
    asking = ask(BUSY, BUSY, OLD)

    assert asking.end() == RIGHT
    assert asking.asked == [WISH, WISH, PATH]


@pytest.mark.usefixtures('late')
def test_not_busy_with_digests(ask):
    """Whoever limits all requests is not asked for ever."""
    with pytest.raises(exception.GlanceRefused) as caught:
        ask(BUSY, BUSY, BUSY).end()

    assert caught.value.status == 429
