"""A small fake of Keystone's API v3, for services that must ask it.

It takes the tokens of `tests.cloud.identity`, and gives such ones: they say
whose they are. It has a catalogue and unified limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import http.server
import json
from typing import Any
from urllib import parse

import fixtures

from tests.cloud import server as cloud_server

#: The domain of all users and projects.
DOMAIN = {'id': 'default', 'name': 'Default'}
REGION = 'RegionOne'
#: The roles of whoever comes with a password, whatever that is.
ROLES = ('admin', 'member', 'reader', 'service')
_EXPIRES = '2100-01-01T00:00:00.000000Z'
_ISSUED = '2020-01-01T00:00:00.000000Z'


class Keystone(fixtures.Fixture):
    """Keystone.

    :param endpoints: URLs by type of service; "%(project_id)s" in one is the
        project of the token
    :param limits: what each project may have, by resource
    """

    def __init__(
        self,
        endpoints: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.endpoints = dict(endpoints or {})
        #: They may be changed at any time.
        self.limits = dict(limits or {})
        #: What a project may have instead, by project and resource.
        self.project_limits: dict[tuple[str, str], int] = {}
        #: Users whose password is wrong.
        self.refused: set[str] = set()

    def _setUp(self) -> None:
        keystone = self

        class Handler(_Handler):
            owner = keystone

        root = self.useFixture(cloud_server.Server(Handler)).url
        #: Where services find it.
        self.url = f'{root}/v3'

    def credentials(self, user: str = 'glance') -> dict[str, str]:
        """Return the options of a service of OpenStack that asks it.

        :param user: the service's user
        """
        return {
            'auth_type': 'password',
            'auth_url': self.url,
            'username': user,
            'password': 'secret',
            'project_name': 'service',
            'user_domain_id': DOMAIN['id'],
            'project_domain_id': DOMAIN['id'],
        }

    def glance_limits(self) -> dict[str, object]:
        """Return the options of a Glance that goes by the limits."""
        options = {**self.credentials(), 'endpoint_id': 'image'}
        return {
            'use_keystone_limits': True,
            **{f'oslo_limit.{name}': value for name, value in options.items()},
        }

    # The answers. The id of an endpoint and of a service is its type.

    def token(self, token: str) -> dict[str, Any] | None:
        """Return what Keystone knows of a token."""
        try:
            user, project, roles = token.split(':')
        except ValueError:
            return None
        return {
            'methods': ['password'],
            'user': {'id': user, 'name': user, 'domain': DOMAIN},
            'project': {'id': project, 'name': project, 'domain': DOMAIN},
            'roles': [{'id': r, 'name': r} for r in roles.split(',')],
            'expires_at': _EXPIRES,
            'issued_at': _ISSUED,
            'audit_ids': [user],
            'catalog': [
                {
                    'id': kind,
                    'type': kind,
                    'name': kind,
                    'endpoints': [
                        {
                            **self._endpoint(kind, interface),
                            'url': url % {'project_id': project},
                        }
                        for interface in ('public', 'internal', 'admin')
                    ],
                }
                for kind, url in {
                    'identity': self.url,
                    **self.endpoints,
                }.items()
            ],
        }

    def _endpoint(self, kind: str, interface: str) -> dict[str, Any]:
        return {
            'id': kind,
            'interface': interface,
            'region': REGION,
            'region_id': REGION,
            'service_id': kind,
            'url': self.endpoints.get(kind, self.url),
            'enabled': True,
        }

    def _limits(self, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        for name, limit in self.limits.items():
            if query.get('resource_name', name) == name:
                yield {
                    'id': name,
                    'resource_name': name,
                    'default_limit': limit,
                    'service_id': 'image',
                    'region_id': REGION,
                }

    def _project_limits(
        self, query: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        for (project, name), limit in self.project_limits.items():
            if (
                query.get('project_id', project) == project
                and query.get('resource_name', name) == name
            ):
                yield {
                    'id': f'{project}-{name}',
                    'project_id': project,
                    'resource_name': name,
                    'resource_limit': limit,
                    'service_id': 'image',
                    'region_id': REGION,
                }

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """Answer a question that needs no body; None if there is nothing."""
        version = {
            'id': 'v3.14',
            'status': 'stable',
            'links': [{'rel': 'self', 'href': self.url}],
            'media-types': [],
        }
        answers = {
            '': lambda: {'versions': {'values': [version]}},
            '/v3': lambda: {'version': version},
            '/v3/limits': lambda: {
                'limits': [*self._project_limits(query)],
            },
            '/v3/limits/model': lambda: {
                'model': {'name': 'flat', 'description': ''}
            },
            '/v3/registered_limits': lambda: {
                'registered_limits': [*self._limits(query)],
            },
            '/v3/endpoints/image': lambda: {
                'endpoint': self._endpoint('image', 'public')
            },
        }
        found = answers.get(path.rstrip('/'))
        return found and found()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Keystone
    protocol_version = 'HTTP/1.1'

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = parse.urlsplit(self.path)
        if url.path == '/v3/auth/tokens':
            self._tell_token(self.headers.get('X-Subject-Token', ''), 200)
            return
        found = self.owner.answer(url.path, dict(parse.parse_qsl(url.query)))
        # Like Keystone, it shows the versions as a choice.
        self._answer(300 if found and 'versions' in found else 200, found)

    def do_POST(self) -> None:
        length = int(self.headers.get('Content-Length') or 0)
        body = json.loads(self.rfile.read(length) or '{}')
        if parse.urlsplit(self.path).path != '/v3/auth/tokens':
            self._answer(200, None)
            return
        user = body['auth']['identity']['password']['user']
        if user.get('name') in self.owner.refused:
            error = {'code': 401, 'message': 'The password is wrong.'}
            self._answer(401, {'error': error})
            return
        project = body['auth'].get('scope', {}).get('project', {})
        names = [
            each.get('name') or each.get('id') or 'service'
            for each in (user, project)
        ]
        self._tell_token(f'{":".join(names)}:{",".join(ROLES)}', 201)

    def _tell_token(self, token: str, status: int) -> None:
        known = self.owner.token(token)
        self._answer(status, known and {'token': known}, token)

    def _answer(self, status: int, body: Any, token: str = '') -> None:
        if body is None:
            status, body = 404, {'error': {'code': 404, 'message': 'no'}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        if token:
            self.send_header('X-Subject-Token', token)
        self.end_headers()
        self.wfile.write(data)
