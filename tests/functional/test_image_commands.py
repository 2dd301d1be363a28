"""The commands for images in several stores, on the real Glance."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import threading
import time

from glance.policies import base as glance_policies
import pytest

from nova_multistore import copies
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_import
from nova_multistore.osc import image_list
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_show
from nova_multistore.osc import store_drain
from nova_multistore.osc import store_list
from tests import command
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional import broken
from tests.functional import connect
from tests.functional import notes
from tests.functional import small

MIB = 1 << 20
FILES = ['central', 'dcn0', 'dcn1', 'dcn2']
DATA = os.urandom(3 * MIB)
PARALLEL = {'image_import_opts.max_parallel_stores': 3}
HAS_PARALLEL = importlib.util.find_spec(
    'glance.async_.flows.parallel_api_image_import'
)


@pytest.fixture(scope='module')
def cloud(sites):
    return connect(sites.url)


@pytest.fixture(scope='module')
def member(sites):
    return connect(sites.url, cloud_glance.token())


@pytest.fixture
def run(cloud):
    """Run a command as an administrator."""
    return lambda which, *args: command.run(which, cloud, *args)


@pytest.fixture
def uri(sites):
    return sites.serve(DATA)


def make(glance, *names, **properties):
    return glance.create_image(
        DATA, stores=names, disk_format='raw', **properties
    )


def in_stores(*names):
    return [word for name in names for word in ('--store', name)]


def new(result):
    """Return the id of the image that a command is about."""
    [image_id] = {row['image_id'] for row in result.rows}
    return image_id


def whole(glance, image_id, *names, data=DATA):
    """See that an image is in these stores, whole, and nowhere else."""
    assert sorted(glance.stores_of(image_id)) == sorted(names)
    files = glance.files(image_id)
    assert set(files) == set(names)
    assert all(path.read_bytes() == data for path in files.values())


class TestImport:
    def test_uri(self, sites, member, uri):
        """A user who is no administrator may; each change is a line."""
        result = command.run(
            image_import.ImportImage,
            member,
            *('several', '--uri', uri, *in_stores('dcn1', 'central')),
            *('--wait', '--disk-format', 'raw'),
        )

        assert result.code == 0, result.words
        assert result.states == {'dcn1': 'done', 'central': 'done'}
        whole(sites, new(result), 'central', 'dcn1')
        image = sites.image(new(result))
        assert (image['name'], image['disk_format']) == ('several', 'raw')
        lines = result.progress.splitlines()
        assert {line.split(' (')[0] for line in lines} >= {
            'central: done',
            'dcn1: done',
        }
        assert len(set(lines)) == len(lines)

    def test_all_stores(self, sites, run, uri):
        """What is read-only is none of them."""
        result = run(
            image_import.ImportImage,
            *('all', '--uri', uri, '--all-stores', '--wait'),
        )

        assert result.code == 0, result.words
        whole(sites, new(result), *FILES)

    def test_file(self, sites, run, tmp_path):
        """Its length is announced."""
        path = tmp_path / 'image.raw'
        path.write_bytes(DATA)
        sites.forget_requests()

        result = run(
            image_import.ImportImage,
            *('file', '--file', str(path), *in_stores('dcn0', 'dcn2')),
            *('--disk-format', 'raw', '--wait'),
        )

        assert result.code == 0, result.words
        whole(sites, new(result), 'dcn0', 'dcn2')
        [stage] = [r for r in sites.requests() if r.path.endswith('/stage')]
        assert stage.content_length == len(DATA)
        assert not stage.chunked
        assert f'{path}: sent' in result.progress

    def test_not_waited_for(self, sites, run):
        """The order is that of the request, as is Glance's."""
        gate = threading.Event()
        uri = sites.serve(DATA, gate)

        result = run(
            image_import.ImportImage,
            *('later', '--uri', uri, *in_stores('dcn1', 'dcn0')),
        )
        deadline = time.monotonic() + cloud_glance.PATIENCE
        while True:
            shown = run(image_show.ShowImages, new(result))
            if 'copying' in shown.states.values():
                break
            assert time.monotonic() < deadline
        gate.set()
        waited = run(image_show.ShowImages, new(result), '--wait')

        assert result.code == shown.code == waited.code == 0
        assert set(result.states) == {'dcn0', 'dcn1'}
        assert shown.states == {'dcn1': 'copying', 'dcn0': 'waiting'}
        assert waited.states == {'dcn1': 'done', 'dcn0': 'done'}
        whole(sites, new(result), 'dcn0', 'dcn1')

    @pytest.mark.skipif(not HAS_PARALLEL, reason='needs Glance 33 or later')
    def test_side_by_side(self, tmp_path):
        """Each look shows what Glance does, and nothing as missing."""
        path = tmp_path / 'image.raw'
        with path.open('wb') as data:
            data.truncate(256 * MIB)
        wanted = ('central', 'dcn0', 'dcn1')
        with cloud_glance.Glance(
            tmp_path,
            stores=dict.fromkeys(wanted, 'file'),
            default='central',
            **PARALLEL,
        ) as glance:
            cloud = connect(glance.url)
            begun = command.run(
                image_import.ImportImage,
                cloud,
                *('x', '--file', str(path), '--all-stores'),
            )
            follower = copies.Follower(cloud.images, new(begun), wanted)
            looks = []
            while not follower.settled:
                looks.append({c.state.value for c in follower.look()})
            end = follower.look()

        assert [c.state for c in end] == [copies.State.DONE] * 3
        assert not [look for look in looks if 'missing' in look]
        # Before the first is done, Glance does not tell how many it copies
        # to.
        assert not [look for look in looks if {'done', 'waiting'} <= look]

    @pytest.mark.parametrize('source', ['uri', 'file'])
    def test_failure_allowed(self, sites, run, uri, tmp_path, source):
        """The exit code tells it, and the words what to do."""
        with broken(sites, 'dcn0'):
            result = run(
                image_import.ImportImage,
                *('some', *self.source(source, uri, tmp_path)),
                *(*in_stores('central', 'dcn0', 'dcn1'), '--wait'),
            )

        assert result.code == 3
        assert result.states == {
            'central': 'done',
            'dcn0': 'failed',
            'dcn1': 'done',
        }
        image_id = new(result)
        whole(sites, image_id, 'central', 'dcn1')
        command_line = (
            f'openstack multistore image copy {image_id} --store dcn0'
        )
        assert result.words.endswith(command_line)
        again = run(image_copy.CopyImage, *command_line.split()[4:], '--wait')
        assert again.code == 0
        whole(sites, image_id, 'central', 'dcn0', 'dcn1')

    @pytest.mark.parametrize('source', ['uri', 'file'])
    def test_failure_disallowed(self, sites, run, uri, tmp_path, source):
        """It is nowhere, and why is said, and what to do."""
        with broken(sites, 'dcn0'):
            result = run(
                image_import.ImportImage,
                *('none', *self.source(source, uri, tmp_path)),
                *(*in_stores('central', 'dcn0', 'dcn1'), '--wait'),
                '--disallow-failure',
            )

        assert result.code == 1
        image_id = new(result)
        assert result.states['dcn0'] == 'failed'
        assert 'done' not in result.states.values()
        assert 'is in no store: Task failed' in result.words
        assert result.words.endswith(f'openstack image delete {image_id}')
        assert sites.stores_of(image_id) == []
        assert sites.files(image_id) == {}
        sites.delete_image(image_id)

    @staticmethod
    def source(source, uri, tmp_path):
        if source == 'uri':
            return ['--uri', uri]
        (tmp_path / 'data').write_bytes(DATA)
        return ['--file', str(tmp_path / 'data'), '--disk-format', 'raw']

    def test_data_that_are_not_there(self, sites, run, uri):
        result = run(
            image_import.ImportImage,
            *('no data', '--uri', f'{uri}x', '--all-stores', '--wait'),
        )

        assert result.code == 1
        assert set(result.states.values()) == {'failed'}
        assert 'is in no store: Task failed' in result.words

    @pytest.mark.parametrize(
        ('args', 'words'),
        [
            (['--store', 'nosuch'], 'central, dcn0, dcn1, dcn2'),
            (['--store', 'central', '--store', 'web'], 'is read-only'),
            ([], ''),
            (['--store', 'central', '--all-stores'], ''),
            (['--all-stores', '--file', 'x'], ''),
            (['--all-stores', '--timeout', '0'], ''),
            (
                ['--all-stores', '--allow-failure', '--disallow-failure'],
                '',
            ),
        ],
    )
    def test_usage(self, sites, run, uri, args, words):
        """Nothing is made."""
        images = sites.images()

        result = run(image_import.ImportImage, 'x', '--uri', uri, *args)

        assert result.code == 2
        assert words in result.words
        assert sites.images() == images

    @pytest.mark.parametrize(
        ('args', 'words'),
        [
            (['--uri', 'http://127.0.0.1:9/'], 'does not pass filtering'),
            (['--file', '/no/such'], '/no/such'),
            (['--file', '/dev/null'], 'is not a regular file'),
            (['--disk-format', 'nosuch', '--uri', 'x'], 'nosuch'),
        ],
    )
    def test_refused(self, sites, run, args, words):
        """Nothing is left."""
        images = sites.images()

        result = run(image_import.ImportImage, 'x', *args, '--all-stores')

        assert (result.code, result.rows) == (1, [])
        assert words in result.words
        assert sites.images() == images

    def test_time_is_over(self, sites, run):
        """It is said how to look again."""
        gate = threading.Event()
        uri = sites.serve(DATA, gate)

        result = run(
            image_import.ImportImage,
            *('slow', '--uri', uri, '--all-stores', '--wait'),
            *('--timeout', '1'),
        )

        assert result.code == 3
        assert 'Glance goes on' in result.words
        gate.set()
        again = result.words.partition('openstack multistore image show ')[2]
        assert run(image_show.ShowImages, *again.split()).code == 0

    @pytest.mark.parametrize(
        'fault',
        [cloud_proxy.Cut(MIB), cloud_proxy.Answer(503)],
        ids=['cut', 'unavailable'],
    )
    def test_data_on_their_way(self, sites, tmp_path, fault):
        """Half a file is not sent as if it were one."""
        (tmp_path / 'data').write_bytes(DATA)
        with cloud_proxy.Proxy(sites.url) as proxy:
            proxy.fail('PUT', '/stage$', fault)
            result = command.run(
                image_import.ImportImage,
                connect(proxy.url),
                *('cut', '--file', str(tmp_path / 'data'), '--all-stores'),
                *('--disk-format', 'raw'),
            )
            met = proxy.met

        assert (met, result.code) == (1, 1)
        image_id = result.words.rpartition(' ')[2]
        assert result.words.endswith(f'openstack image delete {image_id}')
        assert sites.image(image_id)['status'] != 'active'
        sites.delete_image(image_id)

    def test_answer_that_is_lost(self, sites, uri):
        """The import has begun: it is waited for as if it had come."""
        with cloud_proxy.Proxy(sites.url) as proxy:
            proxy.fail('POST', '/import$', cloud_proxy.LoseAnswer())
            result = command.run(
                image_import.ImportImage,
                connect(proxy.url),
                *('lost', '--uri', uri, '--all-stores', '--wait'),
            )
            met = proxy.met

        assert (met, result.code) == (1, 0), result.words
        whole(sites, new(result), *FILES)

    def test_store_that_is_full(self, tmp_path, request):
        """It is found out half-way."""
        mount = small(tmp_path / 'stores' / 'dcn0', 2)
        if subprocess.run([*mount, 'true'], check=False).returncode:
            request.config.stash[notes] += [
                'No full store: unshare -rm is not allowed here.'
            ]
            pytest.skip('unshare -rm is not allowed here')
        tmp_path.chmod(0o755)
        with cloud_glance.Glance(
            tmp_path,
            stores={'central': 'file', 'dcn0': 'file'},
            default='central',
            launcher=mount,
        ) as glance:
            result = command.run(
                image_import.ImportImage,
                connect(glance.url),
                *('full', '--uri', glance.serve(DATA), '--all-stores'),
                '--wait',
            )

            assert result.code == 3
            assert result.states == {'central': 'done', 'dcn0': 'failed'}
            assert glance.stores_of(new(result)) == ['central']


