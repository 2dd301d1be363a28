"""nova-api's pipelines, with the package's filter in them."""

from __future__ import annotations

import re

_FILTER = """
[filter:multistore]
use = egg:nova-multistore#nova_api
"""


def with_filter(paste: str) -> str:
    """Put the filter where the documentation says.

    :param paste: what Nova's own api-paste.ini holds
    :returns: the same with the filter right before the API itself
    """
    before = r'(?= osapi_compute_app_v21$)'
    return re.sub(before, ' multistore', paste, flags=re.MULTILINE) + _FILTER
