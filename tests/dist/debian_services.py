"""Debian's own OpenStack, started as Debian starts it.

It is for a root that "make on" has made. Debian's files in /etc stay, and what
this cloud needs goes to their ends. The services have a network of their own,
so they use the ports that Debian gives them.
"""

from __future__ import annotations

import configparser
import ctypes
import os
from pathlib import Path
import re
import secrets
import shutil
import subprocess
from typing import Any

from tests.e2e import keystone
from tests.e2e import libvirt
from tests.e2e import mariadb
from tests.e2e import neutron
from tests.e2e import nova
from tests.e2e import rabbitmq
from tests.e2e import site as e2e_site

#: Where Debian's services listen, and the others by their defaults.
PORTS = {
    'cinder': 8776,
    'epmd': 4369,
    'glance': 9292,
    'keystone': 5000,
    'mariadb': 3306,
    'neutron': 9696,
    'nova': 8774,
    'placement': 8778,
    'rabbitmq': 5672,
    'rabbitmq-distribution': 25672,
}
#: The init script of each API, by the name of its port.
APIS = {
    'glance': 'glance-api',
    'keystone': 'keystone',
    'neutron': 'neutron-api',
    'nova': 'nova-api',
    'placement': 'placement-api',
}
#: Glance's stores; the first one is the default.
STORES = ('cheap', 'fast', 'reliable')

_CLONE_NEWNET = 0x40000000
# There is no systemd here. Debian's units run the same scripts.
_SYSTEMCTL = """\
#!/bin/sh
action=$1
shift
for name; do service "$name" "$action" || exit; done
"""


class Debian(e2e_site.Site):
    """A root of Debian in which its own services run.

    :param root: an existing directory for what has no place in Debian
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, secrets.token_hex(16), PORTS)

    def environment(self, **more: object) -> dict[str, str]:
        environment = super().environment(**more)
        # What Debian or the package has installed is run, not this checkout.
        del environment['PYTHONPATH']
        environment['PATH'] = os.environ['PATH']
        return environment

    def log(self, name: str) -> Path:
        service = APIS.get(name, name)
        path = Path('/var/log', service.partition('-')[0], f'{service}.log')
        return path if path.exists() else super().log(name)

    def serve(
        self, name: str, application: str = '', **environment: object
    ) -> None:
        """Start an API as Debian does."""
        self.service(APIS[name], 'start')

    def service(self, name: str, action: str) -> None:
        """Have the init script of a service do something."""
        self.run('init', 'service', name, action)

    def append(self, path: str, sections: e2e_site.Sections) -> None:
        """Add settings to the end of a file in /etc: the last one counts."""
        parser = configparser.RawConfigParser()
        parser.read_dict(sections)
        with Path('/etc', path).open('a') as file:
            file.write('\n')
            parser.write(file)

    def run_as(self, user: str, *command: object) -> None:
        """Run a command to its end as a user of Debian's."""
        self.run(str(command[0]), 'runuser', '-u', user, '--', *command)


def start(site: Debian) -> None:
    """Start all services.

    :raises CloudFailed: if one does not come up
    """
    _isolate()
    _configure(site)
    e2e_site.in_parallel(
        lambda: mariadb.start(site),
        lambda: rabbitmq.start(site),
        lambda: libvirt.start(site),
    )
    e2e_site.in_parallel(
        lambda: _start_keystone(site),
        lambda: site.run_as('glance', 'glance-manage', 'db_sync'),
        lambda: _fill_nova(site),
        lambda: site.run_as('placement', 'placement-manage', 'db', 'sync'),
        lambda: site.run_as(
            'neutron', 'neutron-db-manage', 'upgrade', 'heads'
        ),
    )
    for name in ('glance', 'neutron', 'nova', 'placement'):
        site.serve(name)
    for name in ('nova-conductor', 'nova-scheduler'):
        site.service(name, 'start')
    neutron.wait(site)
    for name in ('placement', 'glance', 'nova'):
        site.wait_for_http(name)
    site.service('nova-compute', 'start')
    site.wait('nova-compute', lambda: nova.provides(site))
    site.run_as('nova', 'nova-manage', 'cell_v2', 'discover_hosts')


