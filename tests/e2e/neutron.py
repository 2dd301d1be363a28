"""Neutron's API alone: Nova asks it even of servers without a network."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys

from tests.e2e import keystone
from tests.e2e import site as e2e_site


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    directory = site.directory('neutron')
    etc = Path(sys.prefix) / 'etc' / 'neutron'
    shutil.copy(etc / 'api-paste.ini', directory)
    site.write(
        directory / 'neutron.conf',
        {
            'DEFAULT': {
                'api_paste_config': directory / 'api-paste.ini',
                'auth_strategy': 'keystone',
                'core_plugin': 'ml2',
                'notify_nova_on_port_data_changes': False,
                'notify_nova_on_port_status_changes': False,
                'service_plugins': '',
                'state_path': directory / 'state',
                'transport_url': site.transport,
            },
            'database': {'connection': site.database('neutron')},
            'keystone_authtoken': site.authtoken('neutron'),
            'ml2': {
                'extension_drivers': '',
                'mechanism_drivers': '',
                'tenant_network_types': 'local',
                'type_drivers': 'local',
            },
            'oslo_concurrency': {'lock_path': directory / 'locks'},
        },
    )
    site.run(
        'neutron-db-manage',
        site.bin / 'neutron-db-manage',
        '--config-file',
        directory / 'neutron.conf',
        'upgrade',
        'heads',
    )


def start(site: e2e_site.Site) -> None:
    """Start Neutron and wait until it knows of no port."""
    site.serve(
        'neutron',
        'neutron.wsgi.api:application',
        OS_NEUTRON_CONFIG_DIR=site.root / 'neutron',
        OS_NEUTRON_CONFIG_FILES='neutron.conf',
    )
    wait(site)


def wait(site: e2e_site.Site) -> None:
    """Wait until Neutron knows of no port."""
    site.wait_for_http('neutron')
    # The first query for ports fails unless there was one for something else.
    token = keystone.token(site)
    for what in ('networks', 'ports'):
        path = f'/v2.0/{what}'
        site.wait(
            'neutron',
            lambda path=path: (
                site.request('neutron', 'GET', path, token=token)[0] == 200
            ),
        )
