"""A walk through imports into several stores, with the real command.

What it shows is written to the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import http.server
import json
import os
from pathlib import Path
import random
import subprocess
import threading
from typing import Any

from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.command import by_name
from tests.e2e import openstack
from tests.e2e import transcript
from tests.functional import broken

STORES = ('central', 'dcn0', 'dcn1')
#: The page's parts, in their order.
SECTIONS = (
    'failures',
    'several stores',
    'without failures',
    'one store',
    'progress',
    'another store',
    'usage',
    'map',
    'placement',
    'verify',
    'drain',
)

# What the name of a pool ends with as long as its store takes nothing.
_AWAY = '-away'
_SITE = 'http://images.example.com'
_IMAGE = 'cirros.qcow2'


class NoServers(http.server.BaseHTTPRequestHandler):
    """Nova and Cinder of a cloud without servers and volumes."""

    def do_GET(self) -> None:
        path = self.path.partition('?')[0]
        found: dict[str, Any] = {'versions': [self._version()]}
        if path.endswith('/detail'):
            found = {path.split('/')[-2]: []}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _version(self) -> dict[str, Any]:
        """Return the only version of Cinder's API, as Cinder has it."""
        url = f'http://{self.headers["Host"]}/v3/'
        return {
            'id': 'v3.0',
            'status': 'CURRENT',
            'min_version': '3.0',
            'version': '3.70',
            'links': [{'rel': 'self', 'href': url}],
        }

    def log_message(self, *_args: object) -> None:
        pass


class Guide(transcript.Transcript):
    """Runs the command, and knows where images are.

    :param root: an existing directory for all that is written
    :param glance: a Glance that is started in it
    :param servers: URL at which there are no servers and volumes
    :param ceph: a Ceph with a pool for each store; None if they are files
    """

    def __init__(
        self,
        root: Path,
        glance: cloud_glance.Glance,
        servers: str,
        ceph: cloud_ceph.Ceph | None = None,
    ) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('OS_')
        }
        environment.update(
            OS_CLIENT_CONFIG_FILE=str(root / 'clouds.yaml'), OS_CLOUD='guide'
        )
        super().__init__('import-guide.txt', SECTIONS, root, environment)
        self.shown[str(root)] = '/var/lib/glance'
        self._glance = glance
        self._servers = servers
        self._ceph = ceph
        #: What an image holds once it is raw.
        self.data = random.Random(_IMAGE).randbytes(4 << 20)
        self._qcow2 = root / _IMAGE
        raw = root / 'cirros.raw'
        raw.write_bytes(self.data)
        subprocess.run(
            ['qemu-img', 'convert', '-O', 'qcow2', raw, self._qcow2],
            check=True,
        )
        # JSON is YAML.
        (root / 'clouds.yaml').write_text(
            json.dumps({'clouds': {'guide': self._cloud()}})
        )

    def _cloud(self) -> dict[str, Any]:
        token = cloud_glance.token('demo', ('admin', 'member', 'reader'))
        return {
            'auth_type': 'admin_token',
            'auth': {'endpoint': f'{self._glance.url}/v2', 'token': token},
            # What the disks of servers and volumes may be clones of.
            'compute_api_version': '2',
            'compute_endpoint_override': self._servers,
            'block_storage_api_version': '3',
            'block_storage_endpoint_override': self._servers,
        }

    @property
    def uri(self) -> str:
        """Where the qcow2 file is."""
        return self.held_uri(None)

    def held_uri(self, gate: threading.Event | None) -> str:
        """Return where the qcow2 file is once something has happened."""
        uri = self._glance.serve(self._qcow2, gate)
        self.shown[uri] = f'{_SITE}/{_IMAGE}'
        return uri

    def image(self, name: str) -> dict[str, Any]:
        """Return the image of this name, as Glance's API has it."""
        [image] = [i for i in self._glance.images() if i['name'] == name]
        return image

    def ask(self, *arguments: str) -> Any:
        """Run the command for a program; nothing of it is kept.

        :returns: what it answers, from JSON
        """
        done = openstack.run(
            (*arguments, '-f', 'json'), self._environment, self.root
        )
        assert done.returncode == 0, done.stderr
        return by_name(json.loads(done.stdout))

    def images_in(self, store: str) -> list[dict[str, Any]]:
        """Return the images that a store has, as Glance's API has them."""
        return [
            image
            for image in self._glance.images()
            if store in image.get('stores', '').split(',')
        ]

    def lies_in(self, name: str) -> set[str]:
        """Return the stores in which an image is, raw and whole."""
        image = self.image(name)
        listed = self._glance.stores_of(image['id'])
        if self._ceph is None:
            found = self._glance.sha256(image['id'])
        else:
            found = {
                pool.removesuffix(_AWAY): self._ceph.sha256(
                    f'{pool}/{image["id"]}@snap'
                )
                for pool in self._ceph.ceph('osd', 'pool', 'ls').split()
                if image['id'] in self._ceph.images(pool)
            }
        digest = hashlib.sha256(self.data).hexdigest()
        assert found == dict.fromkeys(listed, digest)
        assert image['disk_format'] == 'raw'
        return set(listed)

    def damage(self, name: str, store: str) -> None:
        """Change one bit of one copy of an image."""
        image_id = self.image(name)['id']
        if self._ceph is None:
            self._glance.flip(store, image_id)
        else:
            self._ceph.flip(f'{store}/{image_id}')

    @contextlib.contextmanager
    def broken(self, store: str) -> Iterator[None]:
        """Let a store take nothing."""
        if self._ceph is None:
            with broken(self._glance, store):
                yield
            return
        rename = ('osd', 'pool', 'rename')
        self._ceph.ceph(*rename, store, store + _AWAY)
        try:
            yield
        finally:
            self._ceph.ceph(*rename, store + _AWAY, store)
