"""The cloud: one Nova, and for each configuration a Glance of its own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import functools
import hashlib
import json
import logging
from pathlib import Path
import random
import sqlite3
import subprocess
import tempfile
import time
from typing import Any
from unittest import mock

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova

# isort: split

from nova import service_auth
import nova.conf
from urllib3 import connection
from urllib3 import connectionpool

from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import relocation
from nova_multistore.compute import background
from nova_multistore.compute import failed_image
from nova_multistore.compute import location
from nova_multistore.compute import patch
from nova_multistore.compute import upload
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import haproxy
from tests.cloud import keystone as cloud_keystone
from tests.cloud import s3
from tests.cloud import swift as cloud_swift
from tests.cloud import tls
from tests.twin import knobs
from tests.twin import servers

CONF = nova.conf.CONF
MIB = 1 << 20
#: The project whose images are everyone's.
LIBRARY = 'library'
SERVICE = cloud_glance.token('service', ('member', 'reader', 'service'))
NO_SERVICE = cloud_glance.token('service', ('member', 'reader'))
#: How long something may go on in the background, in seconds.
PATIENCE = 20
#: How long Swift waits for more of a body, in seconds.
SWIFT = 2.0
# How long is waited in the run, in seconds, by the module and its constant.
_SHORTER = (
    (cloud_nova, 'PATIENCE', 30),
    (cloud_glance, 'PATIENCE', 30),
    (upload, 'PAUSE', 0.1),
    (upload, 'HANG', SWIFT / 2),
    (failed_image, 'PAUSE', 0.1),
    (failed_image, 'PATIENCE', PATIENCE / 2),
    (location, 'PATIENCE', PATIENCE / 2),
    (relocation, 'GRACE', 0.5),
)
_PROTECTIONS = {
    'strict': (
        '[^(nova_|owner_|base_image_ref|image_|instance_|user_|boot_|hw_|os_|'
        'min_|img_|backup_|clean_).*]\n'
        'create = admin,member\nread = admin,member,service\n'
        'update = admin,member\ndelete = admin,member\n'
        '[.*]\ncreate = admin\nread = admin,member,service\n'
        'update = admin\ndelete = admin\n'
    ),
    'ours': (
        '[^nova_multistore_.*]\ncreate = admin\nread = @\nupdate = admin\n'
        'delete = admin\n[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n'
    ),
    'nobody': (
        '[^nova_multistore_.*]\ncreate = !\nread = !\nupdate = !\n'
        'delete = !\n[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n'
    ),
}


class World:
    """A Nova that runs on, and what belongs to one configuration.

    :param root: an existing directory for all that is written
    :param stack: takes it down
    :param ceph: the cluster of the disks, None if they are files
    """

    def __init__(
        self, root: Path, stack: contextlib.ExitStack, ceph: Any = None
    ) -> None:
        self._root, self._stack = root, stack
        self._number = 0
        self.ceph = ceph
        self.where = knobs.CEPH if ceph else knobs.FILES
        for module, name, seconds in _SHORTER:
            stack.enter_context(mock.patch.object(module, name, seconds))
        opts.register_opts(CONF)
        for section in (opts.COPY_GROUP, 'service_user'):
            cloud_nova.register_credentials(section)
        (root / 'first').mkdir()
        (root / 'nova').mkdir()
        with cloud_glance.Glance(root / 'first') as glance:
            # It only has to be there while Nova starts.
            self.nova = stack.enter_context(
                cloud_nova.Nova(
                    root / 'nova',
                    glance,
                    small_disks=True,
                    **self._options_of_disks(),
                )
            )
        stack.callback(patch.remove)

    @functools.cached_property
    def s3(self) -> s3.S3:
        """An S3 in the cluster."""
        root = self._root / 's3'
        root.mkdir()
        return self._stack.enter_context(s3.S3(root, self.ceph))

    def _options_of_disks(self) -> dict[str, object]:
        options: dict[str, object] = {'allow_resize_to_same_host': True}
        if self.ceph:
            options.update(
                {
                    **self.ceph.disks('vms'),
                    'workarounds.disable_libvirt_livesnapshot': False,
                }
            )
        return options

    @contextlib.contextmanager
    def cloud(
        self, configuration: Mapping[str, str], patched: bool, seed: int
    ) -> Iterator[Cloud]:
        """Run a Glance and a nova-compute as they are configured.

        :param configuration: knobs that are not at their default
        :param patched: whether nova-compute has the package
        :param seed: of the data
        """
        self._number += 1
        root = self._root / str(self._number)
        root.mkdir()
        set_up = knobs.merged(configuration)
        with contextlib.ExitStack() as stack:
            glance = _Glance(self, root, set_up, patched, stack)
            stack.enter_context(self._configured(set_up, glance, patched))
            cloud = Cloud(self, glance, set_up, patched, seed)
            try:
                yield cloud
            finally:
                cloud.end()

    @contextlib.contextmanager
    def _configured(
        self, set_up: knobs.Value, glance: _Glance, patched: bool
    ) -> Iterator[None]:
        """Have nova.conf and nova-compute as they are to be."""
        options: dict[str, object] = {
            'glance.api_servers': [glance.first.url],
            **set_up.nova,
        }
        token = set_up.world.get('service_token')
        if token:
            options.update(
                cloud_nova.credentials(
                    'service_user',
                    glance.first.url,
                    SERVICE if token is True else NO_SERVICE,
                )
            )
            options['service_user.send_service_user_token'] = True
        if patched:
            options.update(set_up.package)
            if set_up.world.get('credentials'):
                options.update(
                    cloud_nova.credentials(
                        opts.COPY_GROUP, glance.first.url, cloud_glance.ADMIN
                    )
                )
        if set_up.world.get('rbd_download'):
            options.update(
                {
                    'glance.enable_rbd_download': True,
                    'glance.rbd_user': 'admin',
                    'glance.rbd_pool': 'images',
                    'glance.rbd_ceph_conf': str(self.ceph.configuration),
                }
            )
        if set_up.world.get('cafile'):
            options['glance.cafile'] = str(glance.authority.certificate)
        if set_up.world.get('endpoint'):
            [url] = glance.servers
            options.update(
                {'glance.api_servers': None, 'glance.endpoint_override': url}
            )
        before = {name: _option(name) for name in options}
        nova_ = self.nova
        nova_.glance = glance.first
        nova_.conf(**options)
        service_auth.reset_globals()
        lookup.forget()
        nova_.before_compute = patch.apply if patched else patch.remove
        nova_.records.clear()
        nova_.restart_compute()
        try:
            yield
        finally:
            nova_.conf(**before)


def _option(name: str) -> object:
    group, _, option = name.rpartition('.')
    found = CONF[group] if group else CONF
    try:
        return found[option]
    except Exception:
        # Options of credentials are there once there are any.
        return None


class _Glance:
    """One glance-api or several."""

    def __init__(
        self,
        there: World,
        root: Path,
        set_up: knobs.Value,
        patched: bool,
        stack: contextlib.ExitStack,
    ) -> None:
        ceph = there.ceph
        self._root, self._stack, self._world = root, stack, set_up.world
        world = set_up.world
        self._kinds: Iterable[str] = world.get('servers', ('live',))
        default = str(world.get('default', 'cheap'))
        stores = {
            'cheap': str(world.get('cheap', 'file')),
            'fast': 'rbd' if ceph else 'file',
            'reliable': str(world.get('reliable', 'file')),
        }
        if world.get('http'):
            stores = {'web': 'http', **stores}
        options = dict(set_up.glance)
        if ceph:
            _set_clone_format(ceph, world.get('clone_format'))
            options.update(ceph.store('fast', 'images'))
            if world.get('thin'):
                options['fast.rbd_thin_provisioning'] = True
        options.update(self._services(there))
        if world.get('thin'):
            for store, kind in stores.items():
                if kind == 'file':
                    options[f'{store}.filesystem_thin_provisioning'] = True
        multi_store = bool(world.get('multi_store', True))
        if world.get('single') or not multi_store:
            stores = {default: stores[default]}
        if not multi_store:
            options = _without_sections(options, default)
        # It has one store until there is an image.
        self._upgraded = not world.get('upgraded')
        if 'policy' in world:
            options['oslo_policy.policy_file'] = self._write(
                'policy.yaml', json.dumps(world['policy'])
            )
        if 'protection' in world:
            options['property_protection_file'] = self._write(
                'protections.conf', _PROTECTIONS[str(world['protection'])]
            )
        filters = {}
        if patched and world.get('glance_filter'):
            filters = cloud_glance.FILTER
        directory = root / 'glance'
        directory.mkdir()
        kind: type[cloud_glance.Glance] = cloud_glance.Glance
        if world.get('uwsgi'):
            # Where there is none, this is not imported.
            from tests.cloud import uwsgi

            kind = uwsgi.Glance
        self.first = stack.enter_context(
            kind(
                directory,
                stores=stores,
                default=default,
                multi_store=multi_store and self._upgraded,
                show_locations=bool(world.get('show_locations')),
                flavor=str(world.get('flavor', 'keystone')),
                filters=filters,
                workers=int(str(world.get('workers', 1))),
                **options,
            )
        )

    def _services(self, there: World) -> dict[str, object]:
        """Start what Glance needs, and return its options for that."""
        enter = self._stack.enter_context
        limit, swift = self._world.get('limits'), self._world.get('reliable')
        options: dict[str, object] = {}
        if self._world.get('cheap'):
            options.update(there.s3.store('cheap'))
        if not (limit or swift):
            return options
        limits = {
            'image_size_total': limit,
            'image_stage_total': 1000,
            'image_count_total': 1000,
            'image_count_uploading': 1000,
        }
        keystone = enter(cloud_keystone.Keystone(limits=limits))
        if limit:
            options.update(keystone.glance_limits())
        if swift:
            root = self._root / 'swift'
            root.mkdir()
            store = enter(cloud_swift.Swift(root, keystone, SWIFT))
            options.update(store.store('reliable', large=1))
        return options

    def upgrade(self) -> None:
        """Have several stores from now on, if it had one before."""
        if not self._upgraded:
            self._upgraded = True
            self.first.stop()
            self.first.multi_store = True
            self.first.start()

    def _write(self, name: str, text: str) -> Path:
        path = self._root / name
        path.write_text(text)
        return path

    def _beside(self, **options: Any) -> cloud_glance.Glance:
        root = self._root / 'second'
        root.mkdir()
        return self._stack.enter_context(
            servers.Beside(self.first, root, **options)
        )

    @functools.cached_property
    def servers(self) -> list[str]:
        """What nova.conf has for it."""
        return [self._server(kind) for kind in self._kinds]

    def _server(self, kind: str) -> str:
        """Start what is to be an API server, and return its URL."""
        enter, first = self._stack.enter_context, self.first
        if kind == 'balancer':
            second = self._beside()
            return enter(servers.Balancer([first.url, second.url])).url
        if kind in ('haproxy', 'tls'):
            return self._haproxy(secure=kind == 'tls')
        if kind == 'uneven':
            one = self._beside(
                stores={first.default: first.stores[first.default]}
            )
            return enter(servers.Balancer([first.url, one.url])).url
        urls: dict[str, Callable[[], str]] = {
            'live': lambda: first.url,
            'dead': servers.dead,
            'hanging': lambda: enter(servers.Hanging()).url,
            'odd': lambda: enter(servers.Odd()).url,
            'path': lambda: enter(servers.UnderPath(first.url)).url,
            'second': lambda: self._beside().url,
        }
        return urls[kind]()

    def _haproxy(self, secure: bool) -> str:
        """Start one before two glance-api, and return its URL."""
        ports = [self.first.port, self._beside().port]
        root = self._root / 'haproxy'
        root.mkdir()
        certificate = None
        if secure:
            certificate = self.authority.issue('haproxy')
            # In its place, Nova's fixtures have one of wsgi_intercept, which
            # does not take what urllib3 2 says of certificates.
            self._stack.enter_context(
                mock.patch.object(
                    connectionpool.HTTPSConnectionPool,
                    'ConnectionCls',
                    connection.HTTPSConnection,
                )
            )
        return self._stack.enter_context(
            haproxy.HAProxy(root, ports, certificate=certificate)
        ).url

    @functools.cached_property
    def authority(self) -> tls.Authority:
        """The CA of its certificate, if it has one."""
        root = self._root / 'tls'
        root.mkdir()
        return tls.Authority(root)


def _set_clone_format(ceph: Any, number: object) -> None:
    """Say in ceph.conf which format clones get."""
    lines = [
        line
        for line in ceph.configuration.read_text().splitlines()
        if not line.startswith('rbd_default_clone_format')
    ]
    if number:
        lines.append(f'rbd_default_clone_format = {number}')
    ceph.configuration.write_text('\n'.join([*lines, '']))


def _without_sections(
    options: Mapping[str, object], store: str
) -> dict[str, object]:
    """Return a store's options as a Glance with one store has them."""
    return {
        name.replace(f'{store}.', 'glance_store.', 1)
        if name.startswith(f'{store}.')
        else name: value
        for name, value in options.items()
    }


