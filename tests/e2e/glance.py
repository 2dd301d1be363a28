"""Glance with four stores, and further ones on its database.

For a while, it may have a fifth one, in which an image is a volume of Cinder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
import sys

from nova_multistore.cmd import paste
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
#: The store of type cinder.
VOLUMES = 'volumes'
_PASTE = Path(sys.prefix) / 'etc' / 'glance' / 'glance-api-paste.ini'
_RESERVED = ('os_glance_staging_store', 'os_glance_tasks_store')


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    configuration = _configure(site, STORES)
    site.run(
        'glance-manage',
        site.bin / 'glance-manage',
        '--config-file',
        configuration,
        'db_sync',
    )


def _configure(site: e2e_site.Site, stores: Mapping[str, str]) -> Path:
    """Write the configuration.

    :param stores: the type of each store by its id
    """
    options: dict[str, dict[str, object]] = {
        'cinder': _in_cinder(site),
        'file': {},
        'http': {},
        'rbd': {
            'rbd_store_ceph_conf': ceph.configuration(site),
            'rbd_store_pool': ceph.IMAGES,
            'rbd_store_user': 'admin',
        },
    }
    return configure(
        site,
        'glance',
        {
            'DEFAULT': {
                'enabled_backends': ','.join(
                    f'{store}:{kind}' for store, kind in stores.items()
                ),
                'enabled_import_methods': (
                    '[glance-direct,web-download,copy-image]'
                ),
                # What a direct snapshot and a clone are made from.
                'show_image_direct_url': True,
                'show_multiple_locations': True,
            },
            'glance_store': {'default_backend': DEFAULT},
            **{store: options[kind] for store, kind in stores.items()},
            **{
                store: {'filesystem_store_datadir': directory(site, store)}
                for store, kind in stores.items()
                if kind == 'file'
            },
            **site.privsep(
                site.root / 'glance' / 'glance-api.conf', 'privsep_osbrick'
            ),
        },
    )


def _in_cinder(site: e2e_site.Site) -> dict[str, object]:
    """Return the options of a store of type cinder.

    Glance's own user has the volumes, and reads and writes them by librbd.
    """
    credentials = site.credentials('glance')
    return {
        'cinder_catalog_info': 'block-storage::publicURL',
        'cinder_os_region_name': credentials['region_name'],
        'cinder_store_auth_address': credentials['auth_url'],
        'cinder_store_password': credentials['password'],
        'cinder_store_project_name': credentials['project_name'],
        'cinder_store_user_name': credentials['username'],
    }


def directory(site: e2e_site.Site, store: str) -> Path:
    """Return where the files of a store are."""
    return site.directory('stores', store)


def configure(
    site: e2e_site.Site, name: str, sections: e2e_site.Sections
) -> Path:
    """Write the configuration of a Glance on the cloud's database.

    :param name: that its port has
    :param sections: of its stores, and what belongs to them
    """
    home = site.directory(name)
    shutil.copy(_PASTE, home)
    return site.write(
        home / 'glance-api.conf',
        {
            **sections,
            'DEFAULT': {
                'transport_url': site.transport,
                **sections.get('DEFAULT', {}),
            },
            'database': {'connection': site.database('glance')},
            'import_filtering_opts': {
                'allowed_hosts': f'[{e2e_site.LOCALHOST}]',
                'allowed_ports': f'[{site.ports["web"]}]',
            },
            'keystone_authtoken': site.authtoken('glance'),
            'oslo_concurrency': {'lock_path': home / 'locks'},
            'paste_deploy': {
                'config_file': home / 'glance-api-paste.ini',
                'flavor': 'keystone',
            },
            'task': {'work_dir': site.directory(name, 'work')},
            **{
                store: {
                    'filesystem_store_datadir': site.directory(name, store)
                }
                for store in _RESERVED
            },
        },
    )


def start(site: e2e_site.Site, name: str = 'glance') -> None:
    """Start a Glance that was configured, and wait until it answers."""
    site.serve(
        name,
        'glance.wsgi.api:application',
        OS_GLANCE_CONFIG_DIR=site.root / name,
        OS_GLANCE_CONFIG_FILES='glance-api.conf',
        # What os-brick connects with comes from Cinder. A Ceph without keys
        # is found by those who do not ask for encryption.
        CEPH_ARGS='--ms_mon_client_mode=crc',
    )
    site.wait_for_http(name, '/versions')


def restart(
    site: e2e_site.Site, filtered: bool, volumes: bool = False
) -> None:
    """Start Glance again.

    :param filtered: whether it has the package's filter
    :param volumes: whether it has the store of type cinder
    """
    process = site.processes['glance']
    process.terminate()
    process.wait()
    _configure(site, {**STORES, **({VOLUMES: 'cinder'} if volumes else {})})
    text = _PASTE.read_text()
    if filtered:
        text = paste.insert(text, paste.FILTERS['glance'])
    (site.root / 'glance' / _PASTE.name).write_text(text)
    start(site)
