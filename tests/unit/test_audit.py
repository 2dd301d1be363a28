"""What is found wrong with a snapshot, and what is not."""

from __future__ import annotations

import dataclasses
import datetime
import io
import shlex
import types

import hypothesis
from hypothesis import strategies as st
from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions
import pytest

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.osc import audit_source
from nova_multistore.osc import sizes

NOW = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.timezone.utc)
LONG_AGO = '2026-01-02T10:59:59Z'
OF_LATE = '2026-01-02T11:00:00Z'
IMAGE = '11111111-1111-4111-8111-111111111111'
BASE = '22222222-2222-4222-8222-222222222222'
OTHER = '33333333-3333-4333-8333-333333333333'
SERVER = '44444444-4444-4444-8444-444444444444'
TASK = 'a-task'
CATALOGUE = stores.Catalogue(
    (
        stores.Store('central', default=True),
        stores.Store('dcn0'),
        stores.Store('dcn1'),
        stores.Store('web', read_only=True),
    )
)


def snapshot(**changes):
    """A snapshot that is all right, changed; what is ... is left out."""
    image = {
        'id': IMAGE,
        'name': 'nightly',
        'owner': 'demo',
        'status': 'active',
        'stores': 'dcn0',
        'size': 7,
        'virtual_size': 7,
        'disk_format': 'raw',
        'updated_at': LONG_AGO,
        'image_type': 'snapshot',
        'instance_uuid': SERVER,
        'base_image_ref': BASE,
        **changes,
    }
    return {key: value for key, value in image.items() if value is not ...}


def base(stores='dcn0', image_id=BASE, **more):
    return {'id': image_id, 'stores': stores, **more}


def server(image=BASE, **changes):
    """An idle server, changed; what is ... is left out."""
    found = {
        'name': 'server',
        'status': 'ACTIVE',
        'image': {'id': image} if image else '',
        'OS-EXT-STS:task_state': None,
        **changes,
    }
    return {key: value for key, value in found.items() if value is not ...}


def settings(**changes):
    return audit.Settings(CATALOGUE, **{'configured': True, **changes})


IN_FORCE = settings()
IDLE = server()


def judge(
    image, settings=IN_FORCE, images=(), owner=IDLE, tasks=(), look=None
):
    """Judge an image; what is looked up in vain is not there.

    If it is looked at, it is as it is listed.
    """
    lookups = audit.Lookups(
        {i['id']: i for i in images or [base()]}.get,
        look or {image['id']: image}.get,
        {SERVER: owner}.get,
        lambda image_id: tasks,
    )
    return audit.judge(image, settings, lookups, NOW)


def problem(*args, **kwargs):
    """Return the words of the only problem."""
    [finding] = judge(*args, **kwargs)
    return finding.problem


def unasked(*_args):
    raise AssertionError('this need not be asked')


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


# Under way.

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


def held(**changes):
    return snapshot(os_glance_import_task=TASK, **changes)


def task(updated_at, status='processing', message=''):
    return {
        'id': TASK,
        'status': status,
        'message': message,
        'input': {'backend': ['dcn1']},
        'updated_at': updated_at,
    }


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


# Its data.


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


def test_one_store():
    """A Glance without several stores names none."""
    alone = audit.Settings(stores.Catalogue(), configured=True)

    assert judge(snapshot(stores=...), alone) == []


# Its store.

RELOCATE = f'openstack multistore image relocate {IMAGE} --to '


def test_order():
    [finding] = judge(snapshot(), settings(store='dcn1'))

    assert finding.problem == (
        'it is in dcn0, not in dcn1: [glance] store names it'
    )
    assert finding.remedy == f'{RELOCATE}dcn1 --from dcn0'
    assert not finding.copy_to
    assert judge(snapshot(stores='dcn1'), settings(store='dcn1')) == []
    assert judge(snapshot(stores='web,dcn1'), settings(store='dcn1')) == []


