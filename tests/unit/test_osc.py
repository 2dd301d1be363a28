"""What the commands make of what the cloud tells."""

from __future__ import annotations

import collections
import importlib.metadata
import io
import json
import re
import types

from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions
import pytest
import requests

from nova_multistore import exception
from nova_multistore import record
from nova_multistore import stores
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import explain
from nova_multistore.osc import plugin
from nova_multistore.osc import snapshot_create
from tests import command as command_line

IMAGE = '11111111-1111-4111-8111-111111111111'
BASE = '22222222-2222-4222-8222-222222222222'
STORES = {
    'stores': [
        {'id': 'cheap', 'default': 'true', 'type': 'file'},
        {
            'id': 'fast',
            'type': 'rbd',
            'properties': {'fsid': 'one', 'pool': 'images'},
        },
        {
            'id': 'far',
            'type': 'rbd',
            'properties': {'fsid': 'two', 'pool': 'images'},
        },
        {'id': 'web', 'read-only': 'true'},
    ]
}


class Cloud:
    """A cloud whose image and server pass through states."""

    def __init__(self, *states, image=BASE, base_stores='far'):
        self.states = list(states)
        self.sent = []
        self._server = {
            'id': 'server-id',
            'name': 'server-name',
            'image': {'id': image} if image else '',
        }
        self._base = {'id': BASE, 'stores': base_stores}

        #: Images of the server, the newest first.
        self.earlier = []
        #: What nova-api says of naming a store, by action.
        self.permissions = collections.defaultdict(
            lambda: osc_cloud.Permission(True)
        )

    @property
    def images(self):
        return types.SimpleNamespace(
            page=lambda instance_uuid: (self.earlier, False)
        )

    def server(self, name_or_id):
        return self._server

    def server_now(self, server_id):
        self.status, task = self.states.pop(0)
        return {'OS-EXT-STS:task_state': task}

    def image(self, image_id):
        if image_id == BASE:
            return self._base
        if self.status is None:
            return None
        found = {'id': image_id, 'name': 'x', 'status': self.status}
        return {**found, 'size': 7, 'stores': 'cheap,fast'}

    def catalogue(self):
        return stores.parse(STORES)

    def may_name_store(self, server_id, action):
        return self.permissions[action]

    def create_image(self, *args):
        self.sent.append(args)
        self.status = 'queued'
        return IMAGE


def run(command, cloud, *args, stderr=None):
    """Run a command, and return what it shows, by column."""
    app = types.SimpleNamespace(
        client_manager=types.SimpleNamespace(multistore=cloud),
        stderr=stderr or io.StringIO(),
    )
    own = command(app, None)
    columns, values = own.take_action(own.get_parser('x').parse_args(args))
    return {
        column: getattr(value, 'human_readable', lambda value=value: value)()
        for column, value in zip(columns, values)
    }


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(snapshot_create, 'PAUSE', 0)


def test_entry_points():
    """They can be loaded; the names are those of the commands."""
    found = [
        entry
        for entry in importlib.metadata.distribution(
            'nova-multistore'
        ).entry_points
        if entry.group.startswith('openstack.')
    ]

    assert {entry.name: entry.load().__name__ for entry in found} == {
        'multistore': 'nova_multistore.osc.plugin',
        'multistore_backup_create': 'CreateBackup',
        'multistore_explain': 'Explain',
        'multistore_image_copy': 'CopyImage',
        'multistore_image_import': 'ImportImage',
        'multistore_image_list': 'ListImages',
        'multistore_image_relocate': 'RelocateImage',
        'multistore_image_show': 'ShowImages',
        'multistore_image_verify': 'VerifyImages',
        'multistore_placement_apply': 'ApplyPlacements',
        'multistore_placement_check': 'CheckPlacements',
        'multistore_placement_plan': 'PlanPlacements',
        'multistore_snapshot_audit': 'AuditSnapshots',
        'multistore_snapshot_create': 'CreateSnapshot',
        'multistore_store_drain': 'DrainStore',
        'multistore_store_list': 'ListStores',
        'multistore_store_map': 'MapStores',
    }


