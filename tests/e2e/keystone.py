"""Keystone: who everybody is, and where everything is."""

from __future__ import annotations

import base64
import os
from typing import Any

from tests.e2e import site as e2e_site

#: The type of each service and the path below its port, by its user.
SERVICES = {
    'cinder': ('block-storage', '/v3'),
    'glance': ('image', ''),
    'neutron': ('network', ''),
    'nova': ('compute', '/v2.1'),
    'placement': ('placement', ''),
}
#: A user, its project and its roles, beside admin and the services' own.
DEMO = ('demo', 'demo', ('member',))


def prepare(site: e2e_site.Site) -> None:
    """Write the configuration and fill the database."""
    keys = site.directory('keystone', 'keys')
    for number in range(2):
        key = keys / str(number)
        key.touch(0o600)
        key.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    configuration = site.write(
        site.root / 'keystone' / 'keystone.conf',
        {
            'DEFAULT': {},
            'cache': {'enabled': True, 'backend': 'dogpile.cache.memory'},
            'credential': {'key_repository': keys},
            'database': {'connection': site.database('keystone')},
            'fernet_receipts': {'key_repository': keys},
            'fernet_tokens': {'key_repository': keys},
            # Each command authenticates with a password: that takes time.
            'identity': {'password_hash_rounds': 4},
        },
    )
    manage = (
        site.bin / 'keystone-manage',
        '--config-file',
        configuration,
    )
    url = f'{site.url("keystone")}/v3'
    site.run('keystone-manage', *manage, 'db_sync')
    site.run(
        'keystone-manage',
        *manage,
        'bootstrap',
        '--bootstrap-password',
        site.password,
        '--bootstrap-region-id',
        e2e_site.REGION,
        '--bootstrap-public-url',
        url,
        '--bootstrap-internal-url',
        url,
        '--bootstrap-admin-url',
        url,
    )


def start(site: e2e_site.Site) -> None:
    """Start Keystone, and tell it of the services and the users."""
    site.serve(
        'keystone',
        'keystone.wsgi.api:application',
        OS_KEYSTONE_CONFIG_DIR=site.root / 'keystone',
        OS_KEYSTONE_CONFIG_FILES='keystone.conf',
    )
    site.wait_for_http('keystone', '/v3')
    _Directory(site).fill()
    _write_openrc(site)


def token(
    site: e2e_site.Site, user: str = 'admin', project: str = 'admin'
) -> str:
    """Return a token of a user for a project."""
    status, headers, body = site.request(
        'keystone',
        'POST',
        '/v3/auth/tokens',
        {
            'auth': {
                'identity': {
                    'methods': ['password'],
                    'password': {
                        'user': {
                            'name': user,
                            'domain': {'id': 'default'},
                            'password': site.password,
                        }
                    },
                },
                'scope': {
                    'project': {'name': project, 'domain': {'id': 'default'}}
                },
            }
        },
    )
    if status != 201:
        raise e2e_site.CloudFailed(
            f'no token for {user}: {status} {body}. '
            f'{e2e_site.tail(site.log("keystone"))}'
        )
    return headers['X-Subject-Token']


class _Directory:
    """What Keystone is told."""

    def __init__(self, site: e2e_site.Site) -> None:
        self._site = site
        self._token = token(site)

    def fill(self) -> None:
        roles = {
            role['name']: role['id']
            for role in self._ask('GET', 'roles')['roles']
        }
        service = self._create('project', name='service', domain_id='default')
        users = [(name, service, ('admin', 'service')) for name in SERVICES]
        name, project, granted = DEMO
        demo = self._create('project', name=project, domain_id='default')
        for user, of, names in [*users, (name, demo, granted)]:
            user_id = self._create(
                'user',
                name=user,
                password=self._site.password,
                domain_id='default',
            )
            for role in names:
                self._ask(
                    'PUT', f'projects/{of}/users/{user_id}/roles/{roles[role]}'
                )
        for user, (kind, path) in SERVICES.items():
            service_id = self._create('service', name=user, type=kind)
            for interface in ('public', 'internal', 'admin'):
                self._create(
                    'endpoint',
                    interface=interface,
                    region_id=e2e_site.REGION,
                    service_id=service_id,
                    url=f'{self._site.url(user)}{path}',
                )

    def _create(self, what: str, **attributes: Any) -> str:
        body = self._ask('POST', f'{what}s', {what: attributes})
        identifier: str = body[what]['id']
        return identifier

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        status, _, answer = self._site.request(
            'keystone', method, f'/v3/{path}', body, self._token
        )
        if status >= 400:
            raise e2e_site.CloudFailed(
                f'keystone: {method} {path}: {status} {answer}. '
                f'{e2e_site.tail(self._site.log("keystone"))}'
            )
        return answer


def _write_openrc(site: e2e_site.Site) -> None:
    site.openrc.touch(0o600)
    settings = {
        'OS_AUTH_URL': f'{site.url("keystone")}/v3',
        'OS_IDENTITY_API_VERSION': '3',
        'OS_PASSWORD': site.password,
        'OS_PROJECT_DOMAIN_NAME': 'Default',
        'OS_PROJECT_NAME': 'admin',
        'OS_REGION_NAME': e2e_site.REGION,
        'OS_USERNAME': 'admin',
        'OS_USER_DOMAIN_NAME': 'Default',
    }
    lines = [f'export {name}={value}' for name, value in settings.items()]
    site.openrc.write_text(
        '\n'.join(
            [
                '# For a user who is no admin: OS_USERNAME=demo, '
                'OS_PROJECT_NAME=demo.',
                *lines,
                f'export PATH={site.bin}:$PATH',
                '',
            ]
        )
    )