@pytest.fixture
def image(sites):
    """An image that is in ``central``."""
    return make(sites, 'central')


class TestCopy:
    def test_wait(self, sites, run, image):
        result = run(
            image_copy.CopyImage,
            *(image, *in_stores('central', 'dcn2'), '--wait'),
        )

        assert result.code == 0, result.words
        assert result.states == {'central': 'done', 'dcn2': 'done'}
        whole(sites, image, 'central', 'dcn2')

    def test_by_name_to_all(self, sites, run):
        image_id = make(sites, 'dcn1', name='by name')

        result = run(image_copy.CopyImage, 'by name', '--all-stores')

        assert result.code == 0
        assert result.states['dcn1'] == 'done'
        assert set(result.states) == set(FILES)
        sites.finish_tasks(image_id)
        whole(sites, image_id, *FILES)

    def test_already_there(self, sites, run, image):
        """Nothing is asked for."""
        sites.forget_requests()

        result = run(image_copy.CopyImage, image, '--store', 'central')

        assert (result.code, result.states) == (0, {'central': 'done'})
        assert {r.method for r in sites.requests()} == {'GET'}

    def test_one_fails(self, sites, run, image):
        with broken(sites, 'dcn0'):
            result = run(
                image_copy.CopyImage,
                *(image, *in_stores('dcn0', 'dcn1'), '--wait'),
            )

        assert result.code == 3
        assert result.states == {'dcn0': 'failed', 'dcn1': 'done'}
        assert "is not in dcn0: Glance's log says why" in result.words
        whole(sites, image, 'central', 'dcn1')

    def test_all_fail(self, sites, run, image):
        with broken(sites, 'dcn0'):
            result = run(
                image_copy.CopyImage, image, '--store', 'dcn0', '--wait'
            )

        assert (result.code, result.states) == (1, {'dcn0': 'failed'})

    @pytest.mark.parametrize('wait', [[], ['--wait']], ids=['', 'wait'])
    def test_member(self, sites, member, policy, image, wait):
        """Glance's policy says who may."""
        args = [image, '--store', 'dcn0', *wait]
        denied = command.run(image_copy.CopyImage, member, *args)
        policy(copy_image='role:member')
        allowed = command.run(image_copy.CopyImage, member, *args)

        assert denied.code == 1
        assert 'this user may not copy images to other stores' in denied.words
        assert allowed.code == 0, allowed.words
        sites.finish_tasks(image)
        whole(sites, image, 'central', 'dcn0')

    @pytest.mark.parametrize(
        ('args', 'code', 'words'),
        [
            (['nosuch', '--store', 'dcn0'], 1, 'nosuch'),
            (['nosuch', '--store', 'web'], 2, 'is read-only'),
            (['nosuch'], 2, ''),
        ],
    )
    def test_refused(self, run, args, code, words):
        result = run(image_copy.CopyImage, *args)

        assert result.code == code
        assert words in result.words

    def test_queued(self, sites, run):
        image_id = sites.create_queued_image()

        result = run(image_copy.CopyImage, image_id, '--store', 'dcn0')

        assert result.code == 1
        assert 'status active' in result.words


