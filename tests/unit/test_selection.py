"""The rule table, row by row."""

from __future__ import annotations

import dataclasses

import pytest

from nova_multistore import exception
from nova_multistore import selection
from nova_multistore import stores

BASE = 'b8b2c6f7-7345-4e2f-afa2-eedaba9cbbe3'
CATALOGUE = stores.Catalogue(
    (
        stores.Store('ceph'),
        stores.Store('cheap', default=True),
        stores.Store('fast'),
        stores.Store('web', read_only=True),
    )
)
KEPT = (selection.Operation.SNAPSHOT, selection.Operation.BACKUP)
OTHERS = tuple(o for o in selection.Operation if o not in KEPT)
REF = {'X-OpenStack-Base-Image-Ref': BASE}


def facts(**changes):
    """A snapshot of a server whose base image is in ``fast``.

    :param changes: facts, or options of ``nova.conf``
    """
    orders = selection.Orders(
        changes.pop('configured', None), changes.pop('move_to', None)
    )
    return dataclasses.replace(
        selection.Facts(
            operation=selection.Operation.SNAPSHOT,
            image_ref=BASE,
            catalogue=CATALOGUE,
            base_stores=('fast',),
            orders=orders,
        ),
        **changes,
    )


def sent(chosen):
    """The headers of the first upload."""
    return chosen.headers(chosen.store)


@pytest.mark.parametrize('image_ref', [None, ''])
@pytest.mark.parametrize('operation', selection.Operation)
def test_volume_backed_goes_to_the_default_store(operation, image_ref):
    """Row 1: no order counts, and neither header is sent."""
    chosen = selection.select(
        facts(
            operation=operation,
            image_ref=image_ref,
            requested='fast',
            configured='nosuch',
            ceph_store='ceph',
        )
    )

    assert chosen.store is None
    assert sent(chosen) == {}
    assert chosen.reason == 'the server has no base image'


@pytest.mark.parametrize('operation', KEPT)
def test_request_names_the_store(operation):
    """Row 2: it wins over [glance] store and the base image."""
    chosen = selection.select(
        facts(operation=operation, requested='ceph', configured='cheap')
    )

    assert chosen.ordered
    assert chosen.fallback is None
    assert sent(chosen) == {**REF, 'X-Image-Meta-Store': 'ceph'}
    assert chosen.reason == 'the request names it'


@pytest.mark.parametrize('image_ref', ['17', 'http://glance/v2/images/x'])
def test_image_ref_that_is_no_uuid(image_ref):
    """It is not sent, and does not stand against an order."""
    chosen = selection.select(facts(image_ref=image_ref, configured='ceph'))

    assert sent(chosen) == {'X-Image-Meta-Store': 'ceph'}
    chosen = selection.select(
        facts(image_ref=image_ref, base_stores=None, unknown='it is no UUID')
    )
    assert sent(chosen) == {}
    assert chosen.reason == 'it is no UUID'


@pytest.mark.parametrize('operation', KEPT)
def test_option_names_the_store(operation):
    """Row 3: it wins over the base image."""
    chosen = selection.select(facts(operation=operation, configured='cheap'))

    assert chosen.ordered
    assert chosen.fallback is None
    assert sent(chosen) == {**REF, 'X-Image-Meta-Store': 'cheap'}
    assert chosen.reason == '[glance] store names it'


@pytest.mark.parametrize('order', ['requested', 'configured'])
@pytest.mark.parametrize('operation', OTHERS)
def test_shelve_and_resize_obey_no_order(operation, order):
    """They follow the base image, whatever store is named."""
    chosen = selection.select(facts(operation=operation, **{order: 'nosuch'}))

    assert not chosen.ordered
    assert chosen.store == 'fast'


@pytest.mark.parametrize('order', ['requested', 'configured'])
@pytest.mark.parametrize(
    ('store', 'error', 'words'),
    [
        ('fats', exception.UnknownStore, "is not one of Glance's stores"),
        ('web', exception.ReadOnlyStore, 'is read-only'),
    ],
)
def test_order_that_cannot_be_met(order, store, error, words):
    """The error names the store and the valid ones."""
    with pytest.raises(error) as caught:
        selection.select(facts(**{order: store}))

    assert store == caught.value.store
    assert caught.value.valid == ('ceph', 'cheap', 'fast')
    assert (
        f"store '{store}' {words}; the stores that can be written are "
        'ceph, cheap, fast' == str(caught.value)
    )


