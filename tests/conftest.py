"""What all tests share."""

from __future__ import annotations

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401
