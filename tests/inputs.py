"""How hypothesis makes inputs: the same ones in every run.

What they find must not depend on chance.
"""

from __future__ import annotations

import hypothesis

ALIKE = hypothesis.settings(
    max_examples=200, deadline=None, database=None, derandomize=True
)
#: For inputs of a hostile client, whatever it takes to make them.
HOSTILE = hypothesis.settings(
    ALIKE,
    max_examples=1000,
    suppress_health_check=list(hypothesis.HealthCheck),
)