@pytest.mark.parametrize(
    ('present', 'command'),
    [
        ('dcn0', f'relocate {IMAGE} --to dcn1 --from dcn0'),
        ('dcn0,web', f'relocate {IMAGE} --to dcn1 --from dcn0'),
        ('central,dcn0', f'relocate {IMAGE} --to dcn1 --from dcn0'),
        ('central', f'copy {IMAGE} --store dcn1'),
    ],
)
@pytest.mark.parametrize(
    'in_force',
    [
        settings(store='dcn1', copy_to=('central',)),
        # A user's wish, even if it is not granted.
        settings(store='dcn1'),
    ],
)
def test_copies_are_kept(present, command, in_force):
    """What mends the store takes no copy away."""
    image = snapshot(stores=present, **{copies.PROPERTY: 'central'})

    assert f'openstack multistore image {command}' in [
        finding.remedy for finding in judge(image, in_force)
    ]


@pytest.mark.parametrize('store', ['web', 'nosuch'])
def test_order_that_cannot_be(store):
    [finding] = judge(snapshot(), settings(store=store))

    assert f"store '{store}' is" in finding.problem
    assert 'can be written are central, dcn0, dcn1' in finding.problem
    assert 'nova.conf' in finding.remedy


@pytest.mark.parametrize(
    ('present', 'base_stores', 'store'),
    [
        ('dcn0', 'dcn0', None),
        ('dcn0,dcn1', 'dcn1', None),
        ('dcn0', 'dcn1,dcn0', None),
        ('dcn0', 'dcn1', 'dcn1'),
        ('dcn0', 'dcn1,central', 'central'),
        # The base image cannot tell.
        ('dcn0', 'web', 'central'),
        ('dcn0', 'elsewhere', 'central'),
        ('dcn0', '', 'central'),
        ('central', 'web', None),
        # A substring is no store.
        ('dcn0', 'dcn', 'central'),
    ],
)
def test_choice(present, base_stores, store):
    """It follows the base image, else it goes to the default store."""
    found = judge(snapshot(stores=present), images=[base(base_stores)])

    remedy = f'{RELOCATE}{store} --from dcn0'
    assert [f.remedy for f in found] == [remedy] * bool(store)


def test_base_image_is_the_servers():
    """The property names the first ancestor."""
    images = [base('central'), base('dcn1', OTHER, base_image_ref=BASE)]

    def remedies(present):
        found = judge(
            snapshot(stores=present), images=images, owner=server(OTHER)
        )
        return [f.remedy for f in found]

    assert remedies('dcn1') == []
    assert remedies('dcn0') == [f'{RELOCATE}dcn1 --from dcn0']
    # It costs less not to ask, and is never a false alarm.
    assert remedies('central') == []


@pytest.mark.parametrize(
    ('images', 'owner'),
    [
        # The server is gone.
        ([base('dcn1')], None),
        # The base image is, or is not to be seen.
        ([base('dcn1', OTHER)], IDLE),
        # The server was rebuilt since.
        ([base('dcn1'), base('dcn1', OTHER)], server(OTHER)),
        # It runs from a volume; nothing is known of it.
        ([base('dcn1')], server(None)),
        ([base('dcn1')], {'status': 'UNKNOWN'}),
        ([base('dcn1')], {}),
    ],
)
def test_no_verdict(images, owner):
    """What the rule would need to know is not known."""
    assert judge(snapshot(), images=images, owner=owner) == []


def test_no_verdict_without_configuration():
    """[glance] store may be set, for all that is known."""
    assert (
        judge(snapshot(), audit.Settings(CATALOGUE), images=[base('dcn1')])
        == []
    )


@pytest.mark.parametrize(
    ('name', 'owner', 'passing'),
    [
        ('server-shelved', server(status='SHELVED'), True),
        ('server-shelved', server(status='SHELVED_OFFLOADED'), True),
        (
            'server-resize-temp',
            server(**{'OS-EXT-STS:task_state': 'resize_migrating'}),
            True,
        ),
        ('server-shelved', server(), False),
        ('else-shelved', server(status='SHELVED'), False),
        ('server', server(status='SHELVED'), False),
        # It cannot be told.
        ('server-shelved', None, None),
        ('server-shelved', {'status': 'UNKNOWN'}, None),
        ('server-shelved', server(name=...), None),
    ],
)
def test_passing(name, owner, passing):
    """What is Nova's for a while follows the base image, and has no copies."""
    ordered = settings(store='dcn1', copy_to=('central',))
    found = {
        present: [
            f.problem
            for f in judge(
                snapshot(name=name, stores=present), ordered, owner=owner
            )
        ]
        for present in ('dcn0', 'dcn1')
    }

    if passing is None:
        assert found == {'dcn0': [], 'dcn1': []}
    elif passing:
        assert found['dcn0'] == []
        [words] = found['dcn1']
        assert words.endswith('not in dcn0: the base image is in it')
    else:
        assert [len(words) for words in found.values()] == [2, 1]
        assert found['dcn0'][0].endswith('[glance] store names it')
        assert found['dcn1'][0].startswith('no copy in central')


