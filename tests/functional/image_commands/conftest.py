"""What the tests of the commands for images share."""

from __future__ import annotations

import pytest

from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import connect
from tests.functional.image_commands import DATA
from tests.functional.image_commands import make


@pytest.fixture(scope='module')
def cloud(sites):
    return connect(sites.url)


@pytest.fixture(scope='module')
def member(sites):
    return connect(sites.url, cloud_glance.token())


@pytest.fixture
def run(cloud):
    """Run a command as an administrator."""
    return lambda which, *args: command.run(which, cloud, *args)


@pytest.fixture
def uri(sites):
    return sites.serve(DATA)


@pytest.fixture
def image(sites):
    """An image that is in ``central``."""
    return make(sites, 'central')
