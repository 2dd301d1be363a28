"""What all tests share."""

from __future__ import annotations

import gc

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401


def pytest_collection_finish() -> None:
    """Leave what is loaded out of garbage collections: that is a lot."""
    gc.collect()
    gc.freeze()
