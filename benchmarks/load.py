"""Many snapshots at once, with faults: what comes of them, and what it costs.

Each compute is a process with Nova's own code: its Glance client, its driver's
base class, and the decorator that deletes the image of a failed snapshot. All
use one Glance, through a proxy that fails some of their requests.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time

from tests.chaos import faults
from tests.cloud import glance as cloud_glance

MIB = 1 << 20
#: What a request is for, by its method and path without ids.
_KINDS = {
    ('GET', '/v2/info/stores'): 'lists of stores',
    ('POST', '/v2/images//import'): 'copies asked for',
    ('GET', '/v2/images/'): 'looks at an image',
    ('PUT', '/v2/images//file'): 'uploads',
    ('PATCH', '/v2/images/'): 'changes of properties',
    ('DELETE', '/v2/images/'): 'deletions',
}


def compute(arguments: argparse.Namespace) -> dict[str, object]:
    """Be one compute: take all of its snapshots at once."""
    # Before anything else that imports Nova, or what Nova has to patch.
    from benchmarks import upload

    # isort: split

    from nova.compute import manager
    import nova.conf
    from nova.image import glance

    from nova_multistore import opts
    from nova_multistore.compute import background
    from nova_multistore.compute import patch
    from tests.cloud import nova as cloud_nova

    class Manager:
        """What of nova-compute's manager takes a snapshot."""

        def __init__(self) -> None:
            self.driver = upload.load(arguments.path)
            self.image_api = glance.API()

        @manager.delete_image_on_error
        def snapshot(self, context, image_id, instance):
            self.driver.snapshot(context, instance, image_id, lambda **_: None)

    upload.configure(arguments.glance)
    if not arguments.stock:
        patch.apply()
        cloud_nova.register_credentials(opts.COPY_GROUP)
        options = cloud_nova.credentials(
            opts.COPY_GROUP, arguments.glance, cloud_glance.ADMIN
        )
        for name, value in options.items():
            group, _, option = name.partition('.')
            nova.conf.CONF.set_override(option, value, group)
        nova.conf.CONF.set_override(
            'copy_to', arguments.copy_to, opts.COPY_GROUP
        )
    own = Manager()
    images = sys.stdin.readline().split()
    threads: collections.Counter[str] = collections.Counter()
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(0.05):
            now = collections.Counter(
                thread.name for thread in threading.enumerate()
            )
            for name, number in now.items():
                threads[name] = max(threads[name], number)

    threading.Thread(target=count).start()

    def take(image_id: str) -> None:
        # What has become of the image is asked later.
        with contextlib.suppress(Exception):
            own.snapshot(
                upload.requester(), image_id, upload.instance(arguments.base)
            )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(images)) as pool:
        list(pool.map(take, images))
    seconds = time.monotonic() - begin
    while background.pending():
        time.sleep(0.05)
    ended.set()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        'seconds': seconds,
        'all seconds': time.monotonic() - begin,
        'grown': (after - before) * 1024,
        'threads': {
            name: number
            for name, number in threads.items()
            if name.startswith('multistore')
        },
    }


def run(arguments: argparse.Namespace, root: pathlib.Path) -> None:
    """Have computes take snapshots, and print what came of them."""
    data = random.Random(arguments.seed).randbytes(arguments.size * MIB)
    path = root / 'data'
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    (root / 'glance').mkdir()
    with (
        cloud_glance.Glance(root / 'glance', workers=2) as glance,
        faults.Chaos(glance.url, arguments.seed, arguments.rate) as proxy,
    ):
        base = glance.create_image(b'a base image', disk_format='raw')
        computes = [
            subprocess.Popen(
                [
                    *(sys.executable, '-W', 'ignore', '-m', 'benchmarks.load'),
                    *('--compute', '--glance', proxy.url),
                    *('--path', str(path), '--base', base),
                    *('--copy-to', *arguments.copy_to),
                    *(['--stock'] if arguments.stock else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
                text=True,
            )
            for _ in range(arguments.computes)
        ]
        images = [
            [glance.create_queued_image() for _ in range(arguments.snapshots)]
            for _ in computes
        ]
        proxy.begin(1)
        found = _take(computes, images)
        came = _judge(glance, [*itertools.chain(*images)], digest)
        requests: collections.Counter[str] = collections.Counter()
        for (method, path_), number in proxy.requests.items():
            requests[_KINDS.get((method, path_), f'{method} {path_}')] += (
                number
            )
        met = sum(proxy.kinds.values())
    print(
        f'{arguments.computes * arguments.snapshots} snapshots of '
        f'{arguments.size} MiB, {arguments.computes} computes, '
        + ('stock Nova' if arguments.stock else 'with the package')
        + (f', copied to {arguments.copy_to}' if arguments.copy_to else '')
    )
    for what, number in sorted(came.items()):
        print(f'  {what}: {number}')
    total = sum(requests.values())
    print(f'  requests: {total}, of which {met} met a fault')
    for what, number in requests.most_common():
        print(f'    {what}: {number / sum(came.values()):.2f} a snapshot')
    for what in ('seconds', 'all seconds', 'grown'):
        print(f'  {what}, at most: {max(f[what] for f in found):.1f}')
    print(f'  threads of each compute: {[f["threads"] for f in found]}')


def _take(
    computes: list[subprocess.Popen[str]], images: list[list[str]]
) -> list[dict[str, float]]:
    for process, own in zip(computes, images):
        assert process.stdin
        process.stdin.write(' '.join(own) + '\n')
        process.stdin.flush()
    found = []
    for process in computes:
        out, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f'a compute ended with {process.returncode}')
        found.append(json.loads(out.splitlines()[-1]))
    return found


def _judge(
    glance: cloud_glance.Glance, images: list[str], digest: str
) -> collections.Counter[str]:
    came: collections.Counter[str] = collections.Counter()
    for image_id in images:
        image = glance.image(image_id)
        if image is None:
            came['failed, and nothing is left'] += 1
        elif image['status'] != 'active':
            came[f'left: {image["status"]}'] += 1
        else:
            have = glance.sha256(image_id)
            listed = image['stores'].split(',')
            whole = all(have.get(store) == digest for store in listed)
            word = 'whole' if whole else 'other bytes'
            came[f'{word}, in {len(listed)} stores'] += 1
    return came


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(prog='load', description=__doc__)
    parser.add_argument('--computes', type=int, default=10)
    parser.add_argument('--snapshots', type=int, default=50)
    parser.add_argument('--size', type=int, default=1, metavar='MIB')
    parser.add_argument('--rate', type=float, default=0.1)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--copy-to', nargs='*', default=[])
    parser.add_argument('--stock', action='store_true')
    parser.add_argument('--compute', action='store_true')
    parser.add_argument('--glance')
    parser.add_argument('--path', type=pathlib.Path)
    parser.add_argument('--base')
    arguments = parser.parse_args()
    if arguments.compute:
        print(json.dumps(compute(arguments)))
        return
    with tempfile.TemporaryDirectory(prefix='load-') as root:
        run(arguments, pathlib.Path(root))


if __name__ == '__main__':
    main()
