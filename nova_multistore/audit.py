"""Whether a snapshot is what it is to be: the rules, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING
from typing import Any
import uuid

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import selection
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Sequence

#: How long nothing may change where something is under way. After that time
#: Glance takes an image from an import that holds it, and after twice that
#: time from one that has not begun.
SILENCE = datetime.timedelta(hours=1)

# How Glance writes a time.
_TIME = '%Y-%m-%dT%H:%M:%SZ'
_TASK_STATE = 'OS-EXT-STS:task_state'
# How Nova ends the names of images that are its own for a while: those of
# shelved servers, and of servers that are resized to another cell.
_PASSING = ('-shelved', '-resize-temp')


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is in force."""

    #: What Glance lists.
    catalogue: stores.Catalogue
    #: Whether a ``nova.conf`` was read. Without one, what follows is unknown.
    configured: bool = False
    #: Store of ``[glance] store``.
    store: str | None = None
    #: Stores of ``[nova_multistore] copy_to``.
    copy_to: tuple[str, ...] = ()
    #: What ``nova.conf`` names as the compute's own Ceph store.
    ceph_store: str | None = None
    #: Where the disks of servers are; None if that is not in Ceph.
    cluster: selection.Cluster | None = None


@dataclasses.dataclass(frozen=True)
class Records:
    """What else there is, looked up only where a judgement hangs on it."""

    #: Returns an image, as Glance's API has it; None if it is not there or
    #: not to be seen.
    image: Callable[[str], dict[str, Any] | None]
    #: Returns a server, as Nova's API has it; None if it is gone. What is
    #: not known of it is left out.
    server: Callable[[str], dict[str, Any] | None]
    #: Returns the tasks of an image, as Glance's API has them.
    tasks: Callable[[str], Sequence[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The stores to which an image is to be copied."""

    #: Those where a copy is to be.
    stores: tuple[str, ...] = ()
    #: Those that the image alone names, where ``nova.conf`` names others.
    beyond: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an image."""

    #: In words.
    problem: str
    #: What to run, or what to do.
    remedy: str
    #: The stores to which the image is to be copied, if that mends it.
    copy_to: tuple[str, ...] = ()


def judge(
    image: dict[str, Any],
    policy: Policy,
    records: Records,
    now: datetime.datetime,
) -> list[Finding]:
    """Judge a snapshot or backup.

    :param image: the image, as Glance's API has it
    :param policy: what is in force
    :param records: what else there is
    :param now: when the image was looked at, in UTC
    :returns: what is wrong with it
    :raises LookupFailed: the image has no form that is known, or a lookup
        raised it
    """
    if image['status'] in copies.UNDER_WAY:
        return list(_judge_progress(image, records, now))
    if image['status'] != 'active' or _is_volume_backed(image):
        return []
    found = list(_judge_data(image, policy))
    if found:
        # What is not whole is not worth a copy.
        return found
    wanted = _wanted(image, policy, records)
    return [
        *_judge_store(image, policy, records, wanted),
        *_judge_copies(image, policy, records, wanted, now),
    ]


def _is_volume_backed(image: dict[str, Any]) -> bool:
    """Tell whether the data are snapshots of volumes, which Cinder has."""
    return not image.get('size') and bool(image.get('block_device_mapping'))


def _judge_progress(
    image: dict[str, Any], records: Records, now: datetime.datetime
) -> Iterator[Finding]:
    tasks = records.tasks(image['id']) if copies.is_held(image) else ()
    since = _silent_since(image, tasks, now)
    if since is None:
        return
    server = _server(image, records)
    if server is None:
        why = 'its server is gone'
    elif server.get(_TASK_STATE, 'unknown') is None:
        why = 'Nova does nothing with its server'
    else:
        return
    yield Finding(
        f'{image["status"]} since {since}, and {why}',
        f'openstack image delete {image["id"]}',
    )


def _judge_data(image: dict[str, Any], policy: Policy) -> Iterator[Finding]:
    size, virtual_size = image.get('size'), image.get('virtual_size')
    if not size:
        problem = 'it is active without data'
    elif policy.catalogue.stores and not stores.of_image(image):
        problem = 'it is active and lies in no store'
    elif (
        image.get('disk_format') == 'raw'
        and virtual_size
        and virtual_size != size
    ):
        problem = f'it has {size} bytes of a disk of {virtual_size}'
    else:
        return
    yield Finding(
        problem,
        f'openstack image delete {image["id"]}, once there is another',
    )


def _judge_store(
    image: dict[str, Any], policy: Policy, records: Records, wanted: Wanted
) -> Iterator[Finding]:
    """See that the image lies where it was to go."""
    if not policy.configured or not policy.catalogue.stores:
        return
    passing = _is_passing(image, records)
    if passing is None:
        return
    if policy.store and not passing:
        yield from _judge_order(image, policy.store, policy, wanted)
    else:
        yield from _judge_choice(image, policy, records, wanted)


def _judge_order(
    image: dict[str, Any], store: str, policy: Policy, wanted: Wanted
) -> Iterator[Finding]:
    present = stores.of_image(image)
    if store in present:
        return
    refusal = _refusal(store, policy.catalogue)
    if refusal:
        yield Finding(
            f'it lies in {", ".join(present)}; [glance] store: {refusal}',
            'change [glance] store in nova.conf',
        )
    else:
        yield _relocation(image, store, wanted, '[glance] store names it')


def _judge_choice(
    image: dict[str, Any], policy: Policy, records: Records, wanted: Wanted
) -> Iterator[Finding]:
    present = set(stores.of_image(image))
    # The first ancestor of the image. Most often it is the base image, and
    # most snapshots are right: this saves asking Nova for each of them.
    ancestor_id = _uuid(image.get('base_image_ref'))
    ancestor = records.image(ancestor_id) if ancestor_id else None
    if ancestor and present & set(stores.of_image(ancestor)):
        return
    base = _base_image(image, records)
    if base is None:
        return
    facts = selection.Facts(
        # No store was ordered, whatever it was made for.
        selection.Operation.OTHER,
        image_ref=base['id'],
        catalogue=policy.catalogue,
        base_stores=stores.of_image(base),
        ceph_store=policy.ceph_store,
        cluster=policy.cluster,
    )
    selected = selection.select(facts)
    store = selected.store or policy.catalogue.default
    if store and not present & {store, *_as_right(selected, facts)}:
        yield _relocation(image, store, wanted, selected.reason)


def _as_right(
    selected: selection.Selection, facts: selection.Facts
) -> Iterator[str]:
    """Return the stores that are as right as the one of the rules."""
    yield from facts.base_stores or ()
    if selected.yields and facts.cluster and facts.catalogue:
        # Nova's own search may have found any pool in Ceph.
        for store in facts.catalogue.writable:
            if not facts.cluster.lacks(store):
                yield store


def _relocation(
    image: dict[str, Any], store: str, wanted: Wanted, reason: str
) -> Finding:
    present = stores.of_image(image)
    copied = {*wanted.stores, *wanted.beyond}
    wrong = [s for s in present if s not in copied]
    if not wrong:
        # It lies only where it is copied to.
        remedy = f'copy {image["id"]} --store {store}'
    else:
        remedy = f'relocate {image["id"]} --to {store}'
        if len(wrong) < len(present):
            # Without it, the copies would go.
            remedy += ''.join(f' --from {s}' for s in wrong)
    return Finding(
        f'it lies in {", ".join(present)}, not in {store}: {reason}',
        f'openstack multistore image {remedy}',
    )


def _base_image(
    image: dict[str, Any], records: Records
) -> dict[str, Any] | None:
    """Return what the image's server runs from, None if that is not known.

    It is not the property ``base_image_ref`` that tells: that names the first
    ancestor, and a user may set it. But where the two have nothing to do with
    each other, the server was rebuilt since, and ran from another image then.
    """
    server = _server(image, records)
    # Empty for a volume-backed server.
    base_id = ((server or {}).get('image') or {}).get('id')
    base = records.image(base_id) if base_id else None
    if base is None:
        return None
    related = base_id, base.get('base_image_ref')
    return base if image.get('base_image_ref') in related else None


def _server(image: dict[str, Any], records: Records) -> dict[str, Any] | None:
    server_id = _uuid(image.get('instance_uuid'))
    return records.server(server_id) if server_id else None


def _is_passing(image: dict[str, Any], records: Records) -> bool | None:
    """Tell whether the image is Nova's own for a while.

    Such an image follows the base image, and is not copied.

    :returns: None if it is not known
    """
    name = image.get('name') or ''
    if not name.endswith(_PASSING):
        return False
    server = _server(image, records)
    if server is None or not {'name', 'status', _TASK_STATE} <= set(server):
        return None
    if name not in {server['name'] + ending for ending in _PASSING}:
        return False
    return server['status'].startswith('SHELVED') or bool(server[_TASK_STATE])


def _judge_copies(
    image: dict[str, Any],
    policy: Policy,
    records: Records,
    wanted: Wanted,
    now: datetime.datetime,
) -> Iterator[Finding]:
    """See that the image lies everywhere it was to be copied to."""
    tasks: Sequence[dict[str, Any]] = ()
    if copies.is_held(image) or copies.has_failed(image):
        tasks = records.tasks(image['id'])
    since = _silent_since(image, tasks, now)
    # What is wrong alike in several stores is one finding.
    alike: dict[tuple[str, bool], list[str]] = {}
    for copy in copies.read(image, (*wanted.stores, *wanted.beyond), tasks):
        lack = _lack(copy, since)
        if lack is None:
            continue
        missing = copy.state is copies.State.MISSING
        mendable = copy.store in wanted.stores
        refusal = mendable and _refusal(copy.store, policy.catalogue)
        if refusal:
            yield _refused(image, copy.store, refusal)
        elif missing and copy.store in wanted.beyond:
            yield _beyond(image, copy.store)
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
    """Return why there is no copy, None if there is one or will be.

    :param since: when last something changed, None if that is not long ago
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


def _wanted(image: dict[str, Any], policy: Policy, records: Records) -> Wanted:
    """Return to which stores the image is to be copied.

    What stands on the image, a user may write: where ``nova.conf`` is known,
    it has the last word.
    """
    passing = _is_passing(image, records)
    if passing:
        return Wanted()
    named = copies.split(image.get(copies.PROPERTY))
    if not policy.configured:
        return Wanted(named)
    if copies.PROPERTY in image:
        return Wanted(
            tuple(s for s in named if s in policy.copy_to),
            tuple(s for s in named if s not in policy.copy_to),
        )
    return Wanted(policy.copy_to if passing is False else ())


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


def _silent_since(
    image: dict[str, Any],
    tasks: Sequence[dict[str, Any]],
    now: datetime.datetime,
) -> str | None:
    """Return when last something changed, if that is too long ago.

    :param tasks: the tasks of an image that an import holds
    """
    task = copies.holder(image, tasks) or {}
    patience = SILENCE * 2 if task.get('status') == 'pending' else SILENCE
    changed = str(task.get('updated_at') or image['updated_at'])
    # All are in the same form, and in UTC.
    return changed if changed < (now - patience).strftime(_TIME) else None


def _uuid(value: object) -> str | None:
    """Return an id that a user may have written, None if it is none."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
