"""A real Nova, without a hypervisor, in the process of the test.

API, conductor, scheduler and one nova-compute run as Nova's own functional
tests run them, with Placement, Neutron and Cinder as those tests have them.
What is real beyond that: the Glance, the disks of the servers, and qemu-img.

Importing this module imports Nova, as `tests.cloud.threads` says.
"""

from __future__ import annotations

# Before anything else that imports Nova, what Nova has to patch, or what keeps
# something of that: the selector of socketserver would block all of eventlet.
from tests.cloud import threads  # noqa: F401

# isort: split

from collections.abc import Iterator
import contextlib
import copy
import functools
import logging
from pathlib import Path
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any
from typing import Callable
from unittest import mock
import uuid
import wsgiref.simple_server

import fixtures
from keystoneauth1 import loading
from nova import context as nova_context
from nova import objects
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.libvirt import base as libvirt_base
import nova.volume.cinder

from nova_multistore.cmd import paste
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import identity
from tests.cloud import quick
from tests.cloud import sqlite

CONF = nova.conf.CONF
HOST = 'compute1'
#: How long any one operation on a server may take, in seconds.
PATIENCE = 120
#: The newest that all supported releases know.
MICROVERSION = '2.93'
# What a disk of this format begins with.
_QCOW2 = b'QFI\xfb'


class NovaFailed(Exception):
    """Raised if a server does not come to the state that was asked for."""


quick.let_workers_sleep()
sqlite.keep_connections()


def register_credentials(section: str) -> None:
    """Let a section of nova.conf have a token as it stands."""
    loading.register_auth_conf_options(CONF, section)
    CONF.register_opts(
        loading.get_auth_plugin_conf_options('admin_token'), section
    )


def credentials(section: str, url: str, token: str) -> dict[str, str]:
    """Return options of nova.conf for that, named as in `Nova.conf`."""
    return {
        f'{section}.auth_type': 'admin_token',
        f'{section}.endpoint': url,
        f'{section}.token': token,
    }


