"""A walk through imports into several stores, with the real command.

What it shows is written to the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import json
import os
from pathlib import Path
import random
import re
import shlex
import subprocess
import sys
import textwrap
import threading
from typing import Any

from tests.cloud import ceph as cloud_ceph
from tests.cloud import glance as cloud_glance
from tests.e2e import site as e2e_site
from tests.functional import broken

PAGE = e2e_site.REPOSITORY / 'doc' / 'source' / 'import-guide.txt'
STORES = ('central', 'dcn0', 'dcn1')
#: The page's parts, in their order.
SECTIONS = (
    'failures',
    'several stores',
    'without failures',
    'one store',
    'progress',
    'another store',
)

# What the name of a pool ends with as long as its store takes nothing.
_AWAY = '-away'
_SITE = 'http://images.example.com'
_IMAGE = 'cirros.qcow2'
_UUID = re.compile(r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
# What is said on the way: what of it is seen differs from run to run.
_PROGRESS = re.compile(r'\S+(?: \S+)?: \w+ \(\d+ s\)')


class Guide:
    """Runs the command, and keeps what it shows.

    :param root: an existing directory for all that is written
    :param glance: a Glance that is started in it
    :param ceph: a Ceph with a pool for each store; None if they are files
    """

    def __init__(
        self,
        root: Path,
        glance: cloud_glance.Glance,
        ceph: cloud_ceph.Ceph | None = None,
    ) -> None:
        self._root = root
        self._glance = glance
        self._ceph = ceph
        self._sections: dict[str, list[str]] = {}
        self._lines: list[str] = []
        self._ids: dict[str, str] = {}
        self._uris: dict[str, str] = {}
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
        }

    @property
    def uri(self) -> str:
        """Where the qcow2 file is."""
        return self.held_uri(None)

    def held_uri(self, gate: threading.Event | None) -> str:
        """Return where the qcow2 file is once something has happened."""
        uri = self._glance.serve(self._qcow2, gate)
        self._uris[uri] = f'{_SITE}/{_IMAGE}'
        return uri

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Keep what is shown as a part of the page."""
        self._lines = []
        yield
        self._sections[name] = self._lines

    def write(self) -> None:
        """Write the page, if there is all of it."""
        if set(self._sections) != set(SECTIONS):
            return
        lines = []
        for name in SECTIONS:
            lines += [f'# {name}', *self._sections[name]]
        PAGE.write_text('\n'.join([*lines, '# end', '']))

    def run(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Run the command.

        :param code: the exit code that it must have
        :returns: the state of each store, if it shows that
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('OS_')
        }
        environment.update(
            OS_CLIENT_CONFIG_FILE=str(self._root / 'clouds.yaml'),
            OS_CLOUD='guide',
        )
        done = subprocess.run(
            [Path(sys.executable).with_name('openstack'), *arguments],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout
        line = self._readable(shlex.join(['openstack', *arguments]))
        self._lines.append(_folded(f'$ {line}'))
        self._lines += [
            self._readable(shown)
            for shown in done.stdout.splitlines()
            if not _PROGRESS.fullmatch(shown)
        ]
        if code:
            self._lines += ['$ echo $?', str(code)]
        self._lines.append('')
        return _states(done.stdout)

    def _readable(self, line: str) -> str:
        """Return a line that is the same whenever it is written."""
        for uri, shown in self._uris.items():
            line = line.replace(uri, shown)
        line = line.replace(str(self._root), '/var/lib/glance')
        return _UUID.sub(self._constant, line)

    def _constant(self, found: re.Match[str]) -> str:
        digit = f'{len(self._ids) + 1:x}'
        return self._ids.setdefault(
            found[0], re.sub(r'[0-9a-f]', digit, found[0])
        )

    def image(self, name: str) -> dict[str, Any]:
        """Return the image of this name, as Glance's API has it."""
        [image] = [i for i in self._glance.images() if i['name'] == name]
        return image

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


def _folded(line: str) -> str:
    """Fold a command line as the shell understands it."""
    # No option is parted from its value.
    glued = re.sub(r'( -\S+) (?!-)', '\\1\N{NO-BREAK SPACE}', line)
    pieces = textwrap.wrap(glued, 73, break_on_hyphens=False)
    return ' \\\n    '.join(pieces).replace('\N{NO-BREAK SPACE}', ' ')


def _states(shown: str) -> dict[str, str]:
    """Read the columns "Store" and "State" of a table."""
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in shown.splitlines()
        if line.startswith('|')
    ]
    if not rows or 'State' not in rows[0]:
        return {}
    store, state = rows[0].index('Store'), rows[0].index('State')
    return {row[store]: row[state] for row in rows[1:]}