PLACES = {
    'cheap': stores.Place('file'),
    'own': stores.Place('rbd', 'one', 'images'),
    'beside': stores.Place('rbd', 'one', 'second'),
    'far': stores.Place('rbd', 'two', 'images'),
}


@pytest.mark.parametrize(
    ('ceph_store', 'base_stores', 'right'),
    [
        # It is not known which is its own: any in Ceph may be.
        (None, 'cheap', {'cheap', 'own', 'beside', 'far'}),
        (None, 'own', {'own', 'beside', 'far'}),
        ('own', 'own', {'own'}),
        ('own', 'own,cheap', {'own', 'cheap'}),
        # Nova's own search may have found a pool in the cluster.
        ('own', 'cheap', {'cheap', 'own', 'beside'}),
        ('own', 'far', {'far', 'own', 'beside'}),
        ('own', 'nosuch', {'own'}),
    ],
)
def test_ceph(ceph_store, base_stores, right):
    catalogue = stores.Catalogue(
        tuple(
            stores.Store(name, default=name == 'cheap', place=place)
            for name, place in PLACES.items()
        )
    )
    own = PLACES.get(ceph_store)
    in_ceph = audit.Settings(
        catalogue,
        configured=True,
        ceph_store=ceph_store,
        cluster=selection.Cluster(own.fsid if own else None, PLACES),
    )

    found = {
        name
        for name in PLACES
        if not judge(
            snapshot(stores=name), in_ceph, images=[base(base_stores)]
        )
    }

    assert found == right


# Its copies.

WANTED = {copies.PROPERTY: 'central,dcn1'}
COPY = f'openstack multistore image copy {IMAGE}'


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


# Anything at all.

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
# The same in every run: what they find must not depend on chance.
ALIKE = hypothesis.settings(
    max_examples=200, deadline=None, database=None, derandomize=True
)
POLICIES = st.builds(
    audit.Settings,
    st.sampled_from([CATALOGUE, stores.Catalogue()]),
    st.booleans(),
    st.sampled_from([None, *NAMES]),
    st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
)


@ALIKE
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
        assert set(copied) <= set(settings.copy_to)
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


@ALIKE
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
    wanted = set(copies.split(image.get(copies.PROPERTY)))
    if settings.configured:
        wanted |= set(settings.copy_to)
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


def foreign(*named):
    """Return the problem and the remedy of an image that is not here."""
    names = ', '.join(named)
    options = ' '.join(f'--remote-store {name}' for name in named)
    return audit.Finding(
        f'it is in {names} alone, which this Glance does not have',
        f'bring {names} back into enabled_backends of this Glance; if it is '
        f'the store of another site, audit with {options}',
    )


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {copies.PROPERTY: 'central'},
        {'os_glance_failed_import': 'central'},
        {record.RULE: 'request', record.STORE: 'dcn1'},
        {
            record.RULE: 'move',
            record.STORE: 'central',
            record.MOVE_FROM: 'dcn0',
        },
    ],
)
def test_store_of_another_glance(changes):
    """It is the only problem: no command of this Glance mends another."""
    far = snapshot(stores='far', **changes)
    in_force = settings(copy_to=('central',), store='dcn0')

    assert judge(far, in_force) == [foreign('far')]
    assert judge({**far, 'stores': 'far,off'}, in_force) == [
        foreign('far', 'off')
    ]
    known = dataclasses.replace(in_force, remote=('far',))
    assert judge(far, known) == []
    # Another site can read it.
    assert judge({**far, 'stores': 'off,far'}, known) == []
    assert judge({**far, 'stores': 'off'}, known) == [foreign('off')]


