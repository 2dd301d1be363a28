"""What is found wrong with a snapshot, and what is not."""

from __future__ import annotations

import shlex

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import stores
from tests import inputs
from tests.unit.judging import BASE
from tests.unit.judging import CATALOGUE
from tests.unit.judging import IDLE
from tests.unit.judging import IMAGE
from tests.unit.judging import LONG_AGO
from tests.unit.judging import NOW
from tests.unit.judging import OF_LATE
from tests.unit.judging import OTHER
from tests.unit.judging import SERVER
from tests.unit.judging import TASK
from tests.unit.judging import base
from tests.unit.judging import held
from tests.unit.judging import judge
from tests.unit.judging import problem
from tests.unit.judging import server
from tests.unit.judging import settings
from tests.unit.judging import snapshot
from tests.unit.judging import task
from tests.unit.judging import unasked


def test_all_right():
    assert judge(snapshot()) == []


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'status': 'deactivated', 'stores': 'dcn1'},
        {'size': 0, 'block_device_mapping': '[{}]', 'stores': 'central'},
    ],
)
def test_nothing_asked(changes):
    """What is right by itself, or nobody's matter, costs no request.

    But for the image that most often is the base image.
    """
    lookups = audit.Lookups({BASE: base()}.get, unasked, unasked, unasked)

    assert audit.judge(snapshot(**changes), settings(), lookups, NOW) == []


def test_nothing_asked_about_an_order():
    """Not even that image."""
    lookups = audit.Lookups(unasked, unasked, unasked, unasked)

    found = audit.judge(snapshot(), settings(store='dcn1'), lookups, NOW)

    assert len(found) == 1


DELETE = f'openstack image delete {IMAGE}'


UNDER_WAY = ['queued', 'saving', 'uploading', 'importing']


@pytest.mark.parametrize('status', UNDER_WAY)
@pytest.mark.parametrize(
    ('owner', 'why'),
    [(None, 'its server is gone'), (IDLE, 'Nova is not busy')],
)
def test_stuck(status, owner, why):
    [finding] = judge(
        snapshot(status=status, size=None, stores=...), owner=owner
    )

    assert finding.problem.startswith(f'{status} since {LONG_AGO}, and {why}')
    # Only an image that waits for data has none for certain.
    assert (finding.remedy == DELETE) == (status == 'queued')
    assert 'delete' not in finding.remedy or finding.remedy == DELETE
    assert not finding.copy_to


def waiting(**changes):
    return snapshot(status='queued', size=None, stores=..., **changes)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'stores': 'dcn0'}, 'shows data of it in dcn0'),
        ({'locations': [{'url': 'file:///x'}]}, 'shows a location of data'),
        ({'direct_url': 'file:///x'}, 'shows a location of data'),
        ({'os_glance_import_task': TASK}, 'an import holds it'),
        ({'os_glance_failed_import': 'dcn0'}, 'an import of it failed'),
        ({'status': 'saving'}, 'a store may have a part of its data'),
        ({'status': 'uploading'}, "may be in Glance's staging area"),
        ({'status': 'importing'}, "may be in Glance's staging area"),
    ],
)
def test_stuck_with_data(changes, words):
    """It is not deleted, though the list shows nothing of that."""
    seen = {**waiting(), **changes}

    [finding] = judge(waiting(), look={IMAGE: seen}.get)

    assert words in finding.remedy
    assert 'delete' not in finding.remedy
    assert f'openstack multistore image show {IMAGE}' in finding.remedy


def refuse(image_id):
    raise exception.GlanceRefused(403, 'no')


@pytest.mark.parametrize(
    'listed', [waiting(), snapshot(size=0), snapshot(stores='')]
)
def test_not_shown(listed):
    """What the list says is no reason to delete it."""
    [finding] = judge(listed, look=refuse)

    assert finding.problem
    assert 'delete' not in finding.remedy