class Cloud:
    """What steps are done to.

    :param seed: of the data
    """

    def __init__(
        self,
        world: World,
        glance: _Glance,
        set_up: knobs.Value,
        patched: bool,
        seed: int,
    ) -> None:
        self._world, self._glance = world, glance
        self.nova, self.glance = world.nova, glance.first
        self.ceph = world.ceph
        self.where = world.where
        self.patched = patched
        self.world = set_up.world
        #: What the package is told in nova.conf, by option.
        self.orders = set_up.package
        self._random = random.Random(seed)
        self._files = Path(glance._root)
        self.nova.api.roles = ['reader', 'member']
        # What is deleted later in another cloud may still be in Ceph.
        self._before = set(self._in_ceph())

    def upgrade(self) -> None:
        self._glance.upgrade()

    def begin(self) -> None:
        """Have the API servers that are configured: servers are there now."""
        if not self.world.get('endpoint'):
            self.nova.conf(**{'glance.api_servers': self._glance.servers})

    def base(self, kind: str) -> str:
        """Create a base image.

        :param kind: one of :data:`.knobs.BASES`
        :returns: its id
        """
        raw = self._files / f'{kind}.raw'
        raw.write_bytes(self._random.randbytes(MIB))
        disk_format = 'raw' if self.ceph or kind == 'raw' else 'qcow2'
        path = raw
        if disk_format == 'qcow2':
            path = raw.with_suffix('.qcow2')
            _convert('raw', str(raw), 'qcow2', path)
        stores = ['fast' if 'fast' in self.glance.stores else 'cheap']
        if len(self.glance.stores) == 1:
            stores = [*self.glance.stores]
        if kind == 'two stores' and len(self.glance.stores) > 1:
            stores.append('cheap')
        properties: dict[str, str] = {}
        if kind == 'properties':
            properties = {
                'hw_disk_bus': 'virtio',
                'os_distro': 'debian',
                **{f'own_{n}': 'x' for n in range(4)},
            }
        visibility = kind if kind in ('public', 'community') else 'private'
        visibility = 'shared' if kind == 'shared' else visibility
        foreign = kind in ('public', 'community', 'shared')
        project = LIBRARY if foreign else cloud_glance.PROJECT
        image_id = self.glance.create_image(
            path,
            stores,
            disk_format,
            name=kind,
            visibility=visibility,
            project=project,
            **properties,
        )
        if kind == 'shared':
            self._share(image_id)
        if kind in ('hidden', 'protected'):
            name = {'hidden': 'os_hidden', 'protected': 'protected'}[kind]
            self.glance.change_image(
                image_id,
                {'op': 'replace', 'path': f'/{name}', 'value': True},
                project=project,
                admin=True,
            )
        return image_id

    def _share(self, image_id: str) -> None:
        path = f'/v2/images/{image_id}/members'
        member = cloud_glance.PROJECT
        self.glance._ask('POST', path, {'member': member}, LIBRARY, True)
        self.glance._ask(
            'PUT', f'{path}/{member}', {'status': 'accepted'}, member
        )

    def write(self, server_id: str) -> None:
        """Write to a server's disk, as its guest does."""
        self.nova.write_disk(
            server_id, self._random.randbytes(MIB // 2), MIB // 4
        )

    def disk(self, server_id: str) -> str:
        """Return the digest of what a server's disk has."""
        if self.ceph:
            return str(self.ceph.sha256(f'vms/{server_id}_disk'))
        path = self.nova.disk(server_id)
        done = subprocess.run(
            ['qemu-img', 'info', '-U', '--output', 'json', path],
            stdout=subprocess.PIPE,
            check=True,
        )
        return self._digest(json.loads(done.stdout)['format'], path)

    def _digest(self, disk_format: str, path: Path) -> str:
        """Return the digest of the content of a disk or an image."""
        with tempfile.NamedTemporaryFile(dir=self._files) as raw:
            _convert(disk_format, str(path), 'raw', Path(raw.name))
            return hashlib.sha256(raw.read()).hexdigest()

    def data(self, image: Mapping[str, Any]) -> str:
        """Return the digest of what a member downloads of an image."""
        status, body = self.glance.request(
            'GET', f'/v2/images/{image["id"]}/file'
        )
        if status != 200:
            return f'{status}'
        if not body:
            return 'empty'
        with tempfile.NamedTemporaryFile(dir=self._files) as file:
            file.write(body)
            file.flush()
            return self._digest(image['disk_format'], Path(file.name))

    def settle(self) -> None:
        """Wait until nothing is done any more."""
        self.nova.wait_until_idle()
        left = patience.Patience(PATIENCE)
        while left:
            if not background.pending() and not any(
                image.get('os_glance_import_task')
                for image in self.glance.images()
            ):
                return
            time.sleep(0.05)

    def left_over(self) -> list[str]:
        """Return what is left in stores once all images are deleted."""
        scrubbed = self._scrubbed()
        found = [
            f'{store}: a file'
            for store, kind in self.glance.stores.items()
            if kind == 'file'
            for path in self.glance.directory(store).iterdir()
            if path.is_file() and path.name not in scrubbed
        ]
        staging = self.glance.directory('os_glance_staging_store')
        found += ['staging: a file' for _ in staging.iterdir()]
        snapshots = self.nova.root / 'snapshots'
        found += ['a snapshot directory' for _ in snapshots.iterdir()]
        found += [
            f'{pool}: an image'
            for pool, name in self._in_ceph()
            if name not in scrubbed and (pool, name) not in self._before
        ]
        return sorted(found)

    def _in_ceph(self) -> list[tuple[str, str]]:
        if not self.ceph:
            return []
        return [
            (pool, name)
            for pool in ('vms', 'images')
            for name in self.ceph.images(pool)
        ]

    def _scrubbed(self) -> set[str]:
        """Return the images whose data Glance deletes some time later."""
        path = self.glance.root / 'glance.sqlite'
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute(
                'SELECT image_id FROM image_locations '
                "WHERE status = 'pending_delete'"
            )
            return {image_id for (image_id,) in rows}

    def warnings(self) -> list[str]:
        """Return what the package said at WARNING and above, unformatted."""
        return [
            f'{record.levelname}: {record.msg}'
            for record in self.nova.records
            if record.levelno >= logging.WARNING
            and record.name.startswith('nova_multistore')
        ]

    def end(self) -> None:
        """Delete what there is."""
        for server in self.nova.api.get_servers(False):
            with contextlib.suppress(Exception):
                self.nova.delete_server(server['id'])
        for image in self.everything():
            if image['protected']:
                self.glance.change_image(
                    image['id'],
                    {'op': 'replace', 'path': '/protected', 'value': False},
                    admin=True,
                )
            self.glance.request(
                'DELETE', f'/v2/images/{image["id"]}', admin=True
            )
        cached = self.nova.instances / '_base'
        if cached.exists():
            for path in cached.iterdir():
                path.unlink()

    def everything(self) -> list[dict[str, Any]]:
        """Return all images, whoever's."""
        found: list[dict[str, Any]] = []
        for hidden in ('false', 'true'):
            query = f'limit=1000&visibility=all&os_hidden={hidden}'
            _, body = self.glance.request(
                'GET', f'/v2/images?{query}', admin=True
            )
            found += json.loads(body)['images']
        return found


def _convert(
    source_format: str, source: str, target_format: str, target: Path
) -> None:
    subprocess.run(
        [
            *('qemu-img', 'convert', '-U', '-f', source_format),
            *('-O', target_format, source, target),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
