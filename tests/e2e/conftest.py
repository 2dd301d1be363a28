"""One cloud for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import fixture


@pytest.fixture(scope='session')
def cloud() -> Iterator[fixture.Cloud]:
    """Return a cloud that runs as long as the tests do."""
    with fixture.Cloud() as cloud:
        yield cloud
