"""The commands that put images where a file says, on the real Glance."""

from __future__ import annotations

import os
import random
import textwrap
from unittest import mock
import uuid

import pytest

from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc.placement import apply as placement_apply
from nova_multistore.osc.placement import check as placement_check
from nova_multistore.osc.placement import plan as placement_plan
from tests import command
from tests.cloud import glance as cloud_glance
from tests.functional import SITES
from tests.functional import arrivals
from tests.functional import broken
from tests.functional import connect
from tests.functional import end_locks
from tests.functional import equal
from tests.functional import kill
from tests.functional import three_sites

KIB = 1 << 10
DATA = os.urandom(64 * KIB)
#: How often a command or a Glance is killed, and how many images there are.
KILLS, MANY = 4, 30
LARGE = os.urandom(1024 * KIB)
GOLDEN = """
    placements:
    - name: golden
      images: {tags: [golden]}
      stores: [central, dcn0]
"""


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """A Glance for all tests."""
    with three_sites(tmp_path_factory.mktemp('glance')) as glance:
        yield glance


@pytest.fixture
def glance(running):
    """The Glance, without the images of another test."""
    yield running
    running.clear()


@pytest.fixture
def used(monkeypatch):
    """The ids of the images that servers were started from."""
    found = set()
    monkeypatch.setattr(
        osc_cloud.Cloud, 'images_in_use', lambda cloud: set(found)
    )
    return found


@pytest.fixture
def run(glance, used, tmp_path):
    """Run a command with a file, as an administrator."""
    cloud = connect(glance.url)

    def run(name, text, *args, cloud=cloud):
        path = tmp_path / 'placements.yaml'
        path.write_text(textwrap.dedent(text))
        return command.run(name, cloud, str(path), *args)

    return run


@pytest.fixture
def plan(run):
    return lambda *args: run(placement_plan.PlanPlacements, *args)


@pytest.fixture
def apply(run):
    return lambda *args: run(placement_apply.ApplyPlacements, *args)


@pytest.fixture
def check(run):
    return lambda *args: run(placement_check.CheckPlacements, *args)


def make(glance, *names, tags=(), **properties):
    image_id = glance.create_image(
        DATA, stores=list(names), disk_format='raw', **properties
    )
    for tag in tags:
        status, _ = glance.request(
            'PUT', f'/v2/images/{image_id}/tags/{tag}', admin=True
        )
        assert status == 204
    return image_id


def test_copies(glance, plan, apply):
    """What is planned is done, and then there is nothing more to do."""
    image_id = make(glance, 'dcn1', tags=['golden'])
    done = make(glance, 'central', 'dcn0', tags=['golden'])
    other = make(glance, 'dcn1', tags=['silver'])

    planned = plan(GOLDEN)

    assert planned.code == 3
    [row] = planned.rows
    assert (row['image_id'], row['size']) == (image_id, len(DATA))
    assert row['copy_to'] == ['central', 'dcn0']
    assert row['delete_from'] == []
    assert row['placements'] == ['golden']
    assert planned.progress.splitlines() == [
        'central: 1 image (64.0 KiB) more',
        'dcn0: 1 image (64.0 KiB) more',
        'project demo: 128.0 KiB more of image_size_total',
        '1 of 2 images to change',
    ]
    assert glance.stores_of(image_id) == ['dcn1']

    result = apply(GOLDEN)

    assert (result.code, result.states) == (
        0,
        {'central': 'done', 'dcn0': 'done'},
    )
    assert '1 image placed (128.0 KiB copied), 0 failed' in result.progress
    equal(glance, image_id, *SITES)
    equal(glance, done, 'central', 'dcn0')
    equal(glance, other, 'dcn1')
    again = plan(GOLDEN)
    assert (again.code, again.rows) == (0, [])
    assert apply(GOLDEN).rows == []


def test_prune(glance, plan, apply):
    """An image leaves what no placement names, and only what is meant does."""
    image_id = make(glance, 'dcn1', tags=['golden'])
    other = make(glance, 'dcn1', 'dcn0')

    [row] = plan(GOLDEN, '--prune').rows
    assert (row['copy_to'], row['delete_from']) == (
        ['central', 'dcn0'],
        ['dcn1'],
    )
    result = apply(GOLDEN, '--prune')

    assert (result.code, result.states['dcn1']) == (0, 'deleted')
    equal(glance, image_id, 'central', 'dcn0')
    equal(glance, other, 'dcn0', 'dcn1')


