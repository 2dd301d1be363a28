"""Glance with four stores."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys

from tests.e2e import ceph
from tests.e2e import site as e2e_site

DEFAULT = 'cheap'


#: The type of each store by its id, in alphabetical order: tempest compares
#: the stores of an image with a sorted list.
STORES = {
    'cheap': 'file',
    'fast': 'rbd',
    'reliable': 'file',
    'web': 'http',
}


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    directory = site.directory('glance')
    etc = Path(sys.prefix) / 'etc' / 'glance'
    shutil.copy(etc / 'glance-api-paste.ini', directory)
    reserved = ('os_glance_staging_store', 'os_glance_tasks_store')
    file_stores = [
        *(store for store, kind in STORES.items() if kind == 'file'),
        *reserved,
    ]
    rbd_options = {
        'rbd_store_ceph_conf': ceph.configuration(site),
        'rbd_store_pool': ceph.IMAGES,
        'rbd_store_user': 'admin',
    }
    site.write(
        directory / 'glance-api.conf',
        {
            'DEFAULT': {
                'enabled_backends': ','.join(
                    f'{store}:{kind}' for store, kind in STORES.items()
                ),
                'enabled_import_methods': (
                    '[glance-direct,web-download,copy-image]'
                ),
                # What a direct snapshot and a clone are made from.
                'show_image_direct_url': True,
                'show_multiple_locations': True,
                'transport_url': site.transport,
            },
            'database': {'connection': site.database('glance')},
            'glance_store': {'default_backend': DEFAULT},
            'import_filtering_opts': {
                'allowed_hosts': f'[{e2e_site.LOCALHOST}]',
                'allowed_ports': f'[{site.ports["web"]}]',
            },
            'keystone_authtoken': site.authtoken('glance'),
            'oslo_concurrency': {'lock_path': directory / 'locks'},
            'paste_deploy': {
                'config_file': directory / 'glance-api-paste.ini',
                'flavor': 'keystone',
            },
            'task': {'work_dir': site.directory('glance', 'work')},
            **{
                store: {
                    'filesystem_store_datadir': site.directory('stores', store)
                }
                for store in file_stores
            },
            **{
                store: rbd_options
                for store, kind in STORES.items()
                if kind == 'rbd'
            },
        },
    )
    site.run(
        'glance-manage',
        site.bin / 'glance-manage',
        '--config-file',
        directory / 'glance-api.conf',
        'db_sync',
    )


def start(site: e2e_site.Site) -> None:
    """Start Glance and wait until it answers."""
    site.serve(
        'glance',
        'glance.wsgi.api:application',
        OS_GLANCE_CONFIG_DIR=site.root / 'glance',
        OS_GLANCE_CONFIG_FILES='glance-api.conf',
    )
    site.wait_for_http('glance', '/versions')
