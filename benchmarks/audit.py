"""What an audit, and other lists, cost beside the listing that Glance makes.

The images are records in Glance's database, with no data behind them. Each
measurement is a process of its own, so that memory starts from nothing.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import pathlib
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import types
from typing import Any
import urllib.request
import uuid

from tests.cloud import glance as cloud_glance

MIB = 1 << 20
GIB = 1 << 30
STORES = {'central': 'file', 'dcn0': 'file', 'dcn1': 'file'}
BASES = 50
TOKEN = cloud_glance.token(cloud_glance.PROJECT, ('admin', 'member', 'reader'))
#: How the audit lists them.
QUERIES = [
    f'image_type={kind}&os_hidden={hidden}'
    for kind in ('snapshot', 'backup')
    for hidden in ('false', 'true')
]
#: One of a hundred lacks a copy.
PLACEMENTS = """
placements:
- {name: copies, images: all, stores: [central, dcn0]}
"""
# Where a page ends, there is where the next one begins.
NEXT = re.compile(rb'"next": "([^"]+)"')


class Records:
    """Images in the database of a Glance.

    :param glance: the Glance
    """

    def __init__(self, glance: cloud_glance.Glance) -> None:
        self._path = glance.root / 'glance.sqlite'
        self._bases = [
            glance.create_image(
                b'a base image', stores=['dcn0'], disk_format='raw'
            )
            for _ in range(BASES)
        ]
        self._random = random.Random(1)
        self._count = 0

    def fill(self, count: int) -> None:
        """See that there are so many snapshots and backups.

        Each has a record of its decision; one of a hundred lacks a copy.
        """
        numbers = range(self._count, count)
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            for number in numbers:
                self._insert(database, number)
            database.commit()
            database.execute('ANALYZE')
        self._count = count

    def _insert(self, database: sqlite3.Connection, number: int) -> None:
        image_id = self._uuid()
        made = f'2026-01-01 00:00:{number % 60:02}.{number:06}'
        database.execute(
            'INSERT INTO images (id, name, size, virtual_size, status, '
            'created_at, updated_at, deleted, disk_format, container_format, '
            'checksum, os_hash_algo, os_hash_value, owner, min_disk, min_ram, '
            'protected, visibility, os_hidden) VALUES (?, ?, ?, ?, '
            "'active', ?, ?, 0, 'qcow2', 'bare', ?, 'sha512', ?, ?, 1, 0, 0, "
            "'private', 0)",
            (
                image_id,
                f'nightly {number}',
                GIB,
                4 * GIB,
                made,
                made,
                self._hex(32),
                self._hex(128),
                cloud_glance.PROJECT,
            ),
        )
        stores = ['dcn0'] if number % 100 == 0 else ['dcn0', 'central']
        database.executemany(
            'INSERT INTO image_locations (image_id, value, meta_data, status, '
            "created_at, updated_at, deleted) VALUES (?, ?, ?, 'active', ?, "
            '?, 0)',
            [
                (
                    image_id,
                    f'file:///stores/{store}/{image_id}',
                    json.dumps({'store': store}),
                    made,
                    made,
                )
                for store in stores
            ],
        )
        properties = {
            'image_type': 'backup' if number % 10 == 0 else 'snapshot',
            'instance_uuid': self._uuid(),
            'base_image_ref': self._bases[number % BASES],
            'user_id': self._hex(32),
            'owner_id': self._hex(32),
            'image_location': 'snapshot',
            'image_state': 'available',
            'boot_roles': 'member,reader',
            'hw_disk_bus': 'virtio',
            'hw_machine_type': 'q35',
            'os_distro': 'debian',
            'nova_multistore_decided_store': 'dcn0',
            'nova_multistore_rule': 'base-image',
            'nova_multistore_copy_to': 'central',
        }
        database.executemany(
            'INSERT INTO image_properties (image_id, name, value, created_at, '
            'updated_at, deleted) VALUES (?, ?, ?, ?, ?, 0)',
            [
                (image_id, name, value, made, made)
                for name, value in properties.items()
            ],
        )

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _hex(self, digits: int) -> str:
        return f'{self._random.getrandbits(4 * digits):0{digits}x}'


def listing(url: str, decode: bool) -> int:
    """Read all pages of what the audit lists, and do nothing with them.

    :returns: how many there were, if they are decoded
    """
    count = 0
    for query in QUERIES:
        path = f'/v2/images?limit=1000&{query}'
        while path:
            request = urllib.request.Request(
                url + path, headers={'X-Auth-Token': TOKEN}
            )
            with urllib.request.urlopen(request) as answer:
                body = answer.read()
            if decode:
                count += len(json.loads(body)['images'])
            found = NEXT.search(body, max(0, len(body) - 1000))
            path = found[1].decode() if found else ''
    return count


def connect(url: str) -> Any:
    """Return what the commands ask."""
    from keystoneauth1 import session as ks_session
    from keystoneauth1 import token_endpoint
    import openstack.connection

    from nova_multistore.osc import cloud as osc_cloud

    return osc_cloud.Cloud(
        openstack.connection.Connection(
            session=ks_session.Session(auth=token_endpoint.Token(url, TOKEN)),
            # Nova is not asked: each image says what was decided.
            compute_endpoint_override=url,
            compute_api_version='2',
            image_endpoint_override=url,
            image_api_version='2',
        )
    )


def run(url: str, command: Any, *arguments: str) -> int:
    """Run a command that lists something.

    :returns: how many rows there were
    """
    app = types.SimpleNamespace(
        client_manager=types.SimpleNamespace(multistore=connect(url)),
        stderr=io.StringIO(),
    )
    listed = command(app, None)
    parser = listed.get_parser('listed')
    with tempfile.TemporaryFile('w+') as app.stdout:
        assert listed.run(parser.parse_args([*arguments, '-f', 'csv'])) < 2
        app.stdout.seek(0)
        return sum(1 for _ in app.stdout) - 1


def audit(url: str) -> int:
    """Audit all of them.

    :returns: how many problems there were
    """
    from nova_multistore.osc import snapshot_audit

    return run(url, snapshot_audit.AuditSnapshots, '--all-projects')


def usage(url: str) -> int:
    """Count what each store has."""
    from nova_multistore.osc import store_list

    return run(url, store_list.ListStores, '--all-projects')


def plan(url: str) -> int:
    """Plan for all of them."""
    from nova_multistore.osc.placement import plan as placement_plan

    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as file:
        file.write(PLACEMENTS)
        file.flush()
        return run(url, placement_plan.PlanPlacements, file.name)


def _peak() -> int:
    """Return the most memory that this process has had, in bytes.

    What getrusage tells may be that of the process that started it.
    """
    status = pathlib.Path('/proc/self/status').read_text()
    found = re.search(r'VmHWM:\s+(\d+) kB', status)
    assert found
    return int(found[1]) * 1024


def measure(*arguments: str) -> dict[str, Any]:
    """Do one of them in a process of its own.

    :returns: how many there were, seconds, also on the processor, and the
        peak of memory in bytes
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'benchmarks.audit', *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(
    root: pathlib.Path, counts: tuple[int, int] = (10_000, 100_000)
) -> list[tuple[str, ...]]:
    """Audit few and many images.

    :param root: an existing directory for all that is written
    :param counts: how many images
    :returns: rows of name, the listing alone, the audit, and ratio
    """
    (root / 'glance').mkdir()
    rows, peaks = [], []
    with cloud_glance.Glance(
        root / 'glance', stores=STORES, default='central'
    ) as glance:
        records = Records(glance)
        for count in counts:
            records.fill(count)
            url = '--glance', glance.url
            # Once for nothing: Glance and its database warm up.
            measure(*url, 'decoded')
            bare = measure(*url, 'listing')
            decoded = measure(*url, 'decoded')
            glance.forget_requests()
            audited = measure(*url, 'audit')
            asked = collections.Counter(
                request.path.partition('?')[0] for request in glance.requests()
            )
            # The listing; once, the stores and whether the user may list all.
            assert asked.pop('/v2/images') >= count // 1000
            assert sum(asked.values()) <= 4, asked
            assert decoded['count'] == count
            assert audited['count'] == count // 100
            peaks.append(audited['peak'])
            for name, alone in (
                ('the listing', bare),
                ('the listing, decoded', decoded),
            ):
                rows.append(
                    (
                        f'audit of {count:,} images, over {name}',
                        f'{alone["seconds"]:.1f} s',
                        f'{audited["seconds"]:.1f} s',
                        f'{audited["seconds"] / alone["seconds"]:.3f}',
                    )
                )
            rows.append(
                (
                    f'audit of {count:,} images, images per second',
                    f'{count / bare["seconds"]:,.0f}',
                    f'{count / audited["seconds"]:,.0f}',
                    f'{bare["seconds"] / audited["seconds"]:.3f}',
                )
            )
            rows.append(
                (
                    f'audit of {count:,} images, time on the processor',
                    f'{decoded["processor"]:.1f} s',
                    f'{audited["processor"]:.1f} s',
                    f'{audited["processor"] / decoded["processor"]:.3f}',
                )
            )
    few, many = peaks
    rows.append(
        (
            f'memory of an audit, {counts[1]:,} images over {counts[0]:,}',
            f'{few / MIB:.1f} MiB',
            f'{many / MIB:.1f} MiB',
            f'{many / few:.3f}',
        )
    )
    return rows


def main() -> None:
    """Do one of them, and print what it took as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        'what', choices=['listing', 'decoded', 'audit', 'usage', 'plan']
    )
    parser.add_argument('--glance', required=True)
    arguments = parser.parse_args()
    begin = time.monotonic()
    commands = {'audit': audit, 'usage': usage, 'plan': plan}
    if arguments.what in commands:
        count = commands[arguments.what](arguments.glance)
    else:
        count = listing(arguments.glance, arguments.what == 'decoded')
    seconds = time.monotonic() - begin
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                'count': count,
                'seconds': seconds,
                'processor': spent.ru_utime + spent.ru_stime,
                'peak': _peak(),
            }
        )
    )


if __name__ == '__main__':
    main()
