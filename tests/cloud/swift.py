"""A real Swift: its four servers in one process, each on a port of its own.

Nothing is replicated. The directory has to take extended attributes, as ext4
and xfs do.
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import fixtures

from tests.cloud import daemon
from tests.cloud import glance as cloud_glance
from tests.cloud import keystone as cloud_keystone

REPOSITORY = Path(__file__).parents[2]
LOCALHOST = cloud_glance.LOCALHOST
CONTAINER = 'glance'
_DEVICE = 'disk'
_STORAGE = ('account', 'container', 'object')
_OWN_FILTERS = (
    'catch_errors',
    'gatekeeper',
    'keystoneauth',
    'container_quotas',
    'dlo',
)
_PIPELINE = ' '.join(
    (*_OWN_FILTERS[:2], 'authtoken', *_OWN_FILTERS[2:], 'proxy-server')
)


class Swift(fixtures.Fixture):
    """Swift, to be found in Keystone's catalogue.

    :param root: an existing directory for all that it writes
    :param keystone: the Keystone that it asks, already set up
    :param client_timeout: how long it waits for more of a body, in seconds;
        Swift's default is 60
    """

    def __init__(
        self,
        root: Path,
        keystone: cloud_keystone.Keystone,
        client_timeout: float = 60,
    ) -> None:
        self.root = Path(root).resolve()
        self.keystone = keystone
        self.client_timeout = client_timeout
        names = ('proxy', *_STORAGE)
        self.ports = dict(zip(names, cloud_glance.free_ports(len(names))))

    def _setUp(self) -> None:
        (self.root / 'devices' / _DEVICE).mkdir(parents=True)
        self._write()
        self.useFixture(
            daemon.Daemon(
                (sys.executable, '-m', 'tests.cloud.swift_servers', self.root),
                self.root / 'swift.log',
                lambda: daemon.status(self.ports['proxy'], '/info') == 200,
                {'PYTHONPATH': str(REPOSITORY), 'PYTHONWARNINGS': 'ignore'},
            )
        )
        self.keystone.endpoints['object-store'] = (
            f'{self.url}/v1/AUTH_%(project_id)s'
        )

    @property
    def url(self) -> str:
        return f'http://{LOCALHOST}:{self.ports["proxy"]}'

    def account(self, url: str) -> str:
        """Return the URL of the account of Glance.

        :param url: of Swift, or of what stands before it
        """
        return f'{url}/v1/AUTH_service'

    def connection(self) -> Any:
        """Return a connection of swiftclient to the account of Glance."""
        # Who only starts it need not have it.
        import swiftclient

        return swiftclient.Connection(
            preauthurl=self.account(self.url),
            preauthtoken=cloud_glance.token('service', ('admin',)),
        )

    def read(self, image_id: str) -> bytes:
        """Return what the container of Glance has of an image."""
        data: bytes = self.connection().get_object(CONTAINER, image_id)[1]
        return data

    def store(
        self,
        name: str,
        large: int = 2,
        chunk: int = 1,
        container: str = CONTAINER,
        **options: object,
    ) -> dict[str, object]:
        """Return the options of a Glance store that is in it.

        :param name: the store's id; "glance_store" where Glance has no others
        :param large: from which size on an image is a large object, in MiB
        :param chunk: the size of the pieces of a large object, in MiB
        :param options: further options of the store
        """
        references = self.root / f'{name}.conf'
        cloud_glance.write_sections(
            references,
            {
                'here': {
                    'auth_version': 3,
                    'auth_address': self.keystone.url,
                    'user': 'service:glance',
                    'key': 'secret',
                    'user_domain_id': 'default',
                    'project_domain_id': 'default',
                }
            },
        )
        options = {
            'swift_store_config_file': references,
            'default_swift_reference': 'here',
            'swift_store_container': container,
            'swift_store_create_container_on_put': True,
            'swift_store_large_object_size': large,
            'swift_store_large_object_chunk_size': chunk,
            **options,
        }
        return {f'{name}.{key}': value for key, value in options.items()}

    def _write(self) -> None:
        for name, port in self.ports.items():
            sections: dict[str, dict[str, object]] = {
                'DEFAULT': {
                    'bind_ip': LOCALHOST,
                    'bind_port': port,
                    'swift_dir': self.root,
                    'devices': self.root / 'devices',
                    'mount_check': False,
                    'fallocate_reserve': 0,
                    'client_timeout': self.client_timeout,
                    # A test's objects need not survive a power cut.
                    'disable_fallocate': True,
                    'log_name': name,
                },
                'pipeline:main': {'pipeline': f'{name}-server'},
                f'app:{name}-server': {'use': f'egg:swift#{name}'},
            }
            if name == 'proxy':
                sections['pipeline:main']['pipeline'] = _PIPELINE
                sections['app:proxy-server']['account_autocreate'] = True
                for entry in _OWN_FILTERS:
                    sections[f'filter:{entry}'] = {'use': f'egg:swift#{entry}'}
                sections['filter:keystoneauth']['operator_roles'] = 'admin'
                sections['filter:authtoken'] = {
                    'paste.filter_factory': (
                        'keystonemiddleware.auth_token:filter_factory'
                    ),
                    'www_authenticate_uri': self.keystone.url,
                    'delay_auth_decision': True,
                    **self.keystone.credentials('swift'),
                }
            cloud_glance.write_sections(self.root / f'{name}.conf', sections)
        cloud_glance.write_sections(
            self.root / 'swift.conf',
            {'swift-hash': {'swift_hash_path_suffix': 'tests'}},
        )
