"""Whether a snapshot has its copies, and has moved."""

from __future__ import annotations

import pytest

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import record
from tests.unit.judging import CATALOGUE
from tests.unit.judging import COPY
from tests.unit.judging import LONG_AGO
from tests.unit.judging import OF_LATE
from tests.unit.judging import RELOCATE
from tests.unit.judging import TASK
from tests.unit.judging import WANTED
from tests.unit.judging import held
from tests.unit.judging import judge
from tests.unit.judging import problem
from tests.unit.judging import settings
from tests.unit.judging import snapshot
from tests.unit.judging import task


def test_missing_copies():
    [finding] = judge(
        snapshot(**WANTED), settings(copy_to=('central', 'dcn1'))
    )

    assert finding.problem == 'no copy in central, dcn1: none is being made'
    assert finding.remedy == f'{COPY} --store central --store dcn1'
    assert finding.copy_to == ('central', 'dcn1')


@pytest.mark.parametrize(
    ('named', 'settings', 'copied', 'words'),
    [
        # Without a nova.conf, it is the image alone that tells.
        (..., audit.Settings(CATALOGUE), (), []),
        ('central', audit.Settings(CATALOGUE), ('central',), ['no copy in c']),
        # With one, an image of before the option, and one of after it.
        (..., settings(copy_to=('central',)), ('central',), ['no copy in c']),
        ('', settings(copy_to=('central',)), (), []),
        ('dcn0', settings(copy_to=('central', 'dcn0')), (), []),
        # What a user adds is not obeyed.
        (
            'dcn1,central',
            settings(copy_to=('central',)),
            ('central',),
            ['no copy in dcn1: the image alone names it', 'no copy in c'],
        ),
        ('dcn1', settings(), (), ['no copy in dcn1: the image alone']),
        # What is there already is no problem.
        ('dcn0', settings(), (), []),
        ('web', settings(copy_to=('web',)), (), ["'web' is read-only"]),
        ('x', settings(copy_to=('x',)), (), ["'x' is not one of Glance's"]),
        (..., settings(copy_to=('x',)), (), ["'x' is not one of Glance's"]),
    ],
)
def test_wanted(named, settings, copied, words):
    found = judge(snapshot(**{copies.PROPERTY: named}), settings)

    assert sum((f.copy_to for f in found), ()) == copied
    assert len(found) == len(words)
    for finding, part in zip(found, words):
        assert part in finding.problem


@pytest.mark.parametrize('named', [..., 'x'])
def test_refused_store(named):
    """Nothing can mend it but a change of what is wanted."""
    [finding] = judge(
        snapshot(**{copies.PROPERTY: named}), settings(copy_to=('x',))
    )

    assert 'that can be written are central, dcn0, dcn1' in finding.problem
    assert ('nova.conf' in finding.remedy) is (named is ...)


@pytest.mark.parametrize('wanted', [(), ('dcn1',)])
def test_failed_import(wanted):
    """It is a problem wherever it was; what is wanted is made."""
    image = snapshot(
        os_glance_failed_import='dcn1', **{copies.PROPERTY: ','.join(wanted)}
    )

    [finding] = judge(
        image,
        settings(copy_to=wanted),
        tasks=[task(OF_LATE, 'failure', 'no room\n')],
    )

    assert finding.problem == ('no copy in dcn1: the import failed (no room)')
    assert finding.remedy == f'{COPY} --store dcn1'
    assert finding.copy_to == wanted


@pytest.mark.parametrize('status', ['success', 'processing'])
def test_failed_import_without_a_reason(status):
    image = snapshot(os_glance_failed_import='dcn1')

    assert "is in Glance's log" in problem(
        image, tasks=[task(OF_LATE, status)]
    )


@pytest.mark.parametrize('importing', ['dcn1', 'central', ''])
def test_held(importing):
    """An import that goes on is waited for, one that is silent is not."""
    image = held(os_glance_importing_to_stores=importing, **WANTED)
    both = settings(copy_to=('central', 'dcn1'))

    assert judge(image, both, tasks=[task(OF_LATE)]) == []
    [finding] = judge(image, both, tasks=[task(LONG_AGO)])
    assert f'said nothing since {LONG_AGO}' in finding.problem
    assert set(finding.copy_to) == {'central', 'dcn1'}


