"""The rules that say which store takes a snapshot. They send no requests."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import enum
from typing import TYPE_CHECKING
import uuid

if TYPE_CHECKING:
    from nova_multistore.stores import Catalogue
    from nova_multistore.stores import Place

#: Header that names the base image, by its UUID. Nova's specification "Support
#: multiple stores of Glance" defines it, and Cinder sends it.
BASE_IMAGE_REF_HEADER = 'X-OpenStack-Base-Image-Ref'
#: Value of that header in Glance's answer if the filter could not look the
#: base image up. Otherwise the value is the UUID.
NOT_LOOKED_UP = 'not-looked-up'
#: Header that names the store: Glance's Image API, "Upload binary image data".
STORE_HEADER = 'X-Image-Meta-Store'
#: Key that names the store in the metadata of a request for a snapshot or a
#: backup. nova-api's filter removes it; as a property of an image it has no
#: effect.
STORE_PROPERTY = 'nova_multistore_store'


class Operation(enum.Enum):
    """What a snapshot is taken for."""

    SNAPSHOT = 'snapshot'
    BACKUP = 'backup'
    SHELVE = 'shelve'
    RESIZE = 'resize'
    #: Something else, such as an upload by another service. Nobody can ask
    #: for a store then.
    OTHER = 'other'

    @property
    def for_keeps(self) -> bool:
        """Whether the user keeps the image. Nova deletes the others itself."""
        return self in (Operation.SNAPSHOT, Operation.BACKUP)


class Rule(enum.Enum):
    """Which rule decided."""

    #: The request names the store.
    REQUEST = 'request'
    #: ``[glance] store`` names it.
    CONFIG = 'config'
    #: ``[nova_multistore] move_to`` names it.
    MOVE = 'move'
    #: The base image is in it.
    BASE_IMAGE = 'base-image'
    #: It is this compute's own Ceph store.
    CEPH_STORE = 'ceph-store'
    #: It is Glance's default store, as no other rule applies.
    DEFAULT = 'default'


class Direct(enum.Enum):
    """Where a direct snapshot goes: one that Nova makes inside Ceph."""

    #: There is none. The snapshot is a full copy of the disk.
    NO = 'no'
    #: To the pool of the store. If that fails, the snapshot is a full copy.
    POOL = 'pool'
    #: To the pool of the store. If that fails, the same as `SEARCH`.
    POOL_FIRST = 'pool first'
    #: To the pool that Nova's own search finds, if it finds one.
    SEARCH = 'search'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ceph cluster, and what is known of the stores in it."""

    #: Id of the cluster, None if that is not known.
    fsid: str | None = None
    #: Where stores keep their images, by store id. A store is missing if that
    #: is not known.
    places: Mapping[str, Place] = dataclasses.field(default_factory=dict)

    def pool(self, store: str | None) -> str | None:
        """Return a store's pool in this cluster, None if none is known."""
        place = self.places.get(store or '')
        here = place and self.fsid and place.fsid == self.fsid
        return place.pool if place and here else None

    def pools(self, catalogue: Catalogue | None) -> frozenset[str] | None:
        """Return the stores' pools in this cluster, None if not all are known.

        :param catalogue: what Glance lists
        """
        if catalogue is None or not catalogue.stores or not self.fsid:
            return None
        found = set()
        for store in catalogue.stores:
            place = self.places.get(store.id)
            if place is None or (place.type == 'rbd' and not place.fsid):
                return None
            if pool := self.pool(store.id):
                found.add(pool)
        return frozenset(found)

    def lacks(self, store: str | None) -> bool:
        """Tell whether a store is known to be outside of this cluster."""
        place = self.places.get(store or '')
        if place is None or self.pool(store):
            return False
        return place.type != 'rbd' or bool(place.fsid and self.fsid)