def test_plugin():
    """Its client is the one that it says it is."""
    connection = types.SimpleNamespace(compute=1, image=2)
    instance = types.SimpleNamespace(sdk_connection=connection)

    made = plugin.make_client(instance)

    [path] = plugin.API_VERSIONS.values()
    assert path == f'{type(made).__module__}.{type(made).__name__}'
    assert plugin.build_option_parser(instance) is instance


def test_snapshot():
    cloud = Cloud()

    shown = run(
        snapshot_create.CreateSnapshot,
        cloud,
        'server-name',
        *('--store', 'fast', '--property', 'a=1', '--property', 'b=2'),
    )

    assert cloud.sent == [
        (
            'server-id',
            'createImage',
            {
                'name': 'server-name',
                'store': 'fast',
                'metadata': {'a': '1', 'b': '2'},
            },
        )
    ]
    assert (shown['id'], shown['status']) == (IMAGE, 'queued')


def test_backup():
    cloud = Cloud(('active', None))

    shown = run(
        snapshot_create.CreateBackup,
        cloud,
        'server-name',
        *('--store', 'fast', '--type', 'daily', '--rotate', '2'),
        *('--name', 'x', '--wait'),
    )

    [(_server, action, entity)] = cloud.sent
    assert action == 'createBackup'
    assert entity == {
        'name': 'x',
        'store': 'fast',
        'backup_type': 'daily',
        'rotation': 2,
    }
    assert (shown['status'], shown['stores']) == ('active', 'cheap, fast')


def test_backup_without_a_type():
    """As with openstack server backup create."""
    cloud = Cloud(('active', None))

    run(snapshot_create.CreateBackup, cloud, 's', '--store', 'fast')

    [(_server, _action, entity)] = cloud.sent
    assert (entity['backup_type'], entity['rotation']) == ('', 1)


@pytest.mark.parametrize('store', ['nosuch', 'web'])
def test_store_that_takes_nothing(store):
    """It is an error of usage, as everywhere, and nothing was asked."""
    cloud = Cloud()

    done = command_line.run(
        snapshot_create.CreateSnapshot, cloud, 's', '--store', store
    )

    assert done.code == 2
    assert done.words.endswith('can be written are cheap, fast, far')
    assert cloud.sent == []


def test_time_is_over(monkeypatch):
    """Nova goes on, and it is said how to look again."""
    monkeypatch.setattr(
        snapshot_create.time, 'monotonic', iter(range(0, 999, 9)).__next__
    )
    cloud = Cloud(*[('queued', 'image_uploading')] * 9)

    done = command_line.run(
        snapshot_create.CreateSnapshot,
        cloud,
        *('s', '--store', 'fast', '--wait', '--timeout', '20'),
    )

    assert done.code == 3
    assert done.words == (
        f'image {IMAGE} is queued after 20 seconds; Nova goes on; look again '
        f'with: openstack multistore image show {IMAGE}'
    )
    assert done.rows['status'] == 'queued'


class TestServerThatWasDeleted:
    """Nova may be sending the image still."""

    def wait(self, *states):
        cloud = Cloud(*states)
        server_now = cloud.server_now
        cloud.server_now = lambda server_id: server_now(server_id) and None
        return command_line.run(
            snapshot_create.CreateSnapshot,
            cloud,
            *('s', '--store', 'fast', '--wait', '--timeout', '60'),
        )

    @pytest.mark.parametrize('status', ['queued', 'saving'])
    def test_image_comes(self, status):
        done = self.wait(
            (status, 'gone'), (status, 'gone'), ('active', 'gone')
        )

        assert (done.code, done.words) == (0, '')

    def test_nothing_comes(self, monkeypatch):
        monkeypatch.setattr(snapshot_create, 'PATIENCE', 0.0)

        done = self.wait(*[('queued', 'gone')] * 3)

        assert done.code == 1
        assert done.words.startswith(
            f'image {IMAGE} was not made: it is queued, and its server was '
            'deleted'
        )


def test_help_has_paragraphs(capsys):
    """The title and the rest are apart."""
    with pytest.raises(SystemExit):
        run(explain.Explain, Cloud(), '--help')

    shown = capsys.readouterr().out
    assert 'would go, and why\n\nNothing is created. ' in shown


