"""The audit's rules: what is wrong with a snapshot. They send no requests."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING
from typing import Any
import uuid

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import statuses
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Sequence
_TASK_STATE = 'OS-EXT-STS:task_state'
# Endings of the names of images that Nova makes and deletes itself: for a
# shelved server, and for a resize to another cell.
_TEMPORARY = ('-shelved', '-resize-temp')
# Parts of the remedy for an image that is not whole.
_ANOTHER = 'make another snapshot, if the server still exists'
_STAGED = "its data may be in Glance's staging area"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What Glance and ``nova.conf`` say of stores."""

    #: What Glance lists.
    catalogue: stores.Catalogue
    #: Whether a ``nova.conf`` was read. If not, the rest is not known.
    configured: bool = False
    #: Stores that ``nova.conf`` names.
    orders: selection.Orders = dataclasses.field(
        default_factory=selection.Orders
    )
    #: What ``nova.conf`` names as the compute's own Ceph store.
    ceph_store: str | None = None
    #: The Ceph cluster that has the disks of servers; None if none has.
    cluster: selection.Cluster | None = None
    #: Stores that only the Glance of another site has.
    remote: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Lookups:
    """Functions that ask for what only some judgements depend on."""

    #: Returns an image, as Glance's API has it; None if it does not exist or
    #: is not visible.
    image: Callable[[str], dict[str, Any] | None]
    #: Returns the image that is judged, as it is now, with all that Glance's
    #: API has; None if it is gone. Raises GlanceRefused if it is not shown.
    look: Callable[[str], dict[str, Any] | None]
    #: Returns a server, as Nova's API has it; None if it was deleted. A key
    #: whose value is not known is missing.
    server: Callable[[str], dict[str, Any] | None]
    #: Returns the tasks of an image, as Glance's API has them.
    tasks: Callable[[str], Sequence[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The stores that are to have a copy of an image."""

    #: Stores that are to have a copy.
    stores: tuple[str, ...] = ()
    #: Stores that the image names and ``nova.conf`` does not. A user may have
    #: written them, so they get no copy without somebody's consent.
    beyond: tuple[str, ...] = ()
    #: Whether the image has a record. If so, the stores in ``beyond`` may be
    #: those of another compute.
    recorded: bool = False


@dataclasses.dataclass(frozen=True)
class Move:
    """A move of an image that is to be completed."""

    #: Id of the store that it moves to.
    target: str
    #: Id of the store that it leaves.
    source: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an image."""

    #: What is wrong, in words.
    problem: str
    #: What to run, or what to do.
    remedy: str
    #: Stores that the image has to be copied to, if that is the remedy.
    copy_to: tuple[str, ...] = ()
    #: The move to complete, if that is the remedy.
    move: Move | None = None


def judge(
    image: dict[str, Any],
    settings: Settings,
    lookups: Lookups,
    now: datetime.datetime,
) -> list[Finding]:
    """Judge a snapshot or backup.

    If the list shows a broken image, Glance is asked for this one image
    before that is reported.

    :param image: the image, as Glance's API lists it
    :param settings: what Glance and ``nova.conf`` say
    :param lookups: how to look up the rest
    :param now: when the image was listed, in UTC
    :returns: what is wrong with it
    :raises LookupFailed: the image cannot be read, or a lookup raised it
    """
    found = list(_judge_whole(image, settings, lookups, now))
    if found:
        try:
            seen = lookups.look(image['id'])
        except exception.GlanceRefused:
            return found
        if seen is None:
            return []
        image = seen
        found = list(_judge_whole(image, settings, lookups, now, shown=True))
    if found or image['status'] != 'active' or _is_volume_backed(image):
        # An image that is not whole is not worth a copy.
        return found
    if settings.catalogue.foreign(image):
        # This Glance can neither copy nor move the image.
        return list(_judge_foreign(image, settings))
    written = record.read(image)
    wanted = _wanted(image, written, settings, lookups)
    tasks: Sequence[dict[str, Any]] = ()
    if copies.is_held(image) or copies.has_failed(image):
        tasks = lookups.tasks(image['id'])
    since = copies.silent_since(image, tasks, now)
    move = _move(written, settings)
    if move is None:
        found += _judge_store(image, written, settings, lookups, wanted)
    else:
        found += _judge_move(image, move, settings, tasks, since)
    found += _judge_copies(image, settings, wanted, tasks, since, move)
    return found


def _move(written: record.Record | None, settings: Settings) -> Move | None:
    """Return the unfinished move of an image.

    If Glance no longer has one of the stores, nobody can complete the move.
    """
    if written is None or written.difference:
        return None
    target, source = written.store, written.move_from
    writable = settings.catalogue.writable
    if target not in writable or source not in writable or source == target:
        return None
    return Move(target, source)


def _judge_move(
    image: dict[str, Any],
    move: Move,
    settings: Settings,
    tasks: Sequence[dict[str, Any]],
    since: str | None,
) -> Iterator[Finding]:
    """Check that a move goes on, or is done."""
    present = stores.of_image(image)
    (copy,) = (
        copy
        for copy in copies.read(image, [move.target], tasks)
        if copy.store == move.target
    )
    lack = _lack(copy, since)
    # nova-compute leaves the first copy for a while, for those who read it.
    if copy.state is copies.State.DONE and move.source in present and since:
        lack = 'it was not deleted there'
    if lack is None:
        return
    # A user may have written the record.
    agreed = not settings.configured or settings.orders.move_to == move.target
    yield Finding(
        f'it is to move from {move.source} to {move.target}: {lack}',
        f'openstack multistore image relocate {image["id"]} '
        f'--to {move.target} --from {move.source}',
        move=move if agreed else None,
    )


def _is_volume_backed(image: dict[str, Any]) -> bool:
    """Tell whether Cinder has the data, as snapshots of volumes."""
    return not image.get('size') and bool(image.get('block_device_mapping'))


def _judge_whole(
    image: dict[str, Any],
    settings: Settings,
    lookups: Lookups,
    now: datetime.datetime,
    shown: bool = False,
) -> Iterator[Finding]:
    """Check that an image has all of its data, or will have it.

    :param shown: whether the image itself was just looked up; if not, it is
        from a list
    """
    if image['status'] in statuses.UNDER_WAY:
        yield from _judge_progress(image, lookups, now, shown)
    elif image['status'] == 'active' and not _is_volume_backed(image):
        yield from _judge_data(image, settings)


def _judge_progress(
    image: dict[str, Any],
    lookups: Lookups,
    now: datetime.datetime,
    shown: bool,
) -> Iterator[Finding]:
    tasks = lookups.tasks(image['id']) if copies.is_held(image) else ()
    since = copies.silent_since(image, tasks, now)
    if since is None:
        return
    server = _server(image, lookups)
    if server is None:
        why = 'its server is gone'
    elif server.get(_TASK_STATE, 'unknown') is None:
        why = 'Nova is not busy with its server'
    else:
        return
    yield Finding(
        f'{image["status"]} since {since}, and {why}',
        _end(image, shown),
    )


def _end(image: dict[str, Any], shown: bool) -> str:
    """Return what to do with an image that will get no more data.

    Only an image that surely has no data may be deleted.

    :param shown: whether the image itself was looked at
    """
    image_id = image['id']
    look = f'openstack multistore image show {image_id}'
    present = stores.of_image(image)
    if not shown:
        remains = 'Glance lists it, and does not show it to you'
    elif present:
        remains = f'Glance shows data of it in {", ".join(present)}'
    elif image.get('locations') or image.get('direct_url'):
        remains = 'Glance shows a location of data'
    elif copies.is_held(image):
        remains = f'an import holds it, and {_STAGED}'
    elif copies.has_failed(image):
        remains = f'an import of it failed, and {_STAGED}'
    elif image['status'] == 'queued':
        return f'openstack image delete {image_id}'
    elif image['status'] == 'saving':
        remains = 'a store may have a part of its data, or all'
    else:
        remains = _STAGED
    return f'{_ANOTHER}; look at this one ({remains}): {look}'


def _judge_foreign(
    image: dict[str, Any], settings: Settings
) -> Iterator[Finding]:
    """Check that another Glance can read an image that this one cannot."""
    alone = settings.catalogue.foreign(image)
    if set(alone) & set(settings.remote):
        return
    names = ', '.join(alone)
    options = ' '.join(f'--remote-store {store}' for store in alone)
    yield Finding(
        settings.catalogue.unreadable(image),
        f'bring {names} back into enabled_backends of this Glance; if it is '
        f'the store of another site, audit with {options}',
    )


def _judge_data(
    image: dict[str, Any], settings: Settings
) -> Iterator[Finding]:
    size, virtual_size = image.get('size'), image.get('virtual_size')
    present = stores.of_image(image)
    several = bool(settings.catalogue.stores)
    if size is None and present:
        problem = 'it is active, and Glance does not know its size'
        remains = f'{", ".join(present)} may have its data'
    elif not size:
        problem = 'it is active without data'
        where = ', '.join(present) or 'a store'
        remains = f'{where} may have data of which Glance does not know'
    elif several and not present:
        problem = 'it is active and is in no store'
        remains = (
            'its data may be in a store that Glance had before: see '
            "Glance's enabled_backends and the image's locations"
        )
    elif (
        image.get('disk_format') == 'raw'
        and virtual_size
        and virtual_size != size
    ):
        problem = f'it has {size} bytes of a disk of {virtual_size}'
        remains = 'it has a part of the data'
    else:
        return
    yield Finding(
        problem,
        f'{_ANOTHER}; look at this one ({remains}): openstack multistore '
        f'image show {image["id"]}',
    )


def _judge_store(
    image: dict[str, Any],
    written: record.Record | None,
    settings: Settings,
    lookups: Lookups,
    wanted: Wanted,
) -> Iterator[Finding]:
    """Check that the right store has the image."""
    if not settings.catalogue.stores:
        return
    if written and written.is_unasked:
        yield from _judge_unasked(image, written, settings, lookups, wanted)
        return
    if written:
        yield from _judge_record(image, written, settings, wanted)
        return
    if not settings.configured:
        return
    temporary = _is_temporary(image, lookups)
    if temporary is None:
        return
    if settings.orders.store and not temporary:
        yield from _judge_order(image, settings.orders.store, settings, wanted)
    else:
        yield from _judge_choice(image, settings, lookups, wanted)


def _judge_record(
    image: dict[str, Any],
    written: record.Record,
    settings: Settings,
    wanted: Wanted,
) -> Iterator[Finding]:
    """Check that the image is in the decided store, or says why not."""
    # If Glance no longer has the store, nobody can mend that.
    store = written.expected(settings.catalogue)
    if store is None or store in stores.of_image(image):
        return
    reason = f'its record names {store} (rule {written.rule.value})'
    yield _relocation(image, store, settings, wanted, reason)


def _judge_unasked(
    image: dict[str, Any],
    written: record.Record,
    settings: Settings,
    lookups: Lookups,
    wanted: Wanted,
) -> Iterator[Finding]:
    """Check the store by the base image, which is known now.

    Nobody had ordered a store. Without a ``nova.conf``, it is not known which
    store is the compute's own Ceph store.
    """
    if settings.configured:
        yield from _judge_choice(image, settings, lookups, wanted)
        return
    ancestor = _ancestor(image, lookups)
    present = stores.of_image(image)
    if ancestor and not set(present) & set(stores.of_image(ancestor)):
        yield Finding(
            f'it is in {", ".join(present)}: {written.difference}',
            'openstack multistore snapshot audit --config-file FILE, with '
            'the nova.conf of the computes, tells where the image belongs',
        )


def _ancestor(
    image: dict[str, Any], lookups: Lookups
) -> dict[str, Any] | None:
    """Return the first ancestor of an image, None if it is not known.

    In most cases that is the base image.
    """
    ancestor_id = _uuid(image.get('base_image_ref'))
    return lookups.image(ancestor_id) if ancestor_id else None


def _judge_order(
    image: dict[str, Any], store: str, settings: Settings, wanted: Wanted
) -> Iterator[Finding]:
    present = stores.of_image(image)
    if store in present:
        return
    refusal = _refusal(store, settings.catalogue)
    if refusal:
        yield Finding(
            f'it is in {", ".join(present)}; [glance] store: {refusal}',
            'change [glance] store in nova.conf',
        )
    else:
        yield _relocation(
            image, store, settings, wanted, '[glance] store names it'
        )


def _judge_choice(
    image: dict[str, Any], settings: Settings, lookups: Lookups, wanted: Wanted
) -> Iterator[Finding]:
    present = set(stores.of_image(image))
    # In most cases the snapshot is in the right store. Then Nova need not be
    # asked for the server.
    ancestor = _ancestor(image, lookups)
    if ancestor and present & set(stores.of_image(ancestor)):
        return
    base = _base_image(image, lookups)
    if base is None:
        return
    facts = selection.Facts(
        # The store is derived, whatever the image was made for.
        selection.Operation.OTHER,
        image_ref=base['id'],
        catalogue=settings.catalogue,
        base_stores=stores.of_image(base),
        ceph_store=settings.ceph_store,
        cluster=settings.cluster,
    )
    selected = selection.select(facts)
    store = selected.store or settings.catalogue.default
    if store and not present & {store, *_as_right(selected, facts)}:
        yield _relocation(image, store, settings, wanted, selected.reason)


def _as_right(
    selected: selection.Selection, facts: selection.Facts
) -> Iterator[str]:
    """Return the stores that are as right as the selected one."""
    yield from facts.base_stores or ()
    if (
        selected.direct is selection.Direct.SEARCH
        and facts.cluster
        and facts.catalogue
    ):
        # Nova's own search may have found any pool in Ceph.
        for store in facts.catalogue.writable:
            if not facts.cluster.lacks(store):
                yield store


def _relocation(
    image: dict[str, Any],
    store: str,
    settings: Settings,
    wanted: Wanted,
    reason: str,
) -> Finding:
    present = stores.of_image(image)
    kept = {*wanted.stores, *wanted.beyond, *settings.orders.copy_to}
    wrong = [
        s
        for s in present
        if s not in kept and s in settings.catalogue.writable
    ]
    if wrong:
        # Without --from, copies that are made meanwhile would be deleted.
        remedy = f'relocate {image["id"]} --to {store}'
        remedy += ''.join(f' --from {s}' for s in wrong)
    else:
        remedy = f'copy {image["id"]} --store {store}'
    return Finding(
        f'it is in {", ".join(present)}, not in {store}: {reason}',
        f'openstack multistore image {remedy}',
    )


def _base_image(
    image: dict[str, Any], lookups: Lookups
) -> dict[str, Any] | None:
    """Return the image that the server was started from.

    The property ``base_image_ref`` does not say which image that is: it names
    the first ancestor, and a user may set it. But if this ancestor and the
    server's image are not related, the server was rebuilt from another image
    since the snapshot.

    :returns: the image, None if it is not known
    """
    server = _server(image, lookups)
    # The image is empty for a volume-backed server.
    base_id = ((server or {}).get('image') or {}).get('id')
    base = lookups.image(base_id) if base_id else None
    if base is None:
        return None
    related = base_id, base.get('base_image_ref')
    return base if image.get('base_image_ref') in related else None


def _server(image: dict[str, Any], lookups: Lookups) -> dict[str, Any] | None:
    server_id = _uuid(image.get('instance_uuid'))
    return lookups.server(server_id) if server_id else None


def _is_temporary(image: dict[str, Any], lookups: Lookups) -> bool | None:
    """Tell whether Nova made the image for itself, and will delete it.

    Such an image goes to the store of the base image, and is not copied.

    :returns: None if it is not known
    """
    name = image.get('name') or ''
    if not name.endswith(_TEMPORARY):
        return False
    server = _server(image, lookups)
    if server is None or not {'name', 'status', _TASK_STATE} <= set(server):
        return None
    if name not in {server['name'] + ending for ending in _TEMPORARY}:
        return False
    return server['status'].startswith('SHELVED') or bool(server[_TASK_STATE])


def _judge_copies(
    image: dict[str, Any],
    settings: Settings,
    wanted: Wanted,
    tasks: Sequence[dict[str, Any]],
    since: str | None,
    move: Move | None,
) -> Iterator[Finding]:
    """Check that each store that is to have a copy has the image."""
    # The same problem in several stores is one finding.
    alike: dict[tuple[str, bool], list[str]] = {}
    for copy in copies.read(image, (*wanted.stores, *wanted.beyond), tasks):
        lack = _lack(copy, since)
        if lack is None or (move and copy.store == move.target):
            continue
        mendable = copy.store in wanted.stores
        beyond = copy.store in wanted.beyond
        refusal = _refusal(copy.store, settings.catalogue)
        if (
            beyond
            and not wanted.recorded
            and (refusal or copy.state is copies.State.MISSING)
        ):
            yield _beyond(image, copy.store)
        elif refusal:
            # A copy that nobody wants need not be mended.
            if mendable or beyond:
                yield _refused(image, copy.store, refusal)
        else:
            alike.setdefault((lack, mendable), []).append(copy.store)
    for (lack, mendable), lacking in alike.items():
        options = ' '.join(f'--store {store}' for store in lacking)
        yield Finding(
            f'no copy in {", ".join(lacking)}: {lack}',
            f'openstack multistore image copy {image["id"]} {options}',
            tuple(lacking) if mendable else (),
        )


def _lack(copy: copies.Copy, since: str | None) -> str | None:
    """Return why there is no copy; None if there is one, or will be.

    :param since: time of the last change, None if that is not long ago
    """
    if copy.state is copies.State.DONE:
        return None
    if copy.state is copies.State.FAILED:
        reason = copy.reason or "the reason is in Glance's log"
        return f'the import failed ({reason})'
    if copy.state is copies.State.MISSING:
        return 'none is being made'
    return since and f'the import has said nothing since {since}'


def _refusal(store: str, catalogue: stores.Catalogue) -> str | None:
    try:
        catalogue.check_writable(store)
    except exception.StoreRefused as exc:
        return str(exc)
    return None


def _wanted(
    image: dict[str, Any],
    written: record.Record | None,
    settings: Settings,
    lookups: Lookups,
) -> Wanted:
    """Return the stores that are to have a copy.

    A user can write the property of the image. So if ``nova.conf`` is known,
    only the stores in ``nova.conf`` count.
    """
    named = stores.split(image.get(copies.PROPERTY))
    # The record of an image that Nova made for itself names no copies.
    temporary = False if written else _is_temporary(image, lookups)
    if temporary:
        return Wanted()
    if not settings.configured:
        return Wanted(named)
    if copies.PROPERTY in image:
        return Wanted(
            tuple(s for s in named if s in settings.orders.copy_to),
            tuple(s for s in named if s not in settings.orders.copy_to),
            recorded=written is not None,
        )
    if written:
        return Wanted()
    return Wanted(settings.orders.copy_to if temporary is False else ())


def _beyond(image: dict[str, Any], store: str) -> Finding:
    return Finding(
        f'no copy in {store}: the image alone names it, copy_to in nova.conf '
        'does not',
        f'openstack image unset --property {copies.PROPERTY} {image["id"]}',
    )


def _refused(image: dict[str, Any], store: str, refusal: str) -> Finding:
    if copies.PROPERTY in image:
        change = f'{copies.PROPERTY} of the image'
    else:
        change = '[nova_multistore] copy_to in nova.conf'
    return Finding(f'no copy in {store}: {refusal}', f'change {change}')


def _uuid(value: object) -> str | None:
    """Return an id in its usual form, None if it is not a UUID."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
