"""Uploads into a Glance whose pipeline holds the filter."""

from __future__ import annotations

import contextlib
import json
import os

from nova_multistore import selection
from tests.cloud import glance as cloud_glance

MIB = 1 << 20
BASE = selection.BASE_IMAGE_REF_HEADER
STORE = selection.STORE_HEADER


@contextlib.contextmanager
def started(directory, **kwargs):
    """Start a Glance that has the filter."""
    directory.mkdir(exist_ok=True)
    with cloud_glance.Glance(
        directory,
        filters=cloud_glance.FILTER,
        **kwargs,
    ) as glance:
        yield glance


class Log:
    """What the filter says from now on."""

    def __init__(self, glance):
        self._path = glance.log
        self._begin = self._path.stat().st_size

    def lines(self, level=''):
        """Return the lines of a level, or all."""
        with self._path.open('rb') as log:
            log.seek(self._begin)
            text = log.read().decode(errors='replace')
        return [
            line.removesuffix('\x1b[00m')
            for line in text.split('\n')
            if f'{level} nova_multistore.glance' in line
        ]


def ask(glance, *args, **kwargs):
    """Send a request that succeeds, and return what is answered."""
    status, body = glance.request(*args, **kwargs)
    assert status < 300, body
    return json.loads(body) if body else None


def queued(glance):
    return glance.create_queued_image()


def put(glance, image_id, data, headers):
    """Send an image's data, and return the answer's status and body."""
    return glance.request(
        'PUT',
        f'/v2/images/{image_id}/file',
        data,
        headers={'Content-Type': 'application/octet-stream', **headers},
    )


def land(glance, headers):
    """Upload some data.

    :returns: the store in which it is, whole, and nowhere else
    """
    image_id, data = queued(glance), os.urandom(1000)
    assert put(glance, image_id, data, headers) == (204, b'')
    return where(glance, image_id, data)


def where(glance, image_id, data):
    """Return the store in which an image is, whole, and nowhere else."""
    assert glance.image(image_id)['status'] == 'active'
    [(store, path)] = glance.files(image_id).items()
    assert path.read_bytes() == data
    assert glance.stores_of(image_id) == [store]
    return store


def lasting(glance, *stores):
    """Create a base image, in ``fast`` if nothing is said.

    Unlike those of ``base`` a test may change it.
    """
    return glance.create_image(
        b'a base image', stores=stores or ['fast'], disk_format='raw'
    )