def test_prune_keeps_copies_that_are_wanted(glance, plan):
    """By the image itself, or by the number of copies."""
    make(glance, *SITES, tags=['golden'], nova_multistore_copy_to='dcn1')
    assert plan(GOLDEN, '--prune').rows == []
    more = """
        placements:
        - {name: few, images: {name: few}, stores: [dcn1]}
        - {name: twice, images: all, min_copies: 2}
    """
    image_id = make(glance, 'central', 'dcn0', name='few')
    [row] = plan(more, '--prune').rows
    assert row['image_id'] == image_id
    assert row['copy_to'] == ['dcn1']
    assert len(row['delete_from']) == 1


@pytest.mark.parametrize('prune', [(), ('--prune',)])
def test_copy_that_fails(glance, apply, prune):
    """Nothing is deleted for it, and another run does the rest."""
    broken_id = make(glance, 'dcn1', tags=['golden'])

    with broken(glance, 'dcn0'):
        result = apply(GOLDEN, *prune)

    assert result.code == 1
    assert result.states['dcn0'] == 'failed'
    assert '0 images placed' in result.progress
    equal(glance, broken_id, 'central', 'dcn1')
    assert apply(GOLDEN, *prune).code == 0
    equal(glance, broken_id, *(('central', 'dcn0') if prune else SITES))


@pytest.mark.parametrize(
    ('selector', 'meant'),
    [
        ('all', {'mine', 'public', 'foreign', 'debian', 'hidden'}),
        ('{name: public}', {'public'}),
        ('{visibility: public}', {'public'}),
        ('{owner: other}', {'foreign'}),
        ('{properties: {os_distro: debian}}', {'debian'}),
        ('{tags: [a, b]}', {'public'}),
        ('{tags: [a], name: mine}', {'mine'}),
        ('{in_use: true}', {'debian', 'mine'}),
        ('{in_use: true, name: mine}', {'mine'}),
    ],
)
def test_selectors(glance, used, plan, selector, meant, monkeypatch):
    monkeypatch.setattr(
        osc_cloud.Cloud, 'find_project', lambda cloud, name: name
    )
    mine = make(glance, 'dcn1', name='mine', tags=['a'])
    make(glance, 'dcn1', name='public', visibility='public', tags=['a', 'b'])
    make(glance, 'dcn1', name='foreign', project='other')
    debian = make(glance, 'dcn1', name='debian', os_distro='debian')
    make(glance, 'dcn1', name='hidden', os_hidden=True)
    glance.create_queued_image(name='mine')
    used.update([mine, debian, str(uuid.uuid4())])

    result = plan(f"""
        placements:
        - {{name: rule, images: {selector}, stores: [dcn0]}}
    """)

    assert {row['name'] for row in result.rows} == meant
    assert len(result.rows) == len(meant)


def test_several_placements(glance, plan):
    """An image that several mean is listed once, with all of their stores."""
    image_id = make(glance, 'dcn1', name='x', tags=['a', 'b'])
    result = plan("""
        placements:
        - {name: one, images: {tags: [a]}, stores: [dcn0]}
        - {name: two, images: {tags: [b]}, stores: all}
        - {name: three, images: {name: x}, min_copies: 2}
        - {name: four, images: {name: y}, min_copies: 2}
    """)
    [row] = result.rows
    assert row['image_id'] == image_id
    assert row['placements'] == ['one', 'two', 'three']
    assert sorted(row['copy_to']) == ['central', 'dcn0']


TYPO = """
    placements:
    - {name: golden, images: {tags: [golden]}, stores: [central, dcn0]}
    - {name: typo, images: {tags: [goldne]}, stores: [dcn1]}
    - {name: late, images: {name: late}, stores: [dcn1]}
    - {name: also, images: {tags: [golden]}, min_copies: 1}
    sites:
    - {name: edge, ceph: central}
"""


@pytest.mark.parametrize('name', ['plan', 'apply', 'check'])
def test_placement_of_nothing(glance, request, name):
    """It is said, and no success: it may be a mistake."""
    execute = request.getfixturevalue(name)
    make(glance, 'central', 'dcn0', tags=['golden'])
    # Not active, so that nothing can be copied.
    glance.create_queued_image(name='late')

    result = execute(TYPO)

    assert result.code == 3
    assert [line.rpartition('/')[2] for line in result.words.splitlines()] == [
        'placements.yaml:4: typo means no active image',
        'placements.yaml:5: late means no active image',
    ]
    make(glance, 'central', 'dcn1', tags=['goldne'], name='late')
    assert execute(TYPO).code == 0
    assert execute(TYPO).words == ''