class TestShow:
    def test_several(self, sites, run, image):
        """Wanted copies are shown as well, and what failed."""
        other = make(
            sites, 'dcn0', 'dcn1', **{copies.PROPERTY: 'central,dcn0'}
        )
        queued = sites.create_queued_image()

        result = run(image_show.ShowImages, image, other, queued)

        assert result.code == 0
        assert [
            (row['image_id'], row['store'], row['state'], row['default'])
            for row in result.rows
        ] == [
            (image, 'central', 'done', True),
            (other, 'dcn0', 'done', False),
            (other, 'dcn1', 'done', False),
            (other, 'central', 'missing', True),
            (queued, '', '', False),
        ]
        assert result.rows[0] == {
            'image_id': image,
            'name': 'base',
            'status': 'active',
            'store': 'central',
            'state': 'done',
            'size': len(DATA),
            'copied': None,
            'default': True,
            'reason': '',
            'decided_store': '',
            'rule': '',
            'difference': '',
        }

    def test_move_that_is_stuck(self, sites, run):
        """The store that the image is to move to lacks it."""
        moving = make(
            *(sites, 'dcn0'),
            **{
                'image_type': 'snapshot',
                record.STORE: 'central',
                record.RULE: 'move',
                record.MOVE_FROM: 'dcn0',
                copies.PROPERTY: 'dcn2',
            },
        )
        expected = {'dcn0': 'done', 'dcn2': 'missing', 'central': 'missing'}

        shown = run(image_show.ShowImages, moving)
        waited = run(image_show.ShowImages, moving, '--wait')
        listed = run(image_list.ListImages, '--all-projects')

        assert (shown.code, shown.states) == (0, expected)
        assert (waited.code, waited.states) == (3, expected)
        assert f'image copy {moving} --store dcn2' in waited.words
        assert f'relocate {moving} --to central --from dcn0' in waited.words
        missing = {row['id']: row['missing'] for row in listed.rows}
        assert missing[moving] == ['dcn2', 'central']

        for store in 'central', 'dcn2':
            run(image_copy.CopyImage, moving, '--store', store, '--wait')
        assert run(image_show.ShowImages, moving, '--wait').code == 0
        [row] = [
            row
            for row in run(image_list.ListImages, '--all-projects').rows
            if row['id'] == moving
        ]
        assert row['missing'] == []

    @pytest.mark.parametrize(
        ('changes', 'state'),
        [
            ({}, 'missing'),
            ({record.DIFFERENCE: 'store central did not take it'}, None),
            ({record.DIFFERENCE: f'{record.ELSEWHERE}x'}, 'missing'),
            # Stores that Glance does not have, or does not write to.
            ({record.STORE: 'old'}, None),
            ({record.STORE: 'web'}, None),
            # The record that a volume-backed server has from its image.
            ({'data': b''}, None),
        ],
    )
    def test_decided_store_that_lacks_it(self, sites, run, changes, state):
        """Unless there is a reason that it is elsewhere."""
        decided = {record.STORE: 'central', record.RULE: 'config', **changes}
        data = decided.pop('data', DATA)
        image_id = sites.create_image(
            data, stores=['dcn0'], disk_format='raw', **decided
        )

        result = run(image_show.ShowImages, image_id)

        assert result.states.pop('dcn0') == 'done'
        assert result.states.get(decided[record.STORE]) == state

    def test_move_that_begins_meanwhile(self, sites, run, monkeypatch):
        """What the image says is read when it has its data."""
        image_id = sites.create_queued_image(disk_format='raw')
        look = copies.Follower.look

        def upload(follower):
            found = look(follower)
            if follower.image['status'] == 'queued':
                for name, value in (
                    (record.STORE, 'central'),
                    (record.RULE, 'move'),
                    (record.MOVE_FROM, 'dcn0'),
                ):
                    sites.change_image(
                        image_id,
                        {'op': 'add', 'path': f'/{name}', 'value': value},
                    )
                sites._upload(image_id, 'dcn0', DATA, cloud_glance.PROJECT)
            return found

        monkeypatch.setattr(copies.Follower, 'look', upload)

        result = run(image_show.ShowImages, image_id, '--wait')

        assert result.code == 3
        assert result.states == {'dcn0': 'done', 'central': 'missing'}

    def test_wait_for_several(self, sites, run):
        """One line for each change in each store."""
        gates = [threading.Event(), threading.Event()]
        ids = [
            new(
                run(
                    image_import.ImportImage,
                    *(f'n{i}', '--uri', sites.serve(DATA, gate)),
                    *in_stores('dcn0', 'dcn1'),
                )
            )
            for i, gate in enumerate(gates)
        ]
        timers = [
            threading.Timer(2 + 2 * i, gate.set)
            for i, gate in enumerate(gates)
        ]
        for timer in timers:
            timer.start()

        result = run(image_show.ShowImages, *ids, '--wait')

        assert result.code == 0, result.words
        assert {row['state'] for row in result.rows} == {'done'}
        lines = [each.split(' (')[0] for each in result.progress.splitlines()]
        assert lines[:4] == [
            f'{ids[0]} dcn0: copying',
            f'{ids[0]} dcn1: waiting',
            f'{ids[1]} dcn0: copying',
            f'{ids[1]} dcn1: waiting',
        ]
        first, second = (lines.index(f'{each} dcn1: done') for each in ids)
        assert first < second
        assert len(set(lines)) == len(lines)

    def test_wait_for_what_failed(self, sites, run, image):
        with broken(sites, 'dcn0'):
            run(image_copy.CopyImage, image, '--store', 'dcn0')
            result = run(image_show.ShowImages, image, '--wait')

        assert result.code == 3
        assert result.states == {'central': 'done', 'dcn0': 'failed'}

    def test_wait_on_a_terminal(self, cloud, image):
        """What is told changes in its place."""
        terminal = command.Terminal()

        result = command.run(
            image_show.ShowImages, cloud, image, '--wait', stderr=terminal
        )

        assert result.code == 0
        assert f'{image} central' in result.progress

    def test_nothing_comes(self, sites, run):
        image_id = sites.create_queued_image()

        result = run(image_show.ShowImages, image_id, '--wait', '--timeout=1')

        assert result.code == 3
        assert 'nobody has sent its data yet' in result.words

    def test_unknown(self, run):
        result = run(image_show.ShowImages, 'nosuch')

        assert result.code == 1
        assert 'nosuch' in result.words