@pytest.mark.parametrize(
    'listed', [waiting(), snapshot(size=0), snapshot(stores='')]
)
@pytest.mark.parametrize(
    'seen',
    [None, snapshot(), waiting(updated_at=OF_LATE), {'status': 'deactivated'}],
)
def test_list_of_before(listed, seen):
    """The image is gone, whole or busy meanwhile: nothing is wrong."""
    assert judge(listed, look=lambda image_id: seen) == []


def test_judged_as_it_is_seen():
    """It has become active since it was listed."""
    seen = snapshot(stores='dcn1')

    [finding] = judge(
        waiting(), settings(store='dcn0'), look={IMAGE: seen}.get
    )

    assert finding.problem.startswith('it is in dcn1, not in dcn0')


@pytest.mark.parametrize('status', UNDER_WAY)
@pytest.mark.parametrize(
    ('updated_at', 'owner'),
    [
        (OF_LATE, None),
        (OF_LATE, IDLE),
        (LONG_AGO, server(**{'OS-EXT-STS:task_state': 'image_uploading'})),
        # Of a cell that is down Nova tells no more.
        (LONG_AGO, {'status': 'UNKNOWN'}),
        (LONG_AGO, {}),
    ],
)
def test_not_stuck(status, updated_at, owner):
    image = snapshot(status=status, updated_at=updated_at)

    assert judge(image, owner=owner) == []


def test_stuck_without_a_server():
    """A user may have made it."""
    for value in (..., '', 'no-uuid', 7):
        image = snapshot(status='queued', instance_uuid=value)
        assert 'its server is gone' in problem(image)


@pytest.mark.parametrize(
    ('tasks', 'found'),
    [
        ([task(OF_LATE)], False),
        ([task(LONG_AGO)], True),
        # One that has not begun holds the image for two hours.
        ([task(LONG_AGO, 'pending')], False),
        ([task('2026-01-02T09:59:59Z', 'pending')], True),
        # Its record is gone: the image's own has to do.
        ([], True),
        ([{**task(OF_LATE), 'id': 'another'}], True),
    ],
)
def test_stuck_import(tasks, found):
    """It is the import's own progress that counts."""
    image = held(status='importing')

    assert bool(judge(image, tasks=tasks, owner=None)) is found


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'size': 0}, 'it is active without data'),
        ({'size': None}, 'it is active, and Glance does not know its size'),
        ({'size': ...}, 'it is active, and Glance does not know its size'),
        ({'size': None, 'stores': ''}, 'it is active without data'),
        ({'stores': ''}, 'it is active and is in no store'),
        ({'stores': ...}, 'it is active and is in no store'),
        ({'size': 6}, 'it has 6 bytes of a disk of 7'),
        ({'size': 8}, 'it has 8 bytes of a disk of 7'),
    ],
)
def test_not_whole(changes, words):
    """And it is not worth a copy."""
    [finding] = judge(snapshot(**changes), settings(copy_to=('central',)))

    assert finding.problem == words
    assert 'another snapshot' in finding.remedy
    assert 'delete' not in finding.remedy
    assert not finding.copy_to


@pytest.mark.parametrize(
    'changes',
    [
        {'disk_format': 'qcow2', 'virtual_size': 99},
        {'virtual_size': None},
        {'virtual_size': 0},
        {'virtual_size': ...},
    ],
)
def test_size_that_tells_nothing(changes):
    assert judge(snapshot(**changes)) == []


NAMES = ['central', 'dcn0', 'dcn1', 'web', 'elsewhere']


LISTS = st.one_of(
    st.just(...), st.lists(st.sampled_from(NAMES), max_size=3).map(','.join)
)


TIMES = st.sampled_from([LONG_AGO, OF_LATE])


