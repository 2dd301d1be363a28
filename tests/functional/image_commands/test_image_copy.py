"""Images that are copied and relocated, and who may."""

from __future__ import annotations

import json

from glance.policies import base as glance_policies
import pytest

from nova_multistore import image_api
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_list
from nova_multistore.osc import image_relocate
from nova_multistore.osc import store_drain
from nova_multistore.osc import store_list
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import broken
from tests.functional import connect
from tests.functional.image_commands import DATA
from tests.functional.image_commands import FILES
from tests.functional.image_commands import in_stores
from tests.functional.image_commands import make
from tests.functional.image_commands import whole


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