HARDENED = {'tasks_api_access': '!', 'get_tasks': '!'}


class TestHardenedCloud:
    """Glance's API for tasks is closed to everybody."""

    @pytest.mark.parametrize(
        ('which', 'args'),
        [
            (image_list.ListImages, ['--all-projects']),
            (store_list.ListStores, ['--all-projects']),
            (store_drain.DrainStore, ['dcn2', '--dry-run']),
        ],
    )
    def test_administrator(self, sites, cloud, policy, which, args):
        make(sites, 'dcn0', project='other')
        policy(**HARDENED)

        result = command.run(which, cloud, *args)

        assert result.code != 2, result.words
        assert 'administrators' not in result.words

    @pytest.mark.skipif(
        'context_is_admin' not in glance_policies.ADMIN_OR_PROJECT_READER,
        reason='needs a Glance whose policies go by that rule',
    )
    def test_own_role(self, tmp_path):
        """The cloud calls its administrators by another name."""
        rules = tmp_path / 'policy.yaml'
        rules.write_text(
            json.dumps({'context_is_admin': 'role:cloud_admin', **HARDENED})
        )
        token = cloud_glance.token('demo', ('cloud_admin', 'member', 'reader'))
        with cloud_glance.Glance(
            tmp_path, **{'oslo_policy.policy_file': rules}
        ) as glance:
            make(glance, 'cheap', project='other')

            result = command.run(
                store_list.ListStores,
                connect(glance.url, token),
                '--all-projects',
            )

        assert result.code == 0, result.words

    def test_member(self, sites, member, policy):
        """Nor if others share images with everybody."""
        for visibility in ('private', 'public', 'community'):
            make(sites, 'dcn0', project='other', visibility=visibility)
        policy(**HARDENED)

        result = command.run(image_list.ListImages, member, '--all-projects')

        assert (result.code, result.rows) == (2, [])
        assert '--all-projects is for administrators: ' in result.words


