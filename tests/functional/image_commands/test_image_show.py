"""What is shown of images, and waited for."""

from __future__ import annotations

import threading

import pytest

from nova_multistore import copies
from nova_multistore import record
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_import
from nova_multistore.osc import image_list
from nova_multistore.osc import image_show
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import broken
from tests.functional.image_commands import DATA
from tests.functional.image_commands import in_stores
from tests.functional.image_commands import make
from tests.functional.image_commands import new


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
