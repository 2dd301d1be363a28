"""Whether a snapshot is in the store where it should be."""

from __future__ import annotations

import dataclasses

import pytest

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import stores
from tests.unit.judging import BASE
from tests.unit.judging import CATALOGUE
from tests.unit.judging import IDLE
from tests.unit.judging import IMAGE
from tests.unit.judging import NOW
from tests.unit.judging import OTHER
from tests.unit.judging import RELOCATE
from tests.unit.judging import WANTED
from tests.unit.judging import base
from tests.unit.judging import foreign
from tests.unit.judging import judge
from tests.unit.judging import server
from tests.unit.judging import settings
from tests.unit.judging import snapshot


def test_one_store():
    """A Glance without several stores names none."""
    alone = audit.Settings(stores.Catalogue(), configured=True)

    assert judge(snapshot(stores=...), alone) == []


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
            'it is in dcn0, not in dcn1: its record names dcn1 (rule request)'
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