@pytest.mark.parametrize('rotate', ['0', '-1', 'x', ''])
def test_no_rotation(rotate, capsys):
    """Nova would delete the backup as soon as it is there."""
    with pytest.raises(SystemExit):
        run(
            snapshot_create.CreateBackup,
            Cloud(),
            *('s', '--store', 'x', '--type', 'y', f'--rotate={rotate}'),
        )

    assert 'not a whole number above 0' in capsys.readouterr().err


STATES = [
    ('queued', 'image_pending_upload'),
    ('queued', 'image_pending_upload'),
    ('saving', 'image_uploading'),
    ('active', 'image_uploading'),
]


def test_progress_in_a_file():
    """A line for each state."""
    out = io.StringIO()

    run(
        snapshot_create.CreateSnapshot,
        Cloud(*STATES),
        *('s', '--store', 'fast', '--wait'),
        stderr=out,
    )

    assert out.getvalue().splitlines() == [
        'image: queued, server image_pending_upload (0 s)',
        'image: saving, server image_uploading (0 s)',
        'image: active, server image_uploading (0 s)',
    ]


def test_progress_on_a_terminal(monkeypatch):
    """One line, which changes."""
    monkeypatch.setenv('TERM', 'xterm')
    out = command_line.Terminal()

    run(
        snapshot_create.CreateSnapshot,
        Cloud(*STATES),
        *('s', '--store', 'fast', '--wait'),
        stderr=out,
    )

    last = out.getvalue().rpartition('\r')[2]
    assert 'image active, server image_uploading' in last
    assert last.count('\n') == 1


@pytest.mark.parametrize(
    ('states', 'words'),
    [
        ([('queued', 'image_uploading'), (None, None)], 'it is gone'),
        ([(None, 'image_uploading')], 'it is gone'),
        ([('queued', None)], 'it is queued'),
        ([('killed', 'image_uploading')], 'it is killed'),
    ],
)
def test_snapshot_that_fails(states, words):
    """There is nothing more to wait for."""
    with pytest.raises(exceptions.CommandError, match=words):
        run(
            snapshot_create.CreateSnapshot,
            Cloud(*states),
            *('s', '--store', 'fast', '--wait'),
        )


def test_snapshot_elsewhere():
    """Somebody did not do as told."""
    with pytest.raises(
        exceptions.CommandError, match='is in cheap, fast, not in far'
    ):
        run(
            snapshot_create.CreateSnapshot,
            Cloud(('active', None)),
            *('s', '--store', 'far', '--wait'),
        )


def test_explain():
    """In Ceph or not makes no difference; [glance] store would."""
    shown = run(explain.Explain, Cloud(base_stores='fast,web'), 's')

    assert shown == {
        'server_id': 'server-id',
        'base_image': BASE,
        'base_image_stores': 'fast, web',
        'stores': 'cheap (default), fast, far, web (read-only)',
        'store': 'fast, unless [glance] store names another',
        'reason': '',
        'possibilities': 'fast (base-image): the base image is in it\n'
        'another store (config): [glance] store names it',
        'direct_snapshot': 'not known without --config-file',
        'last_decision': '',
    }


def test_explain_depends_on_the_compute():
    """Each store that is possible is named, and when."""
    shown = run(explain.Explain, Cloud(base_stores='web'), 's')

    assert shown['store'] == (
        'fast on a compute whose disks are in the Ceph of fast, far on a '
        'compute whose disks are in the Ceph of far, otherwise cheap, unless '
        '[glance] store names another'
    )


def machine(*args, cloud=None):
    """Run the command for a program."""
    return command_line.run(explain.Explain, cloud or Cloud(), *args).rows


