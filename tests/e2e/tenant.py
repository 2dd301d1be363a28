"""Somebody who uses the cloud, through the command and through its APIs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
from pathlib import Path
import shlex
import time
from typing import Any

from tests import patience
from tests.e2e import keystone
from tests.e2e import mariadb
from tests.e2e import openstack
from tests.e2e import site as e2e_site
from tests.e2e import web

#: How long anything may take, in seconds.
PATIENCE = 180
#: How long to wait before it is asked again, in seconds.
INTERVAL = 1
#: The same where it is known whether it has changed.
LONGEST = 10
#: How often to see whether it has changed, in seconds.
OFTEN = 0.2
# What changes whenever an image, or a server, does.
_IMAGE = """
    SELECT status, updated_at FROM glance.images WHERE id = %s
    UNION ALL SELECT name, deleted_at
    FROM glance.image_properties WHERE image_id = %s
    UNION ALL SELECT status, deleted_at
    FROM glance.image_locations WHERE image_id = %s
"""
_SERVER = """
    SELECT vm_state, task_state, deleted FROM nova.instances WHERE uuid = %s
    UNION ALL SELECT vm_state, task_state, deleted
    FROM nova_cell0.instances WHERE uuid = %s
"""


class Tenant:
    """A user in the project of the same name.

    What is done is done with the real command. What came of it is asked of
    the APIs.

    :param name: "admin" or "demo", who has the role member alone
    """

    def __init__(self, site: e2e_site.Site, name: str) -> None:
        self._site = site
        self.token = keystone.token(site, name, name)
        self.name = name

    def openstack(self, *arguments: str) -> str:
        """Run the command.

        :returns: its output
        :raises CloudFailed: if it fails
        """
        environment = self._site.environment()
        for line in self._site.openrc.read_text().splitlines():
            name, _, value = line.removeprefix('export ').partition('=')
            if name.startswith('OS_'):
                environment[name] = value
        environment['OS_USERNAME'] = self.name
        environment['OS_PROJECT_NAME'] = self.name
        done = openstack.run(arguments, environment, merged=True)
        if done.returncode:
            raise e2e_site.CloudFailed(
                f'openstack {shlex.join(arguments)}: {done.stdout}'
            )
        return done.stdout

    def create(self, *arguments: str) -> Any:
        """Run the command to make something.

        :returns: what it shows then, from JSON
        :raises CloudFailed: if it fails
        """
        output = self.openstack(*arguments, '-f', 'json')
        # Some say before how far they are.
        return json.loads(output[output.index('{') :])

    def ask(
        self,
        service: str,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a service one request.

        :returns: the answer's body
        :raises CloudFailed: if it says no
        """
        status, _, answer = self._site.request(
            service, method, path, body, self.token, headers
        )
        if status >= 400:
            raise e2e_site.CloudFailed(
                f'{service}: {method} {path}: {status} {answer}'
            )
        return answer

    def image(self, image_id: str) -> Any:
        """Return an image, None if it is not there."""
        return self._find('glance', f'/v2/images/{image_id}')

    def server(self, server_id: str) -> Any:
        """Return a server, None if it is not there."""
        body = self._find('nova', f'/v2.1/servers/{server_id}')
        return body and body['server']

    def wait_for_image(
        self, what: str, image_id: str, done: Callable[[Any], bool]
    ) -> Any:
        """Wait until an image is as it should be, as `wait_for` does."""
        return wait_for(
            what,
            lambda: self.image(image_id),
            done,
            lambda: mariadb.rows(self._site, _IMAGE, *[image_id] * 3),
        )

    def wait_for_server(
        self, what: str, server_id: str, done: Callable[[Any], bool]
    ) -> Any:
        """Wait until a server is as it should be, as `wait_for` does."""
        return wait_for(
            what,
            lambda: self.server(server_id),
            done,
            lambda: mariadb.rows(self._site, _SERVER, *[server_id] * 2),
        )

    def _find(self, service: str, path: str) -> Any:
        status, _, body = self._site.request(
            service, 'GET', path, token=self.token
        )
        return None if status == 404 else body

    def images(self, **filters: str) -> list[Any]:
        """Return the images that have these values."""
        query = '&'.join(
            ['limit=1000', *(f'{k}={v}' for k, v in filters.items())]
        )
        images: list[Any] = self.ask('glance', 'GET', f'/v2/images?{query}')[
            'images'
        ]
        return images

    def upload(self, name: str, store: str, path: Path) -> str:
        """Make a public image of a raw file in one store.

        :returns: the image's id
        """
        image_id: str = self.ask(
            'glance',
            'POST',
            '/v2/images',
            {
                'name': name,
                'disk_format': 'raw',
                'container_format': 'bare',
                'visibility': 'public',
            },
        )['id']
        if store == 'web':
            # Nobody can upload to it: it is told of what is there.
            (web.directory(self._site) / image_id).hardlink_to(path)
            self.ask(
                'glance',
                'POST',
                f'/v2/images/{image_id}/locations',
                {'url': f'{self._site.url("web")}/{image_id}'},
            )
        else:
            self.ask(
                'glance',
                'PUT',
                f'/v2/images/{image_id}/file',
                path.read_bytes(),
                {'X-Image-Meta-Store': store},
            )
        self.wait_for_image(
            f'image {name}',
            image_id,
            lambda image: image['status'] == 'active',
        )
        return image_id


def wait_for(
    what: str,
    get: Callable[[], Any],
    done: Callable[[Any], bool],
    watch: Callable[[], object] | None = None,
) -> Any:
    """Wait until something is as it should be.

    :param what: its name, for the error
    :param watch: what is cheaper than to get it, and returns something else
        once it has changed
    :returns: what it is then
    :raises CloudFailed: if it takes too long
    """
    left = patience.Patience(PATIENCE)
    while True:
        seen = watch and watch()
        found = get()
        if done(found):
            return found
        if not left:
            raise e2e_site.CloudFailed(f'{what} after {PATIENCE} s: {found!r}')
        if watch is None:
            time.sleep(INTERVAL)
            continue
        again = time.monotonic() + LONGEST
        while watch() == seen and time.monotonic() < again:
            time.sleep(OFTEN)