def test_order_where_glance_has_one_store():
    """There is no store of that name then."""
    with pytest.raises(
        exception.UnknownStore, match='not configured with several stores'
    ):
        selection.select(
            facts(configured='fast', catalogue=stores.Catalogue())
        )


def test_order_that_cannot_be_checked_stands():
    """Glance itself refuses an unknown store at the upload."""
    chosen = selection.select(
        facts(configured='fast', catalogue=None, unknown='Glance is silent')
    )

    assert chosen.store == 'fast'
    assert chosen.ordered
    assert chosen.reason.endswith('; not checked, as Glance is silent')


@pytest.mark.parametrize(
    ('base_stores', 'ceph_store', 'store', 'fallback'),
    [
        (('fast',), None, 'fast', 'cheap'),
        (('cheap',), None, 'cheap', None),
        (('fast', 'cheap'), None, 'cheap', None),
        (('fast', 'ceph'), None, 'fast', 'cheap'),
        (('fast', 'ceph'), 'ceph', 'ceph', 'cheap'),
        (('cheap', 'ceph'), 'ceph', 'ceph', 'cheap'),
        (('web', 'fast'), None, 'fast', 'cheap'),
        (('elsewhere', 'fast'), None, 'fast', 'cheap'),
        (('fast',), 'ceph', 'fast', 'cheap'),
        (('fast',), 'elsewhere', 'fast', 'cheap'),
    ],
)
def test_base_image_tells(base_stores, ceph_store, store, fallback):
    """Row 4: own Ceph store, else the default one, else the first."""
    chosen = selection.select(
        facts(base_stores=base_stores, ceph_store=ceph_store)
    )

    assert not chosen.ordered
    assert fallback == chosen.fallback
    assert {**REF, 'X-Image-Meta-Store': store} == sent(chosen)
    assert chosen.reason.startswith('the base image is in it')


def test_ceph_is_no_substring_of_ceph2():
    """A store's id is compared whole."""
    catalogue = stores.Catalogue(
        (stores.Store('ceph'), stores.Store('file', default=True))
    )

    chosen = selection.select(
        facts(catalogue=catalogue, base_stores=('ceph2', 'file'))
    )

    assert chosen.store == 'file'


UNTOLD = [
    ((), 'the base image is in no store'),
    (('web',), 'the base image is only in web, where Glance takes no data'),
    (
        ('elsewhere', 'web'),
        'the base image is only in elsewhere, web, where Glance takes no data',
    ),
    (None, 'it is gone'),
]


@pytest.mark.parametrize(('base_stores', 'why'), UNTOLD)
def test_own_ceph_store_where_the_base_image_cannot_tell(base_stores, why):
    """Row 5."""
    chosen = selection.select(
        facts(base_stores=base_stores, unknown='it is gone', ceph_store='ceph')
    )

    assert chosen.fallback == 'cheap'
    assert sent(chosen) == {**REF, 'X-Image-Meta-Store': 'ceph'}
    assert f"this compute's own Ceph store, as {why}" == chosen.reason


@pytest.mark.parametrize('ceph_store', [None, 'elsewhere', 'web'])
@pytest.mark.parametrize(('base_stores', 'why'), UNTOLD)
def test_default_store_where_nothing_tells(base_stores, why, ceph_store):
    """Row 6: the base image's reference goes alone."""
    chosen = selection.select(
        facts(
            base_stores=base_stores,
            unknown='it is gone',
            ceph_store=ceph_store,
        )
    )

    assert sent(chosen) == REF
    assert chosen.reason == why


def test_default_store_where_glance_has_one_store():
    """Row 6, also for a compute with disks in Ceph."""
    chosen = selection.select(
        facts(catalogue=stores.Catalogue(), ceph_store='ceph')
    )

    assert sent(chosen) == REF
    assert chosen.reason == 'Glance does not have several stores'


def test_default_store_where_the_catalogue_is_unknown():
    """Row 6: a derived choice does not fail with the discovery."""
    chosen = selection.select(
        facts(catalogue=None, unknown='Glance is silent', ceph_store='ceph')
    )

    assert sent(chosen) == REF
    assert chosen.reason == 'Glance is silent'