def _isolate() -> None:
    """Give this process and all that it starts a network of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), 'no network namespace')
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)


def _configure(site: Debian) -> None:
    systemctl = Path('/usr/local/sbin/systemctl')
    systemctl.write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    for api in APIS.values():
        # Nobody needs 16. Each of Neutron's answers 500 once.
        path = Path(f'/etc/{api.partition("-")[0]}/{api}-uwsgi.ini')
        text = path.read_text()
        number = 2 if api == 'nova-api' else 1
        text = re.sub(r'(?m)^processes = \d+$', f'processes = {number}', text)
        path.write_text(text)
    for path, sections in _settings(site).items():
        site.append(path, sections)
    for store in STORES:
        _own(Path('/var/lib/glance', store), 'glance')


def _own(directory: Path, user: str) -> None:
    directory.mkdir(exist_ok=True)
    shutil.chown(directory, user, user)


def _settings(site: Debian) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what each file in /etc is to have besides Debian's own."""
    credentials = site.credentials('nova')
    return {
        'glance/glance-api.conf': {
            'DEFAULT': {
                'enabled_backends': ','.join(f'{s}:file' for s in STORES),
                'workers': 2,
            },
            'database': {'connection': site.database('glance')},
            'glance_store': {'default_backend': STORES[0]},
            'keystone_authtoken': site.authtoken('glance'),
            'paste_deploy': {'flavor': 'keystone'},
            **{
                store: {'filesystem_store_datadir': f'/var/lib/glance/{store}'}
                for store in STORES
            },
        },
        'keystone/keystone.conf': {
            'cache': {'enabled': True, 'backend': 'dogpile.cache.memory'},
            'database': {'connection': site.database('keystone')},
            'identity': {'password_hash_rounds': 4},
        },
        'neutron/neutron.conf': {
            'DEFAULT': {
                'notify_nova_on_port_data_changes': False,
                'notify_nova_on_port_status_changes': False,
                'service_plugins': '',
                'transport_url': site.transport,
            },
            'database': {'connection': site.database('neutron')},
            'keystone_authtoken': site.authtoken('neutron'),
        },
        'neutron/plugins/ml2/ml2_conf.ini': {
            'ml2': {
                'extension_drivers': '',
                'mechanism_drivers': '',
                'tenant_network_types': 'local',
                'type_drivers': 'local',
            },
        },
        'nova/nova.conf': {
            'DEFAULT': {
                'my_ip': e2e_site.LOCALHOST,
                # No guest heeds ACPI here.
                'shutdown_timeout': 1,
                'transport_url': site.transport,
            },
            'api_database': {'connection': site.database('nova_api')},
            'cinder': {'os_region_name': e2e_site.REGION},
            'database': {'connection': site.database('nova')},
            'glance': {'region_name': e2e_site.REGION},
            'keystone_authtoken': site.authtoken('nova'),
            'neutron': credentials,
            'placement': credentials,
            'service_user': {'send_service_user_token': True, **credentials},
            # Nobody looks at a guest's screen.
            'spice': {'enabled': False},
            'vnc': {'enabled': False},
        },
        'nova/nova-compute.conf': {
            'libvirt': {'cpu_mode': 'none', 'virt_type': 'qemu'},
        },
        'placement/placement.conf': {
            'keystone_authtoken': site.authtoken('placement'),
            'placement_database': {'connection': site.database('placement')},
        },
    }


def _start_keystone(site: Debian) -> None:
    who = ('--keystone-user', 'keystone', '--keystone-group', 'keystone')
    site.run_as('keystone', 'keystone-manage', 'db_sync')
    for what in ('fernet_setup', 'credential_setup'):
        site.run('keystone-manage', 'keystone-manage', what, *who)
    url = f'{site.url("keystone")}/v3'
    site.run_as(
        'keystone',
        *('keystone-manage', 'bootstrap'),
        *('--bootstrap-password', site.password),
        *('--bootstrap-region-id', e2e_site.REGION),
        *('--bootstrap-public-url', url),
        *('--bootstrap-internal-url', url),
        *('--bootstrap-admin-url', url),
    )
    keystone.start(site)


def _fill_nova(site: Debian) -> None:
    cell0 = ('--database_connection', site.database('nova_cell0'))
    for arguments in (
        ('api_db', 'sync'),
        ('cell_v2', 'map_cell0', *cell0),
        ('cell_v2', 'create_cell', '--name', 'cell1'),
        ('db', 'sync'),
    ):
        site.run_as('nova', 'nova-manage', *arguments)
