"""The audit of a real Glance's images, with a real Nova's servers."""

from __future__ import annotations

import os

MIB = 1 << 20
STORES = {
    'central': 'file',
    'dcn0': 'file',
    'dcn1': 'file',
    'dcn2': 'file',
    'web': 'http',
}
DATA = os.urandom(MIB)


def problems_of(result):
    """Return the problems that were shown, by the image's id."""
    return {row['id']: row['problem'] for row in result.rows}
