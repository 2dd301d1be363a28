"""The main job on real services: where stock Nova and the patched one land.

A real Glance with four stores; Nova's API, conductor, scheduler and
nova-compute in this process, with real qcow2 disks and qemu-img. The filter is
in Glance's pipeline; it acts on a header that stock Nova does not send. Where
Ceph is installed, the same with the disks in a real Ceph; where its gateway
is, too, also with base images in S3 and Swift.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance
from tests.functional import expected_digest

MIB = 1 << 20
OPERATIONS = ('snapshot', 'backup', 'shelve')
ORDERED = 'reliable'


@dataclasses.dataclass(frozen=True)
class Case:
    """A server, and where its snapshots are expected once Nova is patched."""

    server: str
    base_stores: tuple[str, ...]
    expected: str
    store: str | None = None

    @property
    def operations(self) -> tuple[str, ...]:
        # Nova refuses to back a volume-backed server up, and shelves it
        # without an image.
        return OPERATIONS if self.base_stores else OPERATIONS[:1]

    def expects(self, operation: str) -> str:
        """Return the store; an order is not for what Nova keeps to itself."""
        if self.store and operation == 'shelve':
            return self.base_stores[0]
        return self.expected


CASES = (
    Case('alpha', ('reliable',), 'reliable'),
    Case('beta', ('fast',), 'fast'),
    Case('gamma', ('cheap', 'fast'), 'cheap'),
    Case('delta', (), 'cheap'),
    Case('epsilon', ('fast',), ORDERED, store=ORDERED),
)


@dataclasses.dataclass(frozen=True)
class Landing:
    """What became of one snapshot."""

    stores: str
    whole: bool
    why: str


class Demo:
    """One cloud, used first as stock and then patched."""

    def __init__(
        self, root: pathlib.Path, glance: Any, nova: cloud_nova.Nova
    ) -> None:
        self._root = root
        self._glance = glance
        self._nova = nova
        #: Base images, by the stores in which they are.
        self.images = {
            stores: glance.create_image(
                self._base(), stores=stores, name='-'.join(stores)
            )
            for stores in {c.base_stores for c in CASES if c.base_stores}
        }

    def _base(self) -> pathlib.Path:
        path = self._root / 'base.qcow2'
        if not path.exists():
            raw = self._root / 'base.raw'
            raw.write_bytes(os.urandom(8 * MIB))
            subprocess.run(
                ['qemu-img', 'convert', '-O', 'qcow2', raw, path], check=True
            )
        return path

    def run(
        self, name: str, keep: bool = False
    ) -> dict[tuple[str, str], Landing]:
        """Go through all cases.

        :param name: what this Nova is, to show how far it is
        :param keep: whether the servers stay, and run
        :returns: what became of each server's operations
        """
        found = {}
        for case in CASES:
            if name == 'patched':
                self._nova.conf(**{'glance.store': case.store})
            server = self._boot(case)
            for operation in case.operations:
                found[case.server, operation] = self._land(
                    case, server, operation
                )
                print(f'  {name}: {case.server} {operation}', flush=True)
            if not keep:
                self._nova.delete_server(server)
            elif case.base_stores:
                self._nova.unshelve(server)
        return found

    def _boot(self, case: Case) -> str:
        if not case.base_stores:
            return self._nova.create_server(
                volume_backed=True, name=case.server
            )
        server = self._nova.create_server(
            self.images[case.base_stores], name=case.server
        )
        self._nova.write_disk(server, os.urandom(MIB))
        return server

    def _land(self, case: Case, server: str, operation: str) -> Landing:
        disk = self._nova.disk(server)
        digest = expected_digest(disk) if case.base_stores else None
        image_id = getattr(self._nova, operation)(server)
        image = self._glance.image(image_id) or {}
        digests = self._glance.sha256(image_id)
        if digest:
            whole = set(digests.values()) == {digest}
        else:
            whole = image.get('size') == 0
        return Landing(
            ', '.join(digests) or 'nowhere',
            whole and image.get('status') == 'active',
            self._why(image_id),
        )

    def _why(self, image_id: str) -> str:
        """Return the reason that the log gives for an image."""
        for line in self._nova.log_lines():
            if line.startswith(f'Image {image_id} ') and (
                match := re.search(r'goes to .*?: (.*) \[', line)
            ):
                return match[1]
        return 'volume-backed: nova-api makes an empty image'


def table(rows: list[tuple[str, ...]]) -> str:
    """Set rows as a table; the first one is its head."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths))
        for row in rows
    ]
    rule = '  '.join('-' * width for width in widths)
    return '\n'.join(
        line.rstrip() for line in [rule, lines[0], rule, *lines[1:], rule]
    )


def report(stock: Any, patched: Any) -> tuple[str, bool]:
    """Say what landed where.

    :returns: the table, and whether all is as expected
    """
    rows = [
        (
            'server',
            'base image in',
            'operation',
            'stock Nova',
            'patched',
            'why',
        )
    ]
    good = True
    for case in CASES:
        for operation in case.operations:
            before = stock[case.server, operation]
            after = patched[case.server, operation]
            right = after.stores == case.expects(operation)
            good = good and right and before.whole and after.whole
            rows.append(
                (
                    case.server,
                    ', '.join(case.base_stores) or '(a volume)',
                    operation,
                    mark(before, True),
                    mark(after, right),
                    after.why,
                )
            )
    verdict = (
        'Every snapshot is whole, and where it is expected.'
        if good
        else 'NOT ALL IS AS EXPECTED.'
    )
    return (
        f'\n[glance] store = {ORDERED} for epsilon, unset for the rest. '
        f'{verdict}\n{table(rows)}',
        good,
    )


