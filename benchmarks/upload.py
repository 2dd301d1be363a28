"""Upload files as Nova's drivers do, and print what it took as JSON.

A process of its own for each measurement, so that memory and caches start
from nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import resource
import time
import types
import uuid

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401

# isort: split

from nova import context as nova_context
from nova import objects
import nova.conf
from nova.image import glance
from nova.virt import driver as virt_driver
from nova.virt import fake
from oslo_utils import importutils

from nova_multistore import opts
from nova_multistore.compute import patch
from tests.cloud import glance as cloud_glance


class Driver(fake.FakeDriver):
    """Takes a snapshot of a file, with the requests that libvirt makes."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def snapshot(self, context, instance, image_id, update_task_state):
        api = glance.API()
        api.get(context, image_id)
        metadata = {
            'status': 'active',
            'disk_format': 'raw',
            'container_format': 'bare',
            'properties': {},
        }
        with self._path.open('rb') as image_file:
            api.update(context, image_id, metadata, image_file)


def configure(url: str) -> None:
    """Configure Nova.

    :param url: of Glance
    """
    nova.conf.CONF([], project='nova', default_config_files=[])
    opts.register_opts(nova.conf.CONF)
    nova.conf.CONF.set_override('api_servers', [url], 'glance')
    objects.register_all()


def load(path: pathlib.Path) -> virt_driver.ComputeDriver:
    """Load a driver, as nova-compute does, whose disks are a file."""
    own = Driver(path)
    importutils.import_object = lambda *args: own
    return virt_driver.load_compute_driver(None, 'benchmark')


def requester() -> nova_context.RequestContext:
    """Return the context of a user's request."""
    return nova_context.RequestContext(
        'user',
        cloud_glance.PROJECT,
        auth_token=cloud_glance.token(cloud_glance.PROJECT),
    )


def instance(image_id: str) -> types.SimpleNamespace:
    """Return what is looked at of a server.

    :param image_id: what it was started from
    """
    return types.SimpleNamespace(
        uuid=str(uuid.uuid4()),
        image_ref=image_id,
        task_state='image_snapshot',
        project_id=cloud_glance.PROJECT,
    )


def main() -> None:
    """Take so many snapshots at once of one file."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--glance', required=True)
    parser.add_argument('--path', type=pathlib.Path, required=True)
    parser.add_argument('--base', required=True)
    parser.add_argument('--count', type=int, default=1)
    parser.add_argument('--patched', action='store_true')
    arguments = parser.parse_args()

    configure(arguments.glance)
    if arguments.patched:
        patch.apply()
    driver = load(arguments.path)
    context = requester()
    images = [
        glance.API().create(context, {'name': 'a benchmark'})['id']
        for _ in range(arguments.count)
    ]
    server = instance(arguments.base)

    def snapshot(image_id: str) -> None:
        driver.snapshot(context, server, image_id, lambda **kwargs: None)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(arguments.count) as pool:
        list(pool.map(snapshot, images))
    seconds = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                'seconds': seconds,
                'grown': (after - before) * 1024,
                'images': images,
            }
        )
    )


if __name__ == '__main__':
    main()