def test_explain_possibilities_for_a_program():
    shown = machine('s', cloud=Cloud(base_stores='web'))

    assert shown['store'] is None
    base = 'the base image is only in web, where Glance takes no data'
    own = f"this compute's own Ceph store, as {base}"
    assert shown['possibilities'] == [
        {
            'store': 'fast',
            'rule': 'ceph-store',
            'reason': own,
            'condition': 'disks are in the Ceph of fast',
        },
        {
            'store': 'far',
            'rule': 'ceph-store',
            'reason': own,
            'condition': 'disks are in the Ceph of far',
        },
        {
            'store': 'cheap',
            'rule': 'default',
            'reason': base,
            'condition': '',
        },
        {
            'store': None,
            'rule': 'config',
            'reason': '[glance] store names it',
            'condition': '[glance] store names it',
        },
    ]


def test_explain_where_the_places_are_not_known():
    """To a member each store may be the compute's own."""
    cloud = Cloud(base_stores='cheap,far')
    names = [{'id': s['id']} for s in STORES['stores']]
    names[0]['default'] = 'true'
    cloud.catalogue = lambda: stores.parse({'stores': names[:3]})

    shown = run(explain.Explain, cloud, 's')

    # The base image is not in fast: that is no possibility.
    assert shown['store'] == (
        'far on a compute whose disks are in the Ceph of far, otherwise '
        'cheap, unless [glance] store names another'
    )


def test_explain_last_decision():
    """That of the newest image that says what was decided."""
    cloud = Cloud()
    written = {
        'id': IMAGE,
        'created_at': '2026-01-02T00:00:00Z',
        record.RULE: 'ceph-store',
        record.STORE: 'fast',
    }
    cloud.earlier = [{'id': 'stock'}, written, {**written, 'id': 'older'}]

    assert run(explain.Explain, cloud, 's')['last_decision'] == (
        f'fast (ceph-store) for image {IMAGE}, 2026-01-02T00:00:00Z'
    )
    assert machine('s', cloud=cloud)['last_decision'] == {
        'image_id': IMAGE,
        'created_at': '2026-01-02T00:00:00Z',
        'store': 'fast',
        'rule': 'ceph-store',
        'difference': None,
    }


def test_explain_for_a_program():
    """The marks are flags then."""
    value = explain._StoresColumn(list(stores.parse(STORES).stores))

    assert value.machine_readable()[0] == {
        'id': 'cheap',
        'default': True,
        'read_only': False,
    }


@pytest.fixture
def conf(tmp_path):
    """Write a nova.conf."""

    def conf(**sections):
        path = tmp_path / 'nova.conf'
        path.write_text(
            ''.join(f'[{name}]\n{text}\n' for name, text in sections.items())
        )
        return f'--config-file={path}'

    return conf


@pytest.mark.parametrize(
    ('libvirt', 'glance', 'store', 'why', 'direct'),
    [
        ('', '', 'far', 'the base image', 'no, the disks are not in Ceph'),
        ('', 'store = cheap', 'cheap', '[glance] store', 'no, the disks'),
        ('images_type = rbd', '', 'far', 'the base', 'perhaps, if'),
        (
            'images_type = rbd\nimages_rbd_glance_store_name = fast',
            'store = fast',
            'fast',
            '[glance] store',
            'yes, in pool images',
        ),
        (
            'images_type = rbd\nimages_rbd_glance_store_name = fast',
            'store = far',
            'far',
            '[glance] store',
            'no, store far is not in the Ceph of the disks',
        ),
    ],
)
def test_explain_nova_conf(conf, libvirt, glance, store, why, direct):
    shown = run(
        explain.Explain, Cloud(), 's', conf(libvirt=libvirt, glance=glance)
    )

    assert shown['store'] == store
    assert shown['reason'].startswith(why)
    assert shown['direct_snapshot'].startswith(direct)


def test_explain_a_request(conf):
    """It wins over the option."""
    shown = run(
        explain.Explain,
        Cloud(),
        *('s', '--store', 'cheap', conf(glance='store = fast')),
    )

    assert (shown['store'], shown['reason']) == (
        'cheap',
        'the request names it',
    )


def test_explain_policy():
    """nova-api is asked if a store is named, and its words are shown."""
    cloud = Cloud()
    cloud.permissions['createBackup'] = osc_cloud.Permission(False, 'You not.')

    shown = run(explain.Explain, cloud, 's', '--store', 'fast')

    assert shown['policy'] == ('snapshot: allowed\nbackup: refused: You not.')
    assert machine('s', '--store', 'fast', cloud=cloud)['policy'] == [
        {'operation': 'snapshot', 'allowed': True, 'reason': None},
        {'operation': 'backup', 'allowed': False, 'reason': 'You not.'},
    ]


