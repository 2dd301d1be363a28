"""Placement: what is left where."""

from __future__ import annotations

from tests.e2e import site as e2e_site


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    directory = site.directory('placement')
    site.write(
        directory / 'placement.conf',
        {
            'DEFAULT': {},
            'keystone_authtoken': site.authtoken('placement'),
            'placement_database': {'connection': site.database('placement')},
        },
    )
    site.run(
        'placement-manage',
        site.bin / 'placement-manage',
        '--config-file',
        directory / 'placement.conf',
        'db',
        'sync',
    )


def start(site: e2e_site.Site) -> None:
    """Start Placement and wait until it answers."""
    site.serve(
        'placement',
        'placement.wsgi.api:application',
        OS_PLACEMENT_CONFIG_DIR=site.root / 'placement',
    )
    site.wait_for_http('placement')