def test_placement_of_nothing_is_not_known(glance, plan, monkeypatch):
    """If Glance does not list all images, one of them may be meant."""
    monkeypatch.setattr(
        image_api.Images,
        'page',
        mock.Mock(side_effect=exception.GlanceRefused(403, 'no')),
    )

    result = plan(TYPO)

    assert result.code == 1
    assert 'means no active image' not in result.words


@pytest.mark.parametrize('present', [('dcn1',), ('dcn0', 'dcn1')])
def test_number_of_copies(glance, apply, present):
    """The default store is taken first."""
    image_id = make(glance, *present)
    result = apply("""
        placements:
        - {name: twice, images: all, min_copies: 2}
    """)
    assert result.code == 0
    expected = {'central', 'dcn1'} if len(present) == 1 else {*present}
    assert {*glance.stores_of(image_id)} == expected


def test_limit(glance, apply):
    """What has the fewest copies comes first; the rest is for another run."""
    twice = make(glance, 'dcn1', 'central', tags=['golden'])
    once = make(glance, 'dcn0', tags=['golden'])

    result = apply(GOLDEN, '--max-size', '64KiB')

    assert result.code == 3
    assert '1 left for another run' in result.progress
    equal(glance, once, 'central', 'dcn0')
    equal(glance, twice, 'central', 'dcn1')
    assert apply(GOLDEN, '--max-size', '64KiB').code == 0
    equal(glance, twice, *SITES)


def test_image_that_is_deleted_meanwhile(glance, apply, monkeypatch):
    image_id = make(glance, 'dcn1', tags=['golden'])
    copy = placement_apply.copies.copy

    def after_deletion(images, *args):
        glance.delete_image(image_id)
        return copy(images, *args)

    monkeypatch.setattr(placement_apply.copies, 'copy', after_deletion)

    result = apply(GOLDEN)

    assert (result.code, result.rows) == (0, [])


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('a: [', ':1: '),
        ('', "it is empty: it has to be a mapping with 'placements'"),
        ('placements: []', 'placements: [] '),
        (
            """
            placements:
            - name: x
              images: all
              store: [dcn0]
            """,
            ":3: placements: Additional properties are not allowed ('store'",
        ),
        (
            """
            placements:
            - name: x
              images: {colour: red}
              stores: [dcn0]
            """,
            ':4: placements: images: Additional properties',
        ),
        (
            """
            placements:
            - name: x
              images: {name: 24.04}
              stores: [dcn0]
            """,
            ':4: placements: images: name: 24.04 is a number: it has to be a '
            'string',
        ),
        (
            """
            placements:
            - {name: x, images: all, stores: [dcn0, nosuch]}
            """,
            ":3: x: store 'nosuch' is not one of Glance's stores; the stores "
            'that can be written are central, dcn0, dcn1',
        ),
        (
            'placements: [{name: x, images: all, stores: [web]}]',
            "store 'web' is read-only",
        ),
        (
            'placements: [{name: x, images: all, stores: none}]',
            "'none' is neither 'all' nor a list",
        ),
        (
            'placements: [{name: x, images: all}]',
            'x has neither stores nor min_copies',
        ),
        (
            'placements: [{name: x, images: all, min_copies: 4}]',
            'x wants 4 copies, and there are only 3 stores',
        ),
        (
            """
            placements:
            - {name: x, images: all, stores: all}
            - {name: x, images: all, stores: all}
            """,
            ':4: x is there twice',
        ),
        (
            """
            placements:
            - name: x
              images: all
              stores: [dcn0]
              stores: [dcn1]
            """,
            ':6: stores is there twice',
        ),
    ],
)
def test_invalid(glance, apply, text, words):
    """The error names the file and the line, and nothing is done."""
    image_id = make(glance, 'dcn1')

    result = apply(text, '--prune')

    assert (result.code, result.rows) == (2, [])
    assert 'placements.yaml:' in result.words
    assert words in result.words
    equal(glance, image_id, 'dcn1')


def test_all_errors_are_named(glance, plan):
    result = plan("""
        placements:
        - {name: x, images: all, stores: []}
        - {name: '', images: all, stores: all}
    """)
    assert len(result.words.splitlines()) == 2


