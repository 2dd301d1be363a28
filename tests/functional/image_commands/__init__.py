"""The commands for images in several stores, on the real Glance."""

from __future__ import annotations

import os

MIB = 1 << 20
FILES = ['central', 'dcn0', 'dcn1', 'dcn2']
DATA = os.urandom(3 * MIB)


def make(glance, *names, **properties):
    return glance.create_image(
        DATA, stores=names, disk_format='raw', **properties
    )


def in_stores(*names):
    return [word for name in names for word in ('--store', name)]


def new(result):
    """Return the id of the image that a command is about."""
    [image_id] = {row['image_id'] for row in result.rows}
    return image_id


def whole(glance, image_id, *names, data=DATA):
    """See that an image is in these stores, whole, and nowhere else."""
    assert sorted(glance.stores_of(image_id)) == sorted(names)
    files = glance.files(image_id)
    assert set(files) == set(names)
    assert all(path.read_bytes() == data for path in files.values())