@pytest.mark.parametrize(
    'default',
    [
        stores.Store('cheap'),
        stores.Store('cheap', default=True, read_only=True),
    ],
)
def test_no_fallback_without_a_writable_default_store(default):
    """There is nowhere else to go then."""
    chosen = selection.select(
        facts(catalogue=stores.Catalogue((default, stores.Store('fast'))))
    )

    assert chosen.store == 'fast'
    assert chosen.fallback is None


def test_fallback_is_named():
    """Else a filter in Glance would send the data back."""
    chosen = selection.select(facts())

    assert chosen.headers(chosen.fallback) == {
        **REF,
        'X-Image-Meta-Store': 'cheap',
    }


FSID = '7d2f2a36-8f5e-4b76-9b6e-0a3f2f6f9e11'
PLACES = {
    'ceph': stores.Place('rbd', FSID, 'images'),
    'cheap': stores.Place('file'),
    'fast': stores.Place('rbd', FSID, 'other'),
    'far': stores.Place('rbd', 'another-cluster', 'images'),
}


def in_ceph(fsid=FSID, places=PLACES, **changes):
    """A snapshot of a server whose disk is in Ceph."""
    catalogue = stores.Catalogue((*CATALOGUE.stores, stores.Store('far')))
    cluster = selection.Cluster(fsid, places)
    return facts(cluster=cluster, **{'catalogue': catalogue, **changes})


class TestOwnStore:
    """Without an option, a store in the cluster of the disk."""

    @pytest.mark.parametrize(
        ('base_stores', 'own'),
        [
            (None, 'ceph'),
            ((), 'ceph'),
            (('fast',), 'fast'),
            (('cheap', 'fast'), 'fast'),
            (('cheap', 'fast', 'ceph'), 'ceph'),
            (('far',), 'ceph'),
        ],
    )
    def test_several(self, base_stores, own):
        """One with the base image, else the first."""
        assert own == in_ceph(base_stores=base_stores).own_store

    def test_default_store_before_another(self):
        """It is where Glance puts what nobody asks for."""
        catalogue = stores.Catalogue(
            (stores.Store('ceph'), stores.Store('fast', default=True))
        )

        assert in_ceph(catalogue=catalogue).own_store == 'fast'

    def test_option(self):
        """It wins."""
        assert in_ceph(ceph_store='far').own_store == 'far'

    @pytest.mark.parametrize(
        'changes',
        [{'fsid': None}, {'places': {}}, {'catalogue': None}],
    )
    def test_unknown(self, changes):
        """There is none then."""
        assert in_ceph(**changes).own_store is None

    def test_row_4(self):
        """It wins over the default store."""
        chosen = selection.select(in_ceph(base_stores=('cheap', 'fast')))

        assert (chosen.store, chosen.pool) == ('fast', 'other')

    def test_row_5(self):
        """It takes what the base image says nothing of."""
        chosen = selection.select(in_ceph(base_stores=None))

        assert (chosen.store, chosen.pool) == ('ceph', 'images')


Direct = selection.Direct
UNSETTLED = {'catalogue': dataclasses.replace(CATALOGUE, unsettled=True)}


@pytest.mark.parametrize(
    ('changes', 'direct', 'pool'),
    [
        # In this cluster.
        ({'configured': 'ceph'}, Direct.POOL, 'images'),
        ({'configured': 'fast'}, Direct.POOL, 'other'),
        ({'base_stores': ('fast',)}, Direct.POOL_FIRST, 'other'),
        # Elsewhere: an order rules a direct snapshot out.
        ({'configured': 'cheap'}, Direct.NO, None),
        ({'configured': 'far'}, Direct.NO, None),
        ({'configured': 'cheap', 'fsid': None}, Direct.NO, None),
        ({'base_stores': ('cheap',)}, Direct.SEARCH, None),
        ({'base_stores': ('far',)}, Direct.SEARCH, None),
        # Nobody knows: Nova's own way.
        ({'configured': 'ceph', 'places': {}}, Direct.SEARCH, None),
        (
            {
                'configured': 'ceph',
                'places': {'ceph': stores.Place('rbd')},
            },
            Direct.SEARCH,
            None,
        ),
        ({'base_stores': ('ceph',), 'places': {}}, Direct.SEARCH, None),
        ({'catalogue': None}, Direct.SEARCH, None),
        # Nobody knows just now: an order is not lost over that.
        (
            {'catalogue': None, 'configured': 'ceph', 'places': {}},
            Direct.NO,
            None,
        ),
        ({'configured': 'ceph', 'places': {}, **UNSETTLED}, Direct.NO, None),
        ({'configured': 'far', 'fsid': None}, Direct.NO, None),
        ({'places': {}, **UNSETTLED}, Direct.SEARCH, None),
        ({'configured': 'ceph', **UNSETTLED}, Direct.POOL, 'images'),
        # A shelved server obeys no order.
        (
            {
                'configured': 'cheap',
                'operation': selection.Operation.SHELVE,
            },
            Direct.POOL_FIRST,
            'other',
        ),
    ],
)
def test_direct_snapshot(changes, direct, pool):
    """Where it goes."""
    chosen = selection.select(in_ceph(**changes))

    assert (chosen.direct, chosen.pool) == (direct, pool)


