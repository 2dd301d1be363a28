"""Cinder: volumes in Ceph, and what is made of them."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys

from tests.e2e import ceph
from tests.e2e import keystone
from tests.e2e import site as e2e_site

_BACKEND = 'ceph'
_PROCESSES = 'cinder-scheduler', 'cinder-volume'


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    directory = site.directory('cinder')
    etc = Path(sys.prefix) / 'etc' / 'cinder'
    for name in ('api-paste.ini', 'resource_filters.json'):
        shutil.copy(etc / name, directory)
    credentials = site.credentials('cinder')
    path = directory / 'cinder.conf'
    site.write(
        path,
        {
            'DEFAULT': {
                'api_paste_config': directory / 'api-paste.ini',
                'enabled_backends': _BACKEND,
                'glance_api_servers': site.url('glance'),
                'image_conversion_dir': site.directory('cinder', 'conversion'),
                'my_ip': e2e_site.LOCALHOST,
                'resource_query_filters_file': (
                    directory / 'resource_filters.json'
                ),
                'state_path': directory,
                'transport_url': site.transport,
            },
            _BACKEND: {
                'rbd_ceph_conf': ceph.configuration(site),
                'rbd_pool': ceph.VOLUMES,
                'volume_backend_name': _BACKEND,
                'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            },
            'coordination': {'backend_url': f'file://{directory}/locks'},
            'database': {'connection': site.database('cinder')},
            'keystone_authtoken': site.authtoken('cinder'),
            'nova': credentials,
            'oslo_concurrency': {'lock_path': directory / 'locks'},
            'service_user': {'send_service_user_token': True, **credentials},
            **site.privsep(path, 'cinder_sys_admin', 'privsep_osbrick'),
        },
    )
    site.run(
        'cinder-manage',
        site.bin / 'cinder-manage',
        *('--config-file', path, 'db', 'sync'),
    )


def start(site: e2e_site.Site) -> None:
    """Start all of Cinder and wait until a volume can be scheduled."""
    directory = site.root / 'cinder'
    # Its API cannot be told where its configuration is: it is where a user has
    # it, in the home directory.
    (site.directory('home') / '.cinder').symlink_to(directory)
    site.serve('cinder', 'cinder.wsgi.api:application')
    for name in _PROCESSES:
        site.start(name, site.bin / name)
    site.wait_for_http('cinder')
    site.wait('cinder-volume', lambda: _is_up(site))


def _is_up(site: e2e_site.Site) -> bool:
    status, _, body = site.request(
        'cinder',
        'GET',
        '/v3/os-services?binary=cinder-volume',
        token=keystone.token(site),
    )
    return status == 200 and [s['state'] for s in body['services']] == ['up']