def test_silent_import_elsewhere():
    """It is nobody's wish to have it, but it is named."""
    image = held(os_glance_importing_to_stores='dcn1')

    [finding] = judge(image, tasks=[task(LONG_AGO)])

    assert finding.remedy == f'{COPY} --store dcn1'
    assert not finding.copy_to


@pytest.mark.parametrize(
    'changes',
    [
        {'os_glance_failed_import': 'web'},
        {'os_glance_importing_to_stores': 'gone'},
    ],
)
def test_import_to_a_store_that_takes_nothing(changes):
    """Nobody wants it, and no command could make it."""
    assert judge(snapshot(**changes)) == []


@pytest.mark.parametrize(
    'written', [{}, {record.RULE: 'request', record.STORE: 'dcn0'}]
)
def test_only_the_image_wants_a_store_that_takes_nothing(written):
    """To copy is no remedy then: the image has to want something else."""
    image = snapshot(stores='dcn0', **{copies.PROPERTY: 'web'}, **written)

    [finding] = judge(image, settings(copy_to=('dcn1',)))

    assert copies.PROPERTY in finding.remedy
    assert not finding.copy_to


def test_remedy_keeps_a_store_of_nova_conf():
    """Also if this image is to have no copies."""
    image = snapshot(stores='dcn1', **{copies.PROPERTY: ''})

    [finding] = judge(image, settings(store='central', copy_to=('dcn1',)))

    assert finding.remedy == f'{COPY} --store central'


def moving(**changes):
    """A snapshot that is to move from ``dcn0`` to ``central``."""
    return snapshot(
        **{
            record.RULE: 'move',
            record.STORE: 'central',
            record.MOVE_FROM: 'dcn0',
            **changes,
        }
    )


MOVING = settings(move_to='central')


COMPLETE = f'{RELOCATE}central --from dcn0'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({}, 'none is being made'),
        ({'stores': 'dcn0,central'}, 'it was not deleted there'),
        (
            {'os_glance_failed_import': 'central'},
            "the import failed (the reason is in Glance's log)",
        ),
        (
            {
                'os_glance_import_task': TASK,
                'os_glance_importing_to_stores': 'central',
            },
            f'the import has said nothing since {LONG_AGO}',
        ),
    ],
)
def test_move_that_is_not_done(changes, words):
    """It is one finding, and can be completed."""
    [finding] = judge(moving(**changes), MOVING)

    assert finding == audit.Finding(
        f'it is to move from dcn0 to central: {words}',
        COMPLETE,
        move=audit.Move('central', 'dcn0'),
    )


@pytest.mark.parametrize(
    'changes',
    [
        # Under way.
        {
            'os_glance_import_task': TASK,
            'os_glance_importing_to_stores': 'central',
            'updated_at': OF_LATE,
        },
        # Done, but for the property.
        {'stores': 'central'},
        # Done, and copied back by somebody.
        {'stores': 'central,dcn0', record.MOVE_FROM: ...},
        # It was relocated by hand.
        {'stores': 'dcn1', record.DIFFERENCE: 'it was relocated to dcn1'},
    ],
)
def test_move_that_needs_nothing(changes):
    assert judge(moving(**changes), MOVING) == []


def test_move_that_the_image_alone_wants():
    """A user may have written that."""
    [finding] = judge(moving(), settings())

    assert (finding.remedy, finding.move) == (COMPLETE, None)


@pytest.mark.parametrize('source', ['central', 'web', 'nosuch', ''])
def test_nonsense_about_a_move(source):
    """The store is right or wrong as without it."""
    image = moving(**{record.MOVE_FROM: source})

    assert judge({**image, 'stores': 'central'}, MOVING) == []
    [finding] = judge(image, MOVING)
    assert finding.move is None
    assert finding.problem.startswith('it is in dcn0, not in central')