@pytest.mark.parametrize('ceph_store', [None, 'ceph'])
def test_no_direct_snapshot_where_disks_are_elsewhere(ceph_store):
    """Nothing is said of it."""
    chosen = selection.select(facts(ceph_store=ceph_store))

    assert (chosen.direct, chosen.pool) == (Direct.NO, None)


IN_CEPH = {
    'ceph': stores.Place('rbd', 'one', 'images'),
    'cheap': stores.Place('file'),
    'fast': stores.Place('rbd', 'one', 'other'),
    'web': stores.Place('http'),
}


def moving(**changes):
    """A disk in the Ceph of ``ceph`` and ``fast``, and a store to move to."""
    catalogue = stores.Catalogue(
        tuple(
            dataclasses.replace(store, place=IN_CEPH[store.id])
            for store in CATALOGUE.stores
        )
    )
    return facts(
        **{
            'catalogue': catalogue,
            'move_to': 'cheap',
            'cluster': selection.Cluster('one', IN_CEPH),
            **changes,
        }
    )


@pytest.mark.parametrize('operation', KEPT)
@pytest.mark.parametrize(
    ('changes', 'source', 'pool'),
    [
        ({}, 'fast', 'other'),
        ({'base_stores': ('ceph', 'cheap')}, 'ceph', 'images'),
        ({'base_stores': None}, 'ceph', 'images'),
        ({'ceph_store': 'ceph'}, 'ceph', 'images'),
    ],
)
def test_made_in_ceph_and_moved(operation, changes, source, pool):
    """It is made in the compute's own store, by a clone or not at all."""
    chosen = selection.select(moving(operation=operation, **changes))

    assert chosen.rule is selection.Rule.MOVE
    assert (chosen.store, chosen.move_from) == ('cheap', source)
    assert (chosen.direct, chosen.pool) == (selection.Direct.POOL, pool)


@pytest.mark.parametrize(
    ('changes', 'direct'),
    [
        # It is in the same Ceph.
        ({'move_to': 'fast'}, selection.Direct.POOL),
        # The disk is not in Ceph, or is in another one, or nobody knows.
        ({'cluster': None}, selection.Direct.NO),
        (
            {'cluster': selection.Cluster('two', IN_CEPH)},
            selection.Direct.NO,
        ),
        ({'cluster': selection.Cluster('one', {})}, selection.Direct.NO),
        ({'ceph_store': 'unknown'}, selection.Direct.NO),
        ({'catalogue': None}, selection.Direct.NO),
        ({'clones': False}, selection.Direct.NO),
    ],
)
def test_nothing_to_gain_from_a_move(changes, direct):
    """It is made in that store straight away."""
    chosen = selection.select(moving(**changes))

    assert chosen.rule is selection.Rule.MOVE
    assert chosen.store == changes.get('move_to', 'cheap')
    assert (chosen.direct, chosen.move_from) == (direct, None)


@pytest.mark.parametrize(
    'changes',
    [
        {'requested': 'fast'},
        {'configured': 'fast'},
        *({'operation': operation} for operation in OTHERS),
    ],
)
def test_not_moved(changes):
    """An order, and what Nova makes for itself."""
    chosen = selection.select(moving(**changes))

    assert (chosen.store, chosen.move_from) == ('fast', None)
    assert chosen.rule is not selection.Rule.MOVE


@pytest.mark.parametrize('store', ['nosuch', 'web'])
def test_move_to_a_store_that_takes_nothing(store):
    """Nothing is made that could not move."""
    with pytest.raises(exception.StoreRefused):
        selection.select(moving(move_to=store))
