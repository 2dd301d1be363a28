"""New images, imported into several stores."""

from __future__ import annotations

import importlib.util
import subprocess
import threading

import pytest

from nova_multistore import copies
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_import
from nova_multistore.osc import image_show
from tests import command
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional import broken
from tests.functional import connect
from tests.functional import notes
from tests.functional import small
from tests.functional.image_commands import DATA
from tests.functional.image_commands import FILES
from tests.functional.image_commands import MIB
from tests.functional.image_commands import in_stores
from tests.functional.image_commands import new
from tests.functional.image_commands import whole

PARALLEL = {'image_import_opts.max_parallel_stores': 3}
HAS_PARALLEL = importlib.util.find_spec(
    'glance.async_.flows.parallel_api_image_import'
)


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
        left = patience.Patience(cloud_glance.PATIENCE)
        while True:
            shown = run(image_show.ShowImages, new(result))
            if 'copying' in shown.states.values():
                break
            assert left
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
