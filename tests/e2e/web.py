"""A web server: what Glance's store of type http points to."""

from __future__ import annotations

from pathlib import Path
import sys

from tests.e2e import site as e2e_site


def directory(site: e2e_site.Site) -> Path:
    """Return the directory whose files it serves."""
    return site.directory('web')


def start(site: e2e_site.Site) -> None:
    """Start it and wait until it answers."""
    site.start(
        'web',
        *(sys.executable, '-m', 'http.server', site.ports['web']),
        *('--bind', e2e_site.LOCALHOST),
        *('--directory', directory(site)),
    )
    site.wait_for_http('web')
