"""What the tests of the filter in Glance share."""

from __future__ import annotations

import contextlib
import functools

import pytest

from tests.functional.glance_filter import Log
from tests.functional.glance_filter import lasting
from tests.functional.glance_filter import started


@pytest.fixture(scope='module')
def glance(root):
    """One for all tests, instead of the one without the filter."""
    with started(root / 'glance') as glance:
        yield glance


@pytest.fixture(scope='module')
def base(glance):
    """Make, once each, base images by the stores in which they are."""
    return functools.cache(lambda *stores: lasting(glance, *stores))


@pytest.fixture
def own(tmp_path):
    """Start a Glance of a test's own, which an unprivileged one can reach."""
    tmp_path.chmod(0o755)
    with contextlib.ExitStack() as stack:
        yield lambda **kwargs: stack.enter_context(started(tmp_path, **kwargs))


@pytest.fixture
def log(glance):
    """Read what the filter has said of late."""
    return Log(glance)
