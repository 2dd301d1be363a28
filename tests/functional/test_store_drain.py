"""The command that empties a store, on the real Glance."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from nova_multistore import image_api
from nova_multistore.osc import store_drain
from nova_multistore.osc import store_list
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import arrivals
from tests.functional import broken
from tests.functional import connect
from tests.functional import end_locks
from tests.functional import equal
from tests.functional import kill
from tests.functional import three_sites

KIB = 1 << 10
DATA = os.urandom(64 * KIB)
#: How often a command or a Glance is killed.
KILLS = 4
#: How many images there are then, and how large they are.
MANY, LARGE = 30, os.urandom(1024 * KIB)


@pytest.fixture
def glance(tmp_path):
    with three_sites(tmp_path, filters=cloud_glance.FILTER) as glance:
        yield glance


@pytest.fixture
def drain(glance):
    """Empty a store, as an administrator."""
    cloud = connect(glance.url)
    return lambda *args: command.run(store_drain.DrainStore, cloud, *args)


def usage(glance):
    """Return how many images each store has."""
    shown = command.run(
        store_list.ListStores, connect(glance.url), '--all-projects'
    )
    return {row['id']: row['images'] for row in shown.rows}


def make(glance, *names, **properties):
    return glance.create_image(
        DATA, stores=list(names), disk_format='raw', **properties
    )


def test_all_leave(glance, drain):
    """What no other store has is copied first; the rest is left alone."""
    alone = make(glance, 'dcn0')
    others = make(glance, 'dcn0', project='other')
    hidden = make(glance, 'dcn0', os_hidden=True)
    central = make(glance, 'dcn0', 'central')
    beside = make(glance, 'dcn1')
    web = make(glance, 'web')
    glance.create_queued_image()

    result = drain('dcn0', '--to', 'dcn1')

    assert (result.code, result.rows) == (0, []), result.words
    assert (
        '4 images (256.0 KiB) left dcn0; 3 (192.0 KiB) were copied to dcn1 '
        'first; 0 stay'
    ) in result.progress
    for image_id in alone, others, hidden, beside:
        equal(glance, image_id, 'dcn1')
    equal(glance, central, 'central')
    assert glance.stores_of(web) == ['web']
    assert usage(glance) == {'central': 1, 'dcn0': 0, 'dcn1': 4, 'web': 1}


def test_default_store_takes_them(glance, drain):
    alone = make(glance, 'dcn0')

    assert drain('dcn0').code == 0

    equal(glance, alone, 'central')


def test_what_cannot_leave(glance, drain):
    """It is named, with the reason; later it can."""
    alone = make(glance, 'dcn0', name='alone')
    twice = make(glance, 'dcn0', 'central')

    with broken(glance, 'dcn1'):
        result = drain('dcn0', '--to', 'dcn1')

    assert result.code == 3
    [row] = result.rows
    assert (row['id'], row['name']) == (alone, 'alone')
    assert (row['status'], row['size']) == ('active', len(DATA))
    assert row['stores'] == 'dcn0'
    assert row['reason']
    equal(glance, alone, 'dcn0')
    equal(glance, twice, 'central')

    assert drain('dcn0', '--to', 'dcn1').code == 0
    equal(glance, alone, 'dcn1')


def test_nothing_leaves(glance, drain):
    alone = make(glance, 'dcn0')

    with broken(glance, 'dcn1'):
        assert drain('dcn0', '--to', 'dcn1').code == 1

    equal(glance, alone, 'dcn0')


def test_dry_run(glance, drain):
    """It counts, and changes nothing."""
    alone = make(glance, 'dcn0')
    twice = make(glance, 'dcn0', 'central')

    result = drain('dcn0', '--dry-run')

    assert (result.code, result.rows) == (0, [])
    assert (
        '2 images (128.0 KiB) would leave dcn0; 1 (64.0 KiB) would be copied '
        'to central first; 0 stay'
    ) in result.progress
    assert 'dcn0: 2 images would leave, 0 stay' in result.progress
    equal(glance, alone, 'dcn0')
    equal(glance, twice, 'dcn0', 'central')


def test_without_filter(glance, drain):
    """A copy that somebody else has made is not taken for whole."""
    alone = make(glance, 'dcn0')
    twice = make(glance, 'dcn0', 'central')
    with glance.configured(filters={}):
        dry, result = drain('dcn0', '--dry-run'), drain('dcn0')

    for found in dry, result:
        [row] = found.rows
        assert (found.code, row['id']) == (3, twice)
        assert 'its sha512 may be that of a copy' in row['reason']
        assert "nova-multistore's filter" in row['reason']
    equal(glance, alone, 'central')
    equal(glance, twice, 'dcn0', 'central')
    assert drain('dcn0').code == 0
    equal(glance, twice, 'central')


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (('nosuch',), 'that can be written are central, dcn0, dcn1'),
        (('web',), 'is read-only'),
        (('dcn0', '--to', 'web'), 'is read-only'),
        (('dcn0', '--to', 'dcn0'), 'need another store: name it with --to'),
        (('central',), 'need another store: name it with --to'),
    ],
)
def test_refused(glance, drain, args, words):
    alone = make(glance, 'dcn0')

    result = drain(*args)

    assert (result.code, result.rows) == (2, [])
    assert words in result.words
    equal(glance, alone, 'dcn0')


def test_members_may_not(glance):
    """It is refused before anything is copied."""
    alone = make(glance, 'dcn0')
    member = connect(glance.url, cloud_glance.token())

    result = command.run(store_drain.DrainStore, member, 'dcn0')

    assert result.code == 2
    assert 'to drain a store is for administrators' in result.words
    equal(glance, alone, 'dcn0')


def test_glance_that_deletes_nothing(glance, drain, monkeypatch):
    """It says so, and lists the image there still: that is no endless task."""
    image_id = make(glance, 'dcn0')
    monkeypatch.setattr(image_api.Images, 'delete_from', lambda *args: None)

    result = drain('dcn0')

    assert result.code == 3
    [row] = result.rows
    assert (row['id'], row['reason']) == (
        image_id,
        'Glance lists it there still',
    )
    equal(glance, image_id, 'central', 'dcn0')


@pytest.mark.parametrize('seed', [1])
def test_killed_at_any_moment(glance, drain, seed):
    """Nothing is lost, and another run ends it."""
    choose = random.Random(seed)
    image_ids = [
        glance.create_image(LARGE, stores=['dcn0'], disk_format='raw')
        for _ in range(MANY)
    ]
    for number in range(KILLS):
        kill(
            store_drain.DrainStore,
            glance,
            *('dcn0', '--to', 'dcn1', '--timeout', '2'),
            reached=arrivals(glance.directory('dcn1'), choose.randint(1, 3)),
            later=choose.uniform(0, 0.1),
            with_glance=bool(number % 2),
        )
        for image_id in image_ids:
            names = glance.stores_of(image_id)
            digests = glance.sha256(image_id)
            # Glance deletes data before it takes the store off its list.
            held = {digests[name] for name in names if name in digests}
            assert held == {hashlib.sha256(LARGE).hexdigest()}

    end_locks(glance)
    result = drain('dcn0', '--to', 'dcn1')

    assert (result.code, result.rows) == (0, []), result.words
    for image_id in image_ids:
        equal(glance, image_id, 'dcn1')
