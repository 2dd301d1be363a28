"""What is known of the data of an upload."""

from __future__ import annotations

import gzip
import io
import os

import pytest

from nova_multistore.compute import body

DATA = bytes(range(256)) * 16


def read_all(stream, size=1000):
    """Read as glanceclient does, in pieces."""
    return b''.join(iter(lambda: stream.read(size), b''))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'disk'
    path.write_bytes(DATA)
    return path


def test_file_is_sent_again_from_its_first_byte(path):
    """Its length is known before it is read."""
    with path.open('rb') as image_file:
        upload = body.Body(image_file)

        assert len(DATA) == upload.size
        assert upload.rewindable
        assert upload.rewind().read(1000) == DATA[:1000]
        assert read_all(upload.rewind()) == DATA
        assert len(DATA) == upload.sent


def test_file_is_sent_from_where_it_stands(path):
    """A caller may have read a header."""
    with path.open('rb') as image_file:
        image_file.seek(100)
        upload = body.Body(image_file)

        assert len(DATA) - 100 == upload.size
        for _ in range(2):
            assert read_all(upload.rewind()) == DATA[100:]


def test_pieces_are_smaller_than_uwsgi_takes():
    """glanceclient asks for 1 MiB, and sends that as one chunk."""
    upload = body.Body(bytes(3 << 20)).rewind()

    pieces = list(iter(lambda: upload.read(1 << 20), b''))

    assert sum(map(len, pieces)) == 3 << 20
    assert max(map(len, pieces)) <= 1 << 19


def test_unbuffered_file(path):
    """It is a regular file too."""
    with path.open('rb', buffering=0) as image_file:
        assert body.Body(image_file).size == len(DATA)


def test_compressed_file_has_no_known_length(path):
    """Its descriptor is that of a shorter file."""
    with gzip.open(path, 'wb') as packed:
        packed.write(DATA)
    with gzip.open(path) as packed:
        upload = body.Body(packed)

        assert upload.size is None
        assert read_all(upload.rewind()) == DATA
        assert len(DATA) == upload.sent


def test_announced_length_is_not_believed():
    """A stream may announce its disk's capacity."""

    class Stream(io.RawIOBase):
        def __len__(self):
            return 10**9

        def readable(self):
            return True

        def read(self, size=-1):
            return b''

    assert body.Body(Stream()).size is None


def test_stream_cannot_be_sent_again():
    """What was read of it is known at its end alone."""
    reader, writer = os.pipe()
    os.write(writer, DATA)
    os.close(writer)
    with os.fdopen(reader, 'rb') as stream:
        upload = body.Body(stream)

        assert upload.size is None
        assert upload.rewindable
        upload.rewind().read(1000)
        assert not upload.rewindable
        assert upload.sent is None
        read_all(upload)
        assert len(DATA) == upload.sent


@pytest.mark.parametrize('data', ['', 'grün'])
def test_text(data):
    """glanceclient takes it as it is; '' activates an empty image."""
    upload = body.Body(data)

    assert len(data.encode()) == upload.size
    assert upload.rewindable
    assert upload.rewind() is data


@pytest.mark.parametrize('data', [b'', DATA])
def test_bytes(data):
    """They are read like a file."""
    upload = body.Body(data)

    assert len(data) == upload.size
    for _ in range(2):
        assert read_all(upload.rewind()) == data


@pytest.mark.parametrize(
    ('broken_at', 'places'),
    [
        (None, []),
        # What comes last may be in a buffer still.
        (0, [0]),
        (1500, [0, 1000]),
        (4096, [1096, 2096, 3096, 4096]),
    ],
)
def test_pauses_are_before_the_place(path, monkeypatch, broken_at, places):
    """Glance may answer meanwhile; the first pause is the longest."""
    monkeypatch.setattr(body, 'BUFFERS', 3000)
    monkeypatch.setattr(body, 'STEP', 1000)
    pauses = []
    with path.open('rb') as image_file:
        upload = body.Body(image_file)
        monkeypatch.setattr(
            body.time, 'sleep', lambda s: pauses.append((upload.place, s))
        )

        assert read_all(upload.rewind(broken_at, 0.8), 4) == DATA

        expected = [0.8, *[0.1] * (len(places) - 1)][: len(places)]
        assert pauses == list(zip(places, expected))
        assert read_all(upload.rewind()) == DATA
        assert len(pauses) == len(places)


def test_age_is_from_the_end_on(path, monkeypatch):
    """It begins again when the data are rewound."""
    with path.open('rb') as image_file:
        upload = body.Body(image_file)
        stream = upload.rewind()
        assert not upload.begun
        stream.read(1000)
        assert (upload.begun, upload.ended, upload.age) == (True, False, 0.0)
        read_all(stream)
        now = body.time.monotonic()
        monkeypatch.setattr(body.time, 'monotonic', lambda: now + 30)

        assert upload.ended
        assert upload.age == pytest.approx(30, abs=5)
        upload.rewind()
        assert (upload.begun, upload.ended, upload.age) == (False, False, 0.0)