class Nova(fixtures.Fixture):
    """Nova, as one project's member uses it.

    :param root: an existing directory for all that this Nova writes
    :param glance: the Glance to use, already set up
    :param project: the id of the member's project
    :param before_compute: called before each start of nova-compute
    :param small_disks: give a server a disk as large as its image, not 1 GiB
    :param filtered: have the package's filter in nova-api's pipelines
    :param options: further options of nova.conf, as "group.name" or, in
        `[DEFAULT]`, "name"
    """

    def __init__(
        self,
        root: Path,
        glance: cloud_glance.Glance,
        project: str = cloud_glance.PROJECT,
        before_compute: Callable[[], None] = lambda: None,
        small_disks: bool = False,
        filtered: bool = False,
        **options: object,
    ) -> None:
        self.root = Path(root).resolve()
        self.glance = glance
        self.project = project
        self.before_compute = before_compute
        self.small_disks = small_disks
        self.filtered = filtered
        self.options = options
        #: What was logged at INFO and above, since the start.
        self.records: list[logging.LogRecord] = []
        # What is done to each server, None if it is idle, for those who wait
        # for it: a question costs Nova more than the change itself.
        self._tasks: dict[str, str | None] = {}
        self._deleted: set[str] = set()
        # How often one became idle or was deleted.
        self._changes = 0
        self._changed = threading.Condition()

    @property
    def instances(self) -> Path:
        return self.root / 'instances'

    @property
    def paste(self) -> Path:
        """The file with nova-api's pipelines."""
        stock = Path(sys.prefix) / 'etc' / 'nova' / 'api-paste.ini'
        if not self.filtered:
            return stock
        path = self.root / 'api-paste.ini'
        path.write_text(paste.insert(stock.read_text(), paste.FILTERS['nova']))
        return path

    def _setUp(self) -> None:
        for name in ('instances', 'snapshots', 'temporary'):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        # Nova's fixtures keep their databases and locks beneath it.
        self.useFixture(
            fixtures.MonkeyPatch(
                'tempfile.tempdir', str(self.root / 'temporary')
            )
        )
        self.useFixture(quick.PromptMessages())
        self.useFixture(quick.QuickStarts())
        self._case = _Case(self)
        self._case.setUp()
        for name in ('save', 'destroy'):
            self._announce(name)
        handler = _Collector(self.records)
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        self.before_compute()
        self._case.start_compute(HOST)
        if self.small_disks:
            self._create_flavor_without_disk()

    def _announce(self, name: str) -> None:
        """Count the calls of a method after which a server is idle."""
        original = getattr(objects.Instance, name)

        def announced(instance: Any, *args: Any, **kwargs: Any) -> Any:
            changes = instance.obj_what_changed()
            idle = name == 'destroy' or (
                changes & {'task_state', 'vm_state'}
                and instance.task_state is None
            )
            try:
                return original(instance, *args, **kwargs)
            finally:
                with self._changed:
                    if name == 'destroy':
                        self._deleted.add(instance.uuid)
                    elif 'task_state' in changes:
                        self._tasks[instance.uuid] = instance.task_state
                    if idle:
                        self._changes += 1
                        self._changed.notify_all()

        self.useFixture(
            fixtures.MonkeyPatch(f'nova.objects.Instance.{name}', announced)
        )

    def _wait_for_change(self, seen: int) -> bool:
        """Wait until a server is idle or deleted, a second at most.

        :param seen: how often that had happened when the caller looked
        :returns: whether one is
        """
        with self._changed:
            return self._changed.wait_for(
                lambda: self._changes != seen, timeout=1.0
            )

    def _create_flavor_without_disk(self) -> None:
        """Create the flavor that `create_server` takes first."""
        rule = 'os_compute_api:servers:create:zero_disk_flavor'
        self._case.policy.set_rules({rule: '@'}, overwrite=False)
        flavor = {'id': '0', 'ram': 64, 'vcpus': 1, 'disk': 0, 'name': 'small'}
        self._case.admin_api.post_flavor({'flavor': flavor})

    def conf(self, **options: object) -> None:
        """Set options at run time, named as in the constructor."""
        for name, value in options.items():
            group, _, option = name.rpartition('.')
            CONF.set_override(option, value, group or None)

    def restart_compute(self) -> None:
        """Have a new nova-compute take over; the guests run on."""
        compute = self._case.computes[HOST]
        connection = compute.driver._host.get_connection()
        cell = self._case.host_mappings[HOST].cell_mapping.name
        compute.stop()
        del self._case.computes[HOST], self._case.compute_rp_uuids[HOST]
        self.before_compute()
        self._case.start_compute(HOST, cell_name=cell, connection=connection)

    @contextlib.contextmanager
    def second_compute(self, host: str = 'compute2') -> Iterator[str]:
        """Have another nova-compute for a while; they share `nova.conf`.

        :returns: its host
        """
        self._case.start_compute(host)
        admin = self._case.admin_api
        [service] = admin.get_services(host=host, binary='nova-compute')
        admin.put_service(service['id'], {'status': 'enabled'})
        try:
            yield host
        finally:
            # Else the scheduler takes it until it counts as down.
            admin.put_service(service['id'], {'status': 'disabled'})
            self._case.computes.pop(host).stop()
            del self._case.compute_rp_uuids[host]

    @property
    def driver(self) -> Any:
        """What `nova.virt.driver.load_compute_driver` gave nova-compute."""
        return self._case.computes[HOST].driver

    @property
    def api(self) -> Any:
        """Nova's own test client, as the project's member."""
        return self._case.api

    def administrator(self, project: str) -> Any:
        """Nova's own test client, as an administrator of a project."""
        client = copy.copy(self._case.admin_api)
        client.project_id = project
        return client

    @property
    def application(self) -> Any:
        """The API as a WSGI application, for whoever wants to serve it."""
        return self._case.api_fixture.app()

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Serve the API, which takes the tokens that Glance takes.

        :returns: its URL
        """
        application = self.application

        def identified(environ: Any, start_response: Any) -> Any:
            found = identity.identify(environ.get('HTTP_X_AUTH_TOKEN', '::'))
            environ.update(
                HTTP_X_AUTH_USER=found['HTTP_X_USER_ID'],
                HTTP_X_AUTH_PROJECT_ID=found['HTTP_X_PROJECT_ID'],
                HTTP_X_ROLES=found['HTTP_X_ROLES'],
            )
            return application(environ, start_response)

        server = wsgiref.simple_server.make_server(
            '127.0.0.1', 0, identified, _Server, _Quiet
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}/v2.1'
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def log_lines(self, level: int = logging.INFO) -> list[str]:
        """Return the messages that were logged at a level or above."""
        return [
            record.getMessage()
            for record in self.records
            if record.levelno >= level
        ]

    def wait_for_line(self, words: str, level: int = logging.INFO) -> str:
        """Wait until something is logged, and return the message.

        :raises NovaFailed: it is not
        """
        left = patience.Patience(PATIENCE)
        while left:
            lines = self.log_lines(level)
            if found := next((line for line in lines if words in line), None):
                return found
            time.sleep(0.1)
        raise NovaFailed('\n'.join([f'{words!r} is not in:', *lines]))

    def server(self, server_id: str) -> dict[str, Any]:
        """Return a server as the API shows it to an administrator."""
        server: dict[str, Any] = self._case.admin_api.get_server(server_id)
        return server

    def create_server(
        self,
        image_id: str | None = None,
        volume_backed: bool = False,
        name: str = 'server',
        wait: bool = True,
    ) -> str:
        """Boot a server.

        :returns: its id
        """
        request: dict[str, Any] = {
            'name': name,
            'flavorRef': self._smallest_flavor,
            'networks': 'none',
        }
        if volume_backed:
            request['block_device_mapping_v2'] = [
                {
                    'boot_index': 0,
                    'uuid': nova_fixtures.CinderFixture.IMAGE_BACKED_VOL,
                    'source_type': 'volume',
                    'destination_type': 'volume',
                }
            ]
        else:
            request['imageRef'] = image_id
        server_id: str = self.api.post_server({'server': request})['id']
        if wait:
            self.wait(server_id, 'ACTIVE')
        return server_id

    @functools.cached_property
    def _smallest_flavor(self) -> str:
        flavors = self.api.get_flavors()
        return str(min(flavors, key=lambda f: int(f['id']))['id'])

    def delete_server(self, server_id: str) -> None:
        self.api.delete_server(server_id)
        left = patience.Patience(PATIENCE)
        with self._changed:
            while server_id not in self._deleted:
                if not left:
                    raise NovaFailed(f'server {server_id} is not deleted')
                self._changed.wait(1)

    def wait(
        self, server_id: str, status: str | None = None
    ) -> dict[str, Any]:
        """Wait until a server is idle, and in a status if one is given."""
        left = patience.Patience(PATIENCE)
        changed = True
        while left:
            seen = self._changes
            if changed and self._tasks.get(server_id):
                changed = self._wait_for_change(seen)
                continue
            server = self.server(server_id)
            if server['OS-EXT-STS:task_state'] is None:
                if status is None or server['status'] == status:
                    return server
                if server['status'] == 'ERROR':
                    break
            changed = self._wait_for_change(seen)
        server = self.server(server_id)
        raise NovaFailed(
            f'server {server_id} is not {status or "idle"}, but '
            f'{server["status"]}, {server["OS-EXT-STS:task_state"]}: '
            f'{self.faults(server_id)}'
        )

    def wait_until_idle(self) -> None:
        """Wait until no server has anything under way."""
        for server in self.api.get_servers(False):
            self.wait(server['id'])

    def _action(self, server_id: str, action: dict[str, Any]) -> Any:
        return self.api.post_server_action(server_id, action)

    def start_snapshot(
        self, server_id: str, name: str = 'snapshot', **metadata: str
    ) -> str:
        """Ask for a snapshot, and do not wait for it.

        :param metadata: what becomes properties of the image
        :returns: the image's id
        """
        body = {'name': name, 'metadata': metadata}
        answer = self._action(server_id, {'createImage': body})
        image_id: str = answer['image_id']
        return image_id

    def snapshot(
        self, server_id: str, name: str = 'snapshot', **metadata: str
    ) -> str:
        """Take a snapshot, whatever comes of it.

        :returns: the image's id, even if the image is gone
        """
        image_id = self.start_snapshot(server_id, name, **metadata)
        self.wait(server_id)
        return image_id

    def backup(
        self,
        server_id: str,
        rotation: int = 1,
        name: str = 'backup',
        backup_type: str = 'daily',
        **metadata: str,
    ) -> str:
        """Take a backup, whatever comes of it.

        :param rotation: how many backups of the type to keep
        :returns: the image's id, even if the image is gone
        """
        body = {
            'name': name,
            'backup_type': backup_type,
            'rotation': rotation,
            'metadata': metadata,
        }
        backups = [
            image['id']
            for image in self.glance.images(self.project)
            if image.get('image_type') == 'backup'
            and image.get('backup_type') == backup_type
            and image.get('instance_uuid') == server_id
        ]
        answer = self._action(server_id, {'createBackup': body})
        backups.append(answer['image_id'])
        self.wait(server_id)
        # The server is idle before the superfluous backups are deleted. While
        # Glance deletes one, a list may show it without its properties.
        left = patience.Patience(PATIENCE)
        while left:
            backups = [
                backup
                for backup in backups
                if self.glance.image(backup, self.project)
            ]
            if len(backups) <= rotation:
                break
            time.sleep(0.05)
        image_id: str = answer['image_id']
        return image_id

    def shelve(self, server_id: str) -> str:
        """Shelve a server, and offload it.

        :returns: the id of the image that holds its disk
        """
        known = {image['id'] for image in self.glance.images(self.project)}
        self._action(server_id, {'shelve': None})
        self.wait(server_id, 'SHELVED_OFFLOADED')
        images = self.glance.images(self.project)
        (image_id,) = (i['id'] for i in images if i['id'] not in known)
        return str(image_id)

    def unshelve(self, server_id: str) -> None:
        self._action(server_id, {'unshelve': None})
        self.wait(server_id, 'ACTIVE')

    def stop_server(self, server_id: str) -> None:
        self._action(server_id, {'os-stop': None})
        self.wait(server_id, 'SHUTOFF')

    def start_server(self, server_id: str) -> None:
        self._action(server_id, {'os-start': None})
        self.wait(server_id, 'ACTIVE')

    def faults(self, server_id: str) -> list[str]:
        """Return the faults recorded for a server, the newest first.

        :returns: each one's message, and its details on the lines after that
        """
        with self.cell() as context:
            found = objects.InstanceFaultList.get_by_instance_uuids(
                context, [server_id]
            )
        return [f'{fault.message}\n{fault.details or ""}' for fault in found]

    def system_metadata(self, server_id: str) -> dict[str, str]:
        """Return what Nova keeps of a server's image and flavor, and more."""
        with self.cell() as context:
            instance = objects.Instance.get_by_uuid(
                context, server_id, expected_attrs=['system_metadata']
            )
        return dict(instance.system_metadata)

    def write_system_metadata(self, server_id: str, **changed: str) -> None:
        """Change what Nova keeps, as nova-compute may at any time."""
        with self.cell() as context:
            instance = objects.Instance.get_by_uuid(
                context, server_id, expected_attrs=['system_metadata']
            )
            instance.system_metadata.update(changed)
            instance.save()

    def cell(self) -> Any:
        return nova_context.target_cell(
            nova_context.get_admin_context(), self._case.cell_mappings['cell1']
        )

    def disk(self, server_id: str) -> Path:
        """Return the root disk of a server that was booted from an image."""
        return self.instances / server_id / 'disk'

    def _source(self, server_id: str) -> tuple[str, str]:
        """Return the format of a root disk, and its name for qemu."""
        if CONF.libvirt.images_type == 'rbd':
            name = f'{CONF.libvirt.images_rbd_pool}/{server_id}_disk'
            return (
                'raw',
                f'rbd:{name}:conf={CONF.libvirt.images_rbd_ceph_conf}',
            )
        disk = self.disk(server_id)
        with disk.open('rb') as data:
            is_qcow2 = data.read(len(_QCOW2)) == _QCOW2
        return 'qcow2' if is_qcow2 else 'raw', str(disk)

    def write_disk(self, server_id: str, data: bytes, offset: int = 0) -> None:
        """Write to a server's root disk, as its guest would.

        :param data: padded with zeros to whole sectors of 512 bytes
        :param offset: in bytes, a multiple of 512
        """
        disk_format, disk = self._source(server_id)
        padded = data + bytes(-len(data) % 512)
        with tempfile.NamedTemporaryFile(dir=self.root) as source:
            source.write(padded)
            source.flush()
            _run(
                'qemu-io',
                '-f',
                disk_format,
                '-c',
                f'write -s {source.name} {offset} {len(padded)}',
                disk,
            )


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """Says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    """Serves each request in its own thread."""

    daemon_threads = True


class _Case(libvirt_base.ServersTestBase):
    """Nova's functional test base, set up but never run as a test.

    It is the fixture's list of cleanups that takes it down.
    """

    microversion = MICROVERSION

    def __init__(self, cloud: Nova) -> None:
        super().__init__('runTest')
        self._cloud = cloud

    def runTest(self) -> None:
        raise NotImplementedError

    def addCleanup(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        self._cloud.addCleanup(function, *args, **kwargs)

    def setUp(self) -> None:
        self.compute_rp_uuids: dict[str, str] = {}
        with mock.patch.multiple(
            nova_fixtures,
            CellDatabases=quick.CellDatabases,
            GlanceFixture=lambda case: fixtures.Fixture(),
            # It would have the API wait until each snapshot is done.
            CastAsCallFixture=lambda case: fixtures.Fixture(),
        ):
            # Past the class that it is named for, which would mock the disks
            # away; what else that class does is done here.
            super(libvirt_base.ServersTestBase, self).setUp()
        self.useFixture(nova_fixtures.CGroupsFixture())
        self.libvirt = self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(nova_fixtures.OSBrickFixture())
        # In place of the helper that would run as root.
        self.useFixture(nova_fixtures.PrivsepFixture())
        for name, value in (
            (
                'nova.virt.libvirt.LibvirtDriver._get_local_gb_info',
                {'total': 128, 'used': 44, 'free': 84},
            ),
            (
                'nova.virt.libvirt.driver.libvirt_utils.is_valid_hostname',
                True,
            ),
            (
                'nova.virt.libvirt.host.Host.get_online_cpus',
                set(range(16)),
            ),
        ):
            self.useFixture(fixtures.MockPatch(name, return_value=value))
        self.mock_conn = self.useFixture(
            fixtures.MockPatch('nova.virt.libvirt.host.Host.get_connection')
        ).mock
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.api.auth.NovaKeystoneContext._create_context',
                _create_context,
            )
        )
        self._complete_cinder()
        for client in (self.api, self.admin_api):
            client.project_id = self._cloud.project
        self.api.auth_user = self._cloud.project

    def _complete_cinder(self) -> None:
        """Add what Nova's Cinder fixture lacks for a snapshot of a volume."""
        api = nova.volume.cinder.API
        get = api().get

        def described(_: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {'display_description': '', **get(*args, **kwargs)}

        def snapshot(_: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {'id': str(uuid.uuid4()), 'status': 'available'}

        for name, function in (
            ('get', described),
            ('create_snapshot_force', snapshot),
        ):
            self.useFixture(fixtures.MockPatchObject(api, name, function))

    def _setup_services(self) -> None:
        # The first moment at which Nova's options can be set.
        cloud = self._cloud
        cloud.conf(
            **{
                'glance.api_servers': [cloud.glance.url],
                'instances_path': str(cloud.instances),
                'libvirt.snapshots_directory': str(cloud.root / 'snapshots'),
                'wsgi.api_paste_config': str(cloud.paste),
                # Nova's fake libvirt copies no blocks: only with the guest
                # suspended do the bytes of a snapshot come from its disk.
                'workarounds.disable_libvirt_livesnapshot': True,
                'shelved_offload_time': 0,
                **cloud.options,
            }
        )
        super()._setup_services()


class _Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.INFO)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _create_context(
    env: dict[str, Any], **kwargs: Any
) -> nova_context.RequestContext:
    """Make the context of a request, with the token that Glance takes."""
    user = env['HTTP_X_AUTH_USER']
    project = env['HTTP_X_AUTH_PROJECT_ID']
    roles = env['HTTP_X_ROLES'].split(',')
    return nova_context.RequestContext(
        user,
        project,
        is_admin=user == 'admin',
        roles=roles,
        auth_token=cloud_glance.token(project, roles, user),
        **kwargs,
    )


def _run(*command: str) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise NovaFailed(f'{" ".join(command)}: {done.stdout}')
    return done.stdout