def test_also_in_a_store_of_another_glance():
    """It can be read here, so it is judged as others are."""
    assert judge(snapshot(stores='far,dcn0')) == []
    image = snapshot(stores='far,dcn0', **WANTED)
    [finding] = judge(image, audit.Settings(CATALOGUE))
    assert 'no copy in central, dcn1' in finding.problem


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


RECORD = {record.RULE: 'request', record.STORE: 'dcn1'}


class TestRecord:
    """An image that says what was decided."""

    @pytest.mark.parametrize(
        'configured',
        [settings(), settings(store='central'), audit.Settings(CATALOGUE)],
    )
    def test_order_that_was_met(self, configured):
        """It is right, whatever nova.conf says, and nobody is asked."""
        lookups = audit.Lookups(None, None, None, None)

        image = snapshot(stores='dcn1', **RECORD)

        assert audit.judge(image, configured, lookups, NOW) == []

    @pytest.mark.parametrize(
        'configured',
        [settings(), settings(store='dcn0'), audit.Settings(CATALOGUE)],
    )
    def test_elsewhere(self, configured):
        """It is said, with nova.conf and without."""
        [finding] = judge(snapshot(stores='dcn0', **RECORD), configured)

        assert finding.problem == (
            'it is in dcn0, not in dcn1: it was decided so (rule request)'
        )
        assert finding.remedy == f'{RELOCATE}dcn1 --from dcn0'

    def test_reason_for_a_difference(self):
        """The image says why it is elsewhere: that is right."""
        image = snapshot(stores='dcn0', **RECORD)
        image[record.DIFFERENCE] = 'store dcn1 did not take it'

        assert judge(image, settings(store='dcn1')) == []

    @pytest.mark.parametrize('before', ['', 'no direct snapshot: full; '])
    def test_glance_that_put_it_elsewhere(self, before):
        """That is no reason."""
        image = snapshot(stores='dcn0', **RECORD)
        image[record.DIFFERENCE] = f'{before}{record.ELSEWHERE}in dcn0'

        [finding] = judge(image)

        assert finding.remedy == f'{RELOCATE}dcn1 --from dcn0'

    @pytest.mark.parametrize('present', ['dcn0', 'dcn1'])
    def test_glance_that_could_not_be_asked(self, present):
        """The base image, which is known now, tells where it belongs."""
        image = snapshot(stores=present, **{record.RULE: 'default'})
        image[record.DIFFERENCE] = f'{record.UNASKED}HTTP 502'
        images = [base('dcn1')]

        known = judge(image, images=images)
        unknown = judge(image, settings(configured=False), images=images)

        if present == 'dcn1':
            assert (known, unknown) == ([], [])
            return
        assert [f.remedy for f in known] == [f'{RELOCATE}dcn1 --from dcn0']
        [finding] = unknown
        assert finding.problem == (
            'it is in dcn0: Glance could not be asked: HTTP 502'
        )
        assert '--config-file' in finding.remedy

    def test_glance_that_could_not_be_asked_where_all_is_gone(self):
        """Nobody can say any more where it belongs."""
        image = snapshot(stores='dcn0', **{record.RULE: 'default'})
        image[record.DIFFERENCE] = f'{record.UNASKED}HTTP 502'

        for known in (True, False):
            found = judge(
                image,
                settings(configured=known),
                images=[base('dcn1', OTHER)],
                owner=None,
            )
            assert found == []

    def test_default_store(self):
        """It was the default store when no name was written."""
        image = snapshot(stores='dcn0', **{record.RULE: 'default'})

        [finding] = judge(image)

        assert ', not in central: ' in finding.problem

    @pytest.mark.parametrize('store', ['web', 'gone'])
    def test_store_that_takes_nothing_any_more(self, store):
        """Nobody can mend that."""
        image = snapshot(stores='dcn0', **{**RECORD, record.STORE: store})

        assert judge(image) == []

    def test_nonsense(self):
        """It goes by the rules then."""
        image = snapshot(stores='dcn0', **{record.RULE: 'x'})

        [finding] = judge(image, settings(store='dcn1'))

        assert '[glance] store names it' in finding.problem

    @pytest.mark.parametrize(
        ('configured', 'mended'),
        [
            (audit.Settings(CATALOGUE), ('dcn0',)),
            (settings(copy_to=('dcn0',)), ('dcn0',)),
            # Another site's, or a tenant's wish: an administrator decides.
            (settings(copy_to=('central',)), ()),
        ],
    )
    def test_copies_of_another_site(self, configured, mended):
        """They are missing for all, and made by --fix where they may be."""
        image = snapshot(stores='dcn1', **RECORD, **{copies.PROPERTY: 'dcn0'})

        [finding] = judge(image, configured)

        assert finding.problem == 'no copy in dcn0: none is being made'
        assert finding.copy_to == mended
        assert 'image copy' in finding.remedy

    def test_no_copies_wanted(self):
        """A compute without copies is not told of another one's."""
        image = snapshot(stores='dcn1', **RECORD)

        assert judge(image, settings(copy_to=('central',))) == []