def test_explain_policy_is_not_known():
    cloud = Cloud()
    cloud.permissions['createImage'] = osc_cloud.Permission(None, 'No filter.')

    shown = run(explain.Explain, cloud, 's', '--store', 'fast')

    assert shown['policy'].startswith('snapshot: not known: No filter.\n')


def test_explain_volume_backed():
    """No store can be named, whatever the policy is."""
    shown = run(explain.Explain, Cloud(image=None), 's', '--store', 'fast')

    assert shown['store'] == 'cheap'
    assert 'Cinder' in shown['direct_snapshot']
    assert shown['policy'] == ''


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (('--store', 'fats'), "'fats' is not one of.*cheap, fast, far"),
        (('--store', 'web'), "'web' is read-only"),
        (('--config-file', '/no/such'), '/no/such'),
    ],
)
def test_explain_fails(args, words):
    done = command_line.run(explain.Explain, Cloud(), 's', *args)

    assert done.code == 2
    assert re.search(words, done.words)


class Service:
    """An API that gives the same answer to all that is asked."""

    def __init__(self, status, **body):
        self._answer = requests.Response()
        self._answer.status_code = status
        self._answer.headers['Content-Type'] = 'application/json'
        self._answer.raw = io.BytesIO(json.dumps(body).encode())

    def get(self, path):
        return self._answer

    def post(self, path, json, microversion=None):
        return self._answer


@pytest.mark.parametrize(
    ('status', 'name', 'message', 'words'),
    [
        (404, 'itemNotFound', 'No such store.', r'^No such store\. .*404'),
        (
            400,
            'badRequest',
            "Additional properties ('store' was unexpected)",
            'filter in its pipeline',
        ),
    ],
)
def test_refusal(status, name, message, words):
    """The words are Nova's."""
    fault = {name: {'code': status, 'message': message}}
    connection = types.SimpleNamespace(
        compute=Service(status, **fault), image=None
    )

    with pytest.raises(exceptions.CommandError, match=words):
        osc_cloud.Cloud(connection).create_image('s', 'createImage', {})


@pytest.mark.parametrize(
    ('status', 'allowed', 'words'),
    [
        (404, None, r'No such server\. \(HTTP 404\)'),
        (403, False, r'No such server\.'),
        (400, None, 'does not have .* filter in its pipeline'),
        (503, None, r'No such server\. \(HTTP 503\)'),
    ],
)
def test_permission(status, allowed, words):
    """Only an answer about the store itself says that policy allows it."""
    fault = {'fault': {'code': status, 'message': 'No such server.'}}
    connection = types.SimpleNamespace(
        compute=Service(status, **fault), image=None
    )

    found = osc_cloud.Cloud(connection).may_name_store('s', 'createImage')

    assert found.allowed is allowed
    assert re.fullmatch(f'.*{words}.*', found.reason)


def test_permission_that_makes_an_image():
    """An API that takes such a request is none of Nova's."""
    connection = types.SimpleNamespace(compute=Service(202), image=None)

    with pytest.raises(exception.LookupFailed, match='without a name'):
        osc_cloud.Cloud(connection).may_name_store('s', 'createImage')


def test_no_details():
    """What a member may ask is asked where the details are refused."""

    class Image:
        def get(self, path):
            if path.endswith('detail'):
                return Service(403).get(path)
            return Service(200, **STORES).get(path)

    connection = types.SimpleNamespace(compute=None, image=Image())

    catalogue = osc_cloud.Cloud(connection).catalogue()

    assert catalogue.writable == ('cheap', 'fast', 'far')


def test_failing_glance():
    """It is not taken for one that has nothing."""
    connection = types.SimpleNamespace(compute=None, image=Service(500))

    with pytest.raises(sdk_exceptions.HttpException):
        osc_cloud.Cloud(connection).catalogue()
