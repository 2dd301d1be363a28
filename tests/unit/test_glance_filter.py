"""The Glance filter, where it needs no Glance that runs."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import importlib.metadata
import sys
entry_points = importlib.metadata.distribution('nova-multistore').entry_points
(own,) = (each for each in entry_points if each.name == 'glance_api')
assert callable(own.load())
print(*sorted({name.partition('.')[0] for name in sys.modules}))
"""
# A Glance whose code is another one.
CHANGED = """
import logging
from glance import location
from nova_multistore.glance import readers
from oslo_config import cfg

logging.basicConfig()
cfg.CONF([], project='glance', default_config_files=[])
cfg.CONF.set_override('enabled_backends', {'cheap': 'file'})

def get_data(self, offset=0, chunk_size=None, prefer=None):
    return 'data'

location.ImageProxy.get_data = get_data
readers.apply()
assert location.ImageProxy.get_data is get_data
"""
# What is held back, and what is let go of.
HELD_BACK = """
import contextlib
from nova_multistore.glance import readers

seen = []

def data():
    with contextlib.ExitStack() as stack:
        stack.callback(seen.append, 'closed')
        yield from (b'a', b'', b'b', b'c', b'')
        seen.append('end')

def see():
    seen.append('asked')

read = readers.held_back(data(), see)
assert [next(read), next(read), seen] == [b'a', b'b', []]
assert [next(read), seen] == [b'c', ['end', 'closed', 'asked']]
assert list(read) == []

seen.clear()
read = readers.held_back(data(), see)
assert next(read) == b'a'
read.close()
assert seen == ['closed']

seen.clear()
assert list(readers.held_back([], see)) == seen == []

def gone():
    raise ValueError

found = []
with contextlib.suppress(ValueError):
    found.extend(iter(readers.held_back([b'only'], gone)))
assert found == []
"""

# What is no number of digests.
DIGESTS = """
from nova_multistore.glance import base_image

for value in '-1', 'many', '':
    try:
        base_image.filter_factory({}, digests=value)
    except ValueError:
        pass
    else:
        raise AssertionError(value)
base_image.filter_factory({}, digests='0')
"""

# Stores whose copies are no deltas.
DELTA_STORES = """
from glance.common import wsgi
from oslo_config import cfg
from nova_multistore.glance import base_image

cfg.CONF.set_override('enabled_backends', {'site': 'file', 'central': 'rbd'})
make = base_image.filter_factory({}, delta_stores='site, central,')
try:
    make(None)
except ValueError as exc:
    assert str(exc) == (
        'delta_stores has site, and the stores in Ceph are central'
    ), exc
else:
    raise AssertionError
assert base_image.filter_factory({}, delta_stores=' , ')(None)
"""


def run(code):
    """Run code in a process that has no Nova; return what it says."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_held_back():
    """The last part comes after the question, and everything is closed."""
    run(HELD_BACK)


def test_number_of_digests():
    """A mistake in the configuration is seen at the start."""
    run(DIGESTS)


def test_delta_stores():
    """They are in Ceph; another name is a mistake."""
    run(DELTA_STORES)


def test_glance_is_another_one():
    """It is left as it is, and starts; its log says what it lacks."""
    told = run(CHANGED)

    assert told.count('may end without an error') == 1
    assert 'takes (self, offset, chunk_size, prefer)' in told


def test_needs_no_nova():
    """It runs where Nova is not installed."""
    loaded = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOADED],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()

    assert 'glance' in loaded
    assert 'nova' not in loaded