# What the command makes of it.


class Images:
    """Glance, which fails."""

    def __init__(self, failures=()):
        self._failures = list(failures)

    def show(self, image_id):
        raise self._failures.pop(0)

    def tasks(self, image_id):
        return []


def inquire(images, server_now=unasked):
    return audit_source.Source(
        types.SimpleNamespace(images=images, server_now=server_now)
    )


SILENT = exception.LookupFailed('Glance did not answer')


def test_look(pauses):
    """It is never remembered, and a refusal is no absence."""
    refused = exception.GlanceRefused(403, 'no')
    gone = exception.GlanceRefused(404, 'no')
    lookups = inquire(Images(failures=[SILENT, gone, refused])).lookups

    assert lookups.look(IMAGE) is None
    with pytest.raises(exception.GlanceRefused):
        lookups.look(IMAGE)


@pytest.mark.parametrize('status', [403, 404])
def test_base_image_not_to_be_seen(status, pauses):
    images = Images(failures=[SILENT, exception.GlanceRefused(status, 'x')])

    lookups = inquire(images).lookups

    assert lookups.image(BASE) is None
    # It is remembered.
    assert lookups.image(BASE) is None


def test_server():
    """As much of it as is needed, once until it is to be asked anew."""
    asked = []

    def server_now(server_id):
        asked.append(server_id)
        return None if server_id == 'gone' else {**server(), 'more': 'x'}

    asking = inquire(Images(), server_now)

    for _page in range(2):
        asking.forget_servers()
        for _ in range(2):
            assert asking.lookups.server(SERVER) == server()
            assert asking.lookups.server('gone') is None

    assert asked == [SERVER, 'gone'] * 2
    assert asking.untold == 0


def test_nova_answers_with_an_error(pauses):
    """Of another server it may tell."""
    answers = {SERVER: sdk_exceptions.HttpException('no'), 'b': server()}

    def server_now(server_id):
        if isinstance(answers[server_id], Exception):
            raise answers[server_id]
        return answers[server_id]

    asking = inquire(Images(), server_now)

    assert asking.lookups.server(SERVER) == {}
    assert asking.lookups.server('b') == server()
    assert asking.untold == 1
    assert pauses == []


def test_nova_does_not_answer(pauses):
    """It is not asked about every further server as well."""

    def server_now(server_id):
        raise auth_exceptions.ConnectFailure('no')

    asking = inquire(Images(), server_now)

    assert asking.lookups.server('a') == {}
    assert asking.lookups.server('b') == {}
    assert asking.untold == 2
    assert sum(pauses) == 63


class Terminal(io.StringIO):
    """What somebody looks at."""

    def isatty(self):
        return True


def test_totals():
    """A store in which nothing is is there as well."""
    sums = sizes.Totals(['central', 'dcn0'])
    sums.add(snapshot(stores='central,far', size=5 << 30))
    sums.add(snapshot(stores='central', size=None))
    plain, terminal = io.StringIO(), Terminal()

    sums.show(plain)
    sums.show(terminal)

    assert plain.getvalue().splitlines() == [
        'central: 2 images, 5368709120 bytes',
        'dcn0: 0 images, 0 bytes',
        'far: 1 image, 5368709120 bytes',
    ]
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert ['█' in line for line in lines] == [True, False, True]
    assert '5.0 GiB' in lines[0]


def test_no_totals():
    """A Glance without several stores has none."""
    terminal = Terminal()

    sizes.Totals([]).show(terminal)

    assert terminal.getvalue().strip() == ''


# Moves.


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