def test_file_that_is_not_there(glance, tmp_path):
    result = command.run(
        placement_plan.PlanPlacements,
        connect(glance.url),
        str(tmp_path / 'nosuch'),
    )
    assert result.code == 2
    assert 'nosuch cannot be read' in result.words


def test_members_may_not_apply(glance, run):
    """They may plan for what they see."""
    image_id = make(glance, 'dcn1', tags=['golden'])
    member = connect(glance.url, cloud_glance.token())

    planned = run(placement_plan.PlanPlacements, GOLDEN, cloud=member)
    result = run(placement_apply.ApplyPlacements, GOLDEN, cloud=member)

    assert [row['image_id'] for row in planned.rows] == [image_id]
    assert result.code == 2
    assert 'to apply placements is for administrators' in result.words
    equal(glance, image_id, 'dcn1')


CHECKED = """
    placements:
    - {name: golden, images: {tags: [golden]}, stores: [central, dcn0]}
    sites:
    - {name: edge0, ceph: dcn0, may_copy: true}
    - {name: member0, ceph: dcn0}
    - {name: edge1, ceph: dcn1, stores: [dcn1, central]}
    - {name: branch, store: dcn1}
    - {name: shop, stores: [dcn1]}
"""


def test_check(glance, used, check):
    golden = make(glance, 'dcn0', tags=['golden'], name='golden')
    in_use = make(glance, 'dcn1', name='used')
    used.update([in_use, str(uuid.uuid4())])

    result = check(CHECKED)

    assert result.code == 1
    found = {
        (row['name'], row['site']): (row['start'], row['reason'])
        for row in result.rows
    }
    away = 'it is in dcn0, which the Glance of this site does not have'
    assert found == {
        ('golden', 'edge0'): ('clone in dcn0', ''),
        ('golden', 'member0'): ('clone in dcn0', ''),
        ('golden', 'edge1'): ('fails', away),
        ('golden', 'branch'): ('download from dcn0', ''),
        ('golden', 'shop'): ('fails', away),
        ('used', 'edge0'): ('copied to dcn0 first', 'it is not in dcn0'),
        ('used', 'member0'): (
            'fails for members',
            'it is not in dcn0, and a member may not have it copied there '
            '(may_copy)',
        ),
        ('used', 'edge1'): ('clone in dcn1', ''),
        ('used', 'branch'): ('download from dcn1', ''),
        ('used', 'shop'): ('download from dcn1', ''),
    }
    glance.copy_image(golden, ['dcn1'])
    result = check(CHECKED)
    # A member's server goes to ERROR.
    assert result.code == 1
    glance.copy_image(in_use, ['dcn0'])
    result = check(CHECKED)
    assert result.code == 0
    # Where snapshots go has no part in it: Glance reads its first copy.
    assert [
        row['start']
        for row in result.rows
        if (row['name'], row['site']) == ('golden', 'branch')
    ] == ['download from dcn0']


def test_check_without_sites(glance, check):
    result = check(GOLDEN)
    assert result.code == 2
    assert 'there are no sites to check' in result.words


def test_check_of_an_unknown_store(glance, check):
    result = check(CHECKED.replace('ceph: dcn0', 'ceph: nosuch'))
    assert result.code == 2
    assert ":5: edge0 names store 'nosuch'" in result.words


@pytest.mark.parametrize('seed', [1])
def test_killed_at_any_moment(glance, apply, tmp_path, seed):
    """Nothing is lost, and another run does the rest."""
    choose = random.Random(seed)
    text = """
        placements:
        - {name: moved, images: all, stores: [dcn1]}
    """
    path = tmp_path / 'moved.yaml'
    path.write_text(textwrap.dedent(text))
    image_ids = [
        glance.create_image(LARGE, stores=['dcn0'], disk_format='raw')
        for _ in range(MANY)
    ]
    for number in range(KILLS):
        kill(
            placement_apply.ApplyPlacements,
            glance,
            str(path),
            *('--prune', '--timeout', '2'),
            reached=arrivals(glance.directory('dcn1'), choose.randint(1, 3)),
            later=choose.uniform(0, 0.1),
            with_glance=bool(number % 2),
        )
        for image_id in image_ids:
            assert glance.stores_of(image_id)
    end_locks(glance)

    result = apply(text, '--prune')

    assert result.code == 0, result
    for image_id in image_ids:
        equal(glance, image_id, 'dcn1')