class TestRelocate:
    def test_move(self, sites, run, image):
        """A second time there is nothing to do."""
        result = run(image_relocate.RelocateImage, image, '--to', 'dcn0')
        again = run(image_relocate.RelocateImage, image, '--to', 'dcn0')

        assert result.code == again.code == 0
        assert result.states == {'dcn0': 'done', 'central': 'deleted'}
        assert again.states == {'dcn0': 'done'}
        whole(sites, image, 'dcn0')

    def test_from_some(self, sites, run):
        image_id = make(sites, 'central')
        copied = run(
            *(image_copy.CopyImage, image_id, '--wait'),
            *('--store', 'dcn0', '--store', 'dcn1'),
        )
        assert copied.code == 0

        result = run(
            image_relocate.RelocateImage,
            *(image_id, '--to', 'dcn2', '--from', 'dcn0'),
        )

        assert result.code == 0
        assert result.states == {
            'dcn2': 'done',
            'central': 'kept',
            'dcn0': 'deleted',
            'dcn1': 'kept',
        }
        whole(sites, image_id, 'central', 'dcn1', 'dcn2')

    def test_read_only(self, sites, run):
        """What is there is left alone."""
        image_id = sites.create_image(DATA, stores=['web'])

        result = run(image_relocate.RelocateImage, image_id, '--to', 'dcn0')

        assert result.code == 0, result.words
        assert result.states == {'dcn0': 'done', 'web': 'kept'}
        [web] = [row for row in result.rows if row['store'] == 'web']
        assert web['reason'] == 'read-only'
        assert sites.files(image_id)['dcn0'].read_bytes() == DATA

    def test_copy_fails(self, sites, run, image):
        """Nothing is deleted."""
        with broken(sites, 'dcn1'):
            result = run(image_relocate.RelocateImage, image, '--to', 'dcn1')

        assert result.code == 1
        whole(sites, image, 'central')

    def test_stopped(self, sites, run, image, monkeypatch):
        """Nothing is lost, whenever; another run finishes."""
        for step in ('import_data', 'tasks', 'delete_from'):
            with monkeypatch.context() as patched:
                patched.setattr(image_api.Images, step, stop)
                with pytest.raises(KeyboardInterrupt):
                    run(image_relocate.RelocateImage, image, '--to', 'dcn1')
            assert sites.files(image)['central'].read_bytes() == DATA

        result = run(image_relocate.RelocateImage, image, '--to', 'dcn1')

        assert result.code == 0
        whole(sites, image, 'dcn1')

    def test_deletion_is_forbidden(self, sites, run, policy, image):
        """It is said of each store; the copy is there."""
        policy(delete_image_location='!')

        result = run(image_relocate.RelocateImage, image, '--to', 'dcn0')

        assert result.code == 3
        assert result.states == {'dcn0': 'done', 'central': 'kept'}
        assert '403' in result.words
        whole(sites, image, 'central', 'dcn0')

    @pytest.mark.parametrize(
        'args',
        [
            ['--to', 'web'],
            ['--to', 'nosuch'],
            ['--to', 'dcn0', '--from', 'web'],
            ['--to', 'dcn0', '--from', 'dcn0'],
            ['--from', 'dcn0'],
        ],
    )
    def test_usage(self, run, image, args):
        assert run(image_relocate.RelocateImage, image, *args).code == 2


def stop(*_args, **_kwargs):
    raise KeyboardInterrupt