IMAGES = st.fixed_dictionaries(
    {
        'name': st.sampled_from(['nightly', 'server-shelved', None]),
        'status': st.sampled_from(['active', *UNDER_WAY, 'deactivated']),
        'stores': LISTS,
        'size': st.sampled_from([..., None, 0, 7, 9]),
        'updated_at': TIMES,
        'instance_uuid': st.sampled_from([..., SERVER, OTHER, 'x']),
        'base_image_ref': st.sampled_from([..., BASE, OTHER, '../tasks']),
        'block_device_mapping': st.sampled_from([..., '[]']),
        'os_glance_import_task': st.sampled_from([..., TASK]),
        'os_glance_importing_to_stores': LISTS,
        'os_glance_failed_import': LISTS,
        copies.PROPERTY: LISTS,
        record.RULE: st.sampled_from([..., 'base-image', 'config', 'x']),
        record.STORE: st.sampled_from([..., *NAMES]),
        record.DIFFERENCE: st.sampled_from([..., 'a reason']),
    }
).map(lambda changes: snapshot(**changes))


POLICIES = st.builds(
    audit.Settings,
    st.sampled_from([CATALOGUE, stores.Catalogue()]),
    st.booleans(),
    st.builds(
        selection.Orders,
        st.sampled_from([None, *NAMES]),
        st.sampled_from([None, *NAMES]),
        st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple),
    ),
)


@inputs.ALIKE
@hypothesis.given(
    IMAGES,
    POLICIES,
    st.sampled_from([None, IDLE, server(OTHER), server(status='SHELVED')]),
    LISTS,
    st.sampled_from([(), (task(OF_LATE),), (task(LONG_AGO, 'failure'),)]),
)
def test_promises(image, settings, owner, base_stores, tasks):
    """Whatever there is, these hold."""
    images = [base('' if base_stores is ... else base_stores)]

    found = judge(image, settings, images, owner, tasks)

    copied = [store for finding in found for store in finding.copy_to]
    # Each store once, and only where it is of use.
    assert len(set(copied)) == len(copied)
    assert not set(copied) & set(stores.of_image(image))
    assert set(copied) <= set(settings.catalogue.writable)
    # No user steers it past nova.conf.
    if settings.configured:
        assert set(copied) <= set(settings.orders.copy_to)
    if copied:
        assert image['status'] == 'active'
        assert image['size']
    for finding in found:
        assert 'delete' not in finding.remedy or image['status'] == 'queued'
        assert finding.problem
        assert finding.remedy
        assert '\n' not in finding.problem


def applied(command, image):
    """Return the image after a command; None if it is for people to decide.

    What can be deleted is deleted, and what can be copied is copied.
    """
    if not command.startswith('openstack '):
        return None
    words = shlex.split(command)
    if 'unset' in words:
        return {k: v for k, v in image.items() if k != copies.PROPERTY}
    if 'copy' not in words and 'relocate' not in words:
        return None
    present = list(stores.of_image(image))
    added = [
        value
        for option, value in zip(words, words[1:])
        if option in ('--store', '--to')
    ]
    sources = [v for o, v in zip(words, words[1:]) if o == '--from']
    assert 'copy' in words or sources
    assert set(added) | set(sources) <= set(CATALOGUE.writable)
    left = [s for s in present if s not in sources]
    image = {**image, 'stores': ','.join(dict.fromkeys(added + left))}
    image.pop('os_glance_failed_import', None)
    if 'relocate' in words and record.read(image):
        image[record.DIFFERENCE] = 'it was relocated'
    return image


@inputs.ALIKE
@hypothesis.given(
    IMAGES.filter(lambda image: image['status'] == 'active'),
    POLICIES,
    LISTS,
)
def test_remedies_lead_somewhere(image, settings, base_stores):
    """Applied one after the other, they end, and no wanted copy is lost."""
    hypothesis.assume(settings.catalogue.stores)
    images = [base('' if base_stores is ... else base_stores)]
    image.pop('os_glance_import_task', None)
    wanted = set(stores.split(image.get(copies.PROPERTY)))
    if settings.configured:
        wanted |= set(settings.orders.copy_to)
    kept = wanted & set(stores.of_image(image))

    for _ in range(10):
        found = judge(image, settings, images)
        after = (applied(finding.remedy, image) for finding in found)
        image = next((a for a in after if a is not None), None) or image
        assert kept <= set(stores.of_image(image))
        if all(applied(f.remedy, image) is None for f in found):
            break
    else:
        pytest.fail(f'no end: {found}')