def mark(landing: Landing, right: bool) -> str:
    """Name the store, and what is wrong."""
    text = landing.stores
    if not landing.whole:
        text += ' (NOT WHOLE)'
    if not right:
        text += ' (NOT EXPECTED)'
    return text


def report_ceph() -> tuple[str, bool]:
    """Say what landed where with the disks in Ceph.

    :returns: the table, and whether all is as expected
    """
    from tests.ceph import cloud as ceph_cloud
    from tests.ceph import matrix

    def say(text: str) -> None:
        print(f'  {text}', flush=True)

    objects = shutil.which('radosgw') is not None
    print(
        f'Starting Ceph,{" S3, Swift," * objects} Glance and Nova', flush=True
    )
    with (
        tempfile.TemporaryDirectory(prefix='demo-') as root,
        ceph_cloud.running(pathlib.Path(root), objects=objects) as cloud,
    ):
        bases = [(store,) for store in cloud.objects]
        servers = matrix.Matrix(cloud, (*matrix.BASES, *bases))
        results = servers.run(
            [case for case in matrix.CASES if not case.shown],
            (None, 'second', 'cheap'),
            say,
        )
        further = [matrix.Case(base, False, False) for base in bases]
        results |= servers.run(further, (None,), say)
    good = all(matrix.expected(*what) == r for what, r in results.items())
    verdict = (
        'The same with the disks in Ceph, where fast and second are too: a '
        'clone is made\ninside Ceph, an upload is not.'
        if good
        else 'NOT ALL IS AS EXPECTED with the disks in Ceph.'
    )
    return f'\n{verdict}\n{table(list(matrix.rows(results)))}', good


def configure(directory: pathlib.Path, nova_url: str, glance_url: str) -> str:
    """Write what the `openstack` command has to know.

    :param directory: where to write it
    :returns: the path of a file for a shell to read
    """

    def cloud(user: str, *roles: str) -> dict[str, Any]:
        token = cloud_glance.token(cloud_glance.PROJECT, roles, user)
        return {
            'auth_type': 'admin_token',
            'auth': {'endpoint': f'{glance_url}/v2', 'token': token},
            'compute_endpoint_override': nova_url,
        }

    clouds = {
        'demo': cloud('demo', 'member', 'reader'),
        'admin': cloud('admin', 'admin', 'member', 'reader'),
    }
    path = directory / 'clouds.yaml'
    # JSON is YAML.
    path.write_text(json.dumps({'clouds': clouds}))
    openrc = directory / 'openrc'
    openrc.write_text(
        f'export OS_CLIENT_CONFIG_FILE={path}\n'
        'export OS_CLOUD=demo\n'
        f'export PATH={pathlib.Path(sys.executable).parent}:$PATH\n'
    )
    return str(openrc)


def keep(nova: cloud_nova.Nova, glance: Any, root: pathlib.Path) -> None:
    """Leave it running until it is interrupted."""
    with nova.served() as url:
        print(
            f"""
It is all running until Ctrl-C: nova-compute is patched, and nova-api and
glance-api have the filters. In another shell:

  . {configure(root, url, glance.url)}
  openstack multistore explain alpha
  openstack multistore snapshot create --store reliable --name mine --wait beta
  openstack multistore image show mine
  openstack --os-cloud admin multistore snapshot audit --all-projects

The servers are {', '.join(case.server for case in CASES)}.
Stores, disks and Glance's log are in {root}.""",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def main() -> int:
    """Run the demo.

    :returns: 0 if every snapshot is whole and where it is expected
    """
    parser = argparse.ArgumentParser(prog='demo', description=__doc__)
    parser.add_argument(
        '--keep', action='store_true', help='leave it running at the end'
    )
    arguments = parser.parse_args()
    if shutil.which('qemu-img') is None:
        print(
            'The demo was not run: qemu-img is missing. To get it: '
            'sudo apt-get install qemu-utils',
            file=sys.stderr,
        )
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        # Either takes everything down, wherever it comes.
        signal.signal(number, signal.default_int_handler)
    logging.getLogger('nova.thread_pool_factory').setLevel(logging.WARNING)
    ceph_text, ceph_good = '', True
    if importlib.util.find_spec('rbd') and shutil.which('ceph-mon'):
        ceph_text, ceph_good = report_ceph()
    with contextlib.ExitStack() as stack:
        root = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix='demo-'))
        )
        for name in ('glance', 'nova'):
            (root / name).mkdir()
        print('Starting Glance and Nova', flush=True)
        glance = stack.enter_context(
            cloud_glance.Glance(
                root / 'glance',
                filters=cloud_glance.FILTER,
            )
        )
        stack.callback(patch.remove)
        nova = stack.enter_context(
            cloud_nova.Nova(root / 'nova', glance, filtered=arguments.keep)
        )
        demo = Demo(root, glance, nova)
        stock = demo.run('stock')
        patch.apply()
        nova.restart_compute()
        patched = demo.run('patched', keep=arguments.keep)
        text, good = report(stock, patched)
        if arguments.keep:
            print(text, ceph_text, sep='\n')
            nova.conf(**{'glance.store': None})
            keep(nova, glance, root)
    if not arguments.keep:
        print(text, ceph_text, sep='\n')
    return 0 if good and ceph_good else 1


if __name__ == '__main__':
    sys.exit(main())