@dataclasses.dataclass(frozen=True)
class Orders:
    """The stores that ``nova.conf`` names for what users keep."""

    #: Store of ``[glance] store``.
    store: str | None = None
    #: Store of ``[nova_multistore] move_to``.
    move_to: str | None = None
    #: Stores of ``[nova_multistore] copy_to``, each once.
    copy_to: tuple[str, ...] = ()

    @property
    def first(self) -> tuple[str, Rule] | None:
        """The store that a snapshot has to go to, and the rule."""
        if self.store:
            return self.store, Rule.CONFIG
        if self.move_to:
            return self.move_to, Rule.MOVE
        return None

    def copies_of(self, operation: Operation) -> tuple[str, ...]:
        """Return the stores that are to have a copy of an image.

        :param operation: what the image is made for
        """
        return self.copy_to if operation.for_keeps else ()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the rules depend on."""

    operation: Operation
    #: The server's ``image_ref``; None or empty if it is volume-backed.
    image_ref: str | None
    #: What Glance lists; None if Glance did not say.
    catalogue: Catalogue | None = None
    #: Stores of the base image, in Glance's order; None if they are unknown.
    base_stores: tuple[str, ...] | None = None
    #: Why the catalogue or the base image's stores are unknown, in words.
    unknown: str = 'it was not looked at'
    #: Whether Glance could not be asked for them.
    unasked: bool = False
    #: Store that the request names.
    requested: str | None = None
    #: Stores that ``nova.conf`` names.
    orders: Orders = dataclasses.field(default_factory=Orders)
    #: What ``nova.conf`` names as this compute's own Ceph store.
    ceph_store: str | None = None
    #: The Ceph cluster that has the server's disk; None if none has.
    cluster: Cluster | None = None
    #: Whether a clone of the disk can be the image. A clone is raw.
    clones: bool = True

    @property
    def base_image_ref(self) -> str | None:
        """UUID of the base image, None if ``image_ref`` is not one."""
        try:
            return str(uuid.UUID(self.image_ref)) if self.image_ref else None
        except ValueError:
            return None

    @property
    def ordered(self) -> tuple[str, Rule] | None:
        """The store that somebody asked for, and the rule that applies."""
        if self.image_ref and self.operation.for_keeps:
            if self.requested:
                return self.requested, Rule.REQUEST
            return self.orders.first
        return None

    @property
    def own_store(self) -> str | None:
        """This compute's own Ceph store, None if there is none.

        If the cluster has several stores, a store that has the base image
        comes first, then the default store.
        """
        if self.ceph_store or not self.cluster or not self.catalogue:
            return self.ceph_store
        default = self.catalogue.default
        return min(
            filter(self.cluster.pool, self.catalogue.writable),
            key=lambda s: (s not in (self.base_stores or ()), s != default),
            default=None,
        )


@dataclasses.dataclass(frozen=True)
class Selection:
    """Where a snapshot goes, and why."""

    #: Store id; None for Glance's default store.
    store: str | None
    #: UUID of the base image, None if there is none.
    base_image_ref: str | None
    #: In words, for the log.
    reason: str
    rule: Rule = Rule.DEFAULT
    #: Whether somebody asked for the store, in the request or in
    #: ``nova.conf``.
    ordered: bool = False
    #: What Glance listed when the store was selected.
    catalogue: Catalogue | None = dataclasses.field(default=None, repr=False)
    #: Where a direct snapshot goes.
    direct: Direct = Direct.NO
    #: Pool of the store, if a direct snapshot goes there.
    pool: str | None = None
    #: Id of the store in which the direct snapshot is made, if it is to move
    #: from there to ``store``.
    move_from: str | None = None
    #: Pools of all stores in the cluster of the disk; None if they are not
    #: all known. Glance refuses a clone in any other pool.
    pools: frozenset[str] | None = None

    @property
    def fallback(self) -> str | None:
        """The store that takes the data if ``store`` refuses it.

        It is the default store, unless somebody asked for ``store``.
        """
        if self.ordered or not self.store or not self.catalogue:
            return None
        default = self.catalogue.default
        if default == self.store or default not in self.catalogue.writable:
            return None
        return default

    @property
    def destination(self) -> str:
        """Where the snapshot goes, in words."""
        words = "Glance's default store"
        if self.store:
            words = f'store {self.store}'
        if self.move_from:
            return (
                f'store {self.move_from} (Ceph pool {self.pool}), and moves '
                f'to {words}'
            )
        if self.pool:
            words += f' (Ceph pool {self.pool})'
        if self.direct is Direct.SEARCH:
            words += ", unless Nova's own search finds a pool in Ceph"
        return words

    def headers(self, store: str | None) -> dict[str, str]:
        """Return the headers of the upload.

        :param store: the store to name: ``store`` or ``fallback``
        :returns: headers, by name
        """
        headers = {}
        if self.base_image_ref:
            headers[BASE_IMAGE_REF_HEADER] = self.base_image_ref
        if store:
            headers[STORE_HEADER] = store
        return headers


def select(facts: Facts) -> Selection:
    """Select the store. The first rule that matches decides.

    :param facts: what is known of the server, its base image and Glance
    :returns: the selection
    :raises UnknownStore: Glance does not list the store that was asked for
    :raises ReadOnlyStore: the store that was asked for is read-only
    """
    if not facts.image_ref:
        return Selection(None, None, 'the server has no base image')
    if facts.ordered:
        selected = _order(facts, *facts.ordered)
    else:
        selected = _derive(facts)
    if facts.cluster is None or not facts.clones:
        return selected
    return _direct(selected, facts, facts.cluster)


def _direct(selected: Selection, facts: Facts, cluster: Cluster) -> Selection:
    """Decide where a direct snapshot goes.

    If the store has a pool in the cluster of the disk, the snapshot goes
    there. If not, and nobody asked for the store, Nova's own search decides,
    as without the package. If not, and somebody asked for it, there is no
    direct snapshot, unless nobody can say where the store is, now or later.

    If the snapshot is to move to the store, it is made in this compute's own
    Ceph store. If that store is not known, a direct snapshot gains nothing.
    """
    catalogue = facts.catalogue
    pool = cluster.pool(selected.store)
    place = cluster.places.get(selected.store or '')
    if catalogue is None or (place and place.fsid and not cluster.fsid):
        unsettled = True
    else:
        unsettled = catalogue.unsettled and place is None
    move_from = None
    if selected.rule is Rule.MOVE and not pool:
        pool = _pool_to_move_from(facts, cluster)
        move_from = facts.own_store if pool else None
        direct = Direct.POOL if pool else Direct.NO
    elif pool:
        direct = Direct.POOL if selected.ordered else Direct.POOL_FIRST
    elif selected.ordered and (unsettled or cluster.lacks(selected.store)):
        direct = Direct.NO
    else:
        direct = Direct.SEARCH
    return dataclasses.replace(
        selected,
        direct=direct,
        pool=pool,
        pools=cluster.pools(catalogue),
        move_from=move_from,
    )


def _pool_to_move_from(facts: Facts, cluster: Cluster) -> str | None:
    """Return the pool of this compute's own Ceph store.

    :returns: None if it is not known, or Glance does not write to the store
    """
    writable = facts.catalogue.writable if facts.catalogue else ()
    return (
        cluster.pool(facts.own_store) if facts.own_store in writable else None
    )


# What names the store that somebody asked for, in words.
_REASONS = {
    Rule.REQUEST: 'the request names it',
    Rule.CONFIG: '[glance] store names it',
    Rule.MOVE: '[nova_multistore] move_to names it',
}


def _order(facts: Facts, store: str, rule: Rule) -> Selection:
    reason = _REASONS[rule]
    if facts.catalogue is None:
        reason = f'{reason}; not checked, as {facts.unknown}'
    else:
        facts.catalogue.check_writable(store)
    return Selection(
        store,
        facts.base_image_ref,
        reason,
        rule,
        ordered=True,
        catalogue=facts.catalogue,
    )


def _derive(facts: Facts) -> Selection:
    """Follow the base image, else this compute's own Ceph store."""
    base = facts.base_image_ref
    if facts.catalogue is None:
        return Selection(None, base, facts.unknown)
    if not facts.catalogue.stores:
        return Selection(
            None,
            base,
            'Glance does not have several stores',
            catalogue=facts.catalogue,
        )
    writable = facts.catalogue.writable
    default = facts.catalogue.default

    def derived(
        store: str | None, reason: str, rule: Rule = Rule.BASE_IMAGE
    ) -> Selection:
        return Selection(store, base, reason, rule, catalogue=facts.catalogue)

    stores = [s for s in facts.base_stores or () if s in writable]
    if facts.own_store in stores:
        return derived(
            facts.own_store,
            "the base image is in it, this compute's own Ceph store",
        )
    if default in stores:
        return derived(default, 'the base image is in it, the default store')
    if stores:
        return derived(stores[0], 'the base image is in it')

    if facts.base_stores is None:
        reason = facts.unknown
    elif facts.base_stores:
        reason = (
            f'the base image is only in {", ".join(facts.base_stores)}, '
            'where Glance takes no data'
        )
    else:
        reason = 'the base image is in no store'
    if facts.own_store in writable:
        return derived(
            facts.own_store,
            f"this compute's own Ceph store, as {reason}",
            Rule.CEPH_STORE,
        )
    return derived(None, reason, Rule.DEFAULT)
