"""The decision: taken once, before a snapshot touches the disk."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from nova.compute import utils as compute_utils
import nova.conf
from nova.image import glance as nova_image
from oslo_log import log as logging
from oslo_utils import excutils

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.compute import ceph
from nova_multistore.compute import copying
from nova_multistore.compute import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext
    from nova.objects.instance import Instance

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# Task states at the door of the driver's snapshot, in nova.compute.manager:
# _snapshot_instance, shelve_instance and the cross-cell resize.
_OPERATIONS = {
    'image_snapshot': selection.Operation.SNAPSHOT,
    'image_backup': selection.Operation.BACKUP,
    'shelving': selection.Operation.SHELVE,
    'resize_migrating': selection.Operation.RESIZE,
}

_selections: dict[str, selection.Selection] = {}


def selected(image_id: str) -> selection.Selection | None:
    """Return the selection for an image that is being made from a server.

    :param image_id: the image's UUID
    :returns: the selection, None if the image is no such snapshot
    """
    return _selections.get(image_id)


def snapshot(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Decide, then snapshot; then have copies made.

    Wraps ``nova.virt.driver.ComputeDriver.snapshot``.

    :raises nova.exception.InvalidConfiguration: the request or ``[glance]
        store`` names a store that cannot take the data
    """
    context, server, image_id = _arguments(*args, **kwargs)
    # An operation that Nova may have one day is nobody's order.
    operation = _OPERATIONS.get(server.task_state, selection.Operation.OTHER)
    copy_to = copying.wanted(operation)
    try:
        requested = request.store(server, image_id, operation)
        request.write(image_id, copy_to)
        in_ceph = _has_disk_in_ceph(instance, server)
        facts = _gather(context, server, operation, requested, in_ceph)
        _selections[image_id] = _decide(facts, server, image_id)
        result = wrapped(*args, **kwargs)
    except Exception:
        with excutils.save_and_reraise_exception():
            # Nova does this itself for every operation but this one.
            if operation is selection.Operation.SHELVE:
                compute_utils.delete_image(
                    context, server, nova_image.API(), image_id
                )
    finally:
        _selections.pop(image_id, None)
        request.forget(image_id)
    copying.start(context, server, image_id, copy_to)
    return result


def give_up_location(image_id: str) -> None:
    """Note that Glance was told of a clone which is no longer there.

    If the image becomes active after that, it has no data.

    :param image_id: the image's UUID
    """
    _selections[image_id] = dataclasses.replace(
        _selections[image_id], location_given_up=True
    )


def _has_disk_in_ceph(driver: Any, server: Instance) -> bool:
    """Tell whether the disk is in Ceph, and see that its stores are known."""
    before = ceph.is_used()
    found = ceph.has_disk(driver, server)
    if found and not before:
        # The catalogue was read without a question for places.
        lookup.forget()
    return found


def _arguments(
    context: RequestContext,
    instance: Instance,
    image_id: str,
    *_args: Any,
    **_kwargs: Any,
) -> tuple[RequestContext, Instance, str]:
    return context, instance, image_id


def _decide(
    facts: selection.Facts, server: Instance, image_id: str
) -> selection.Selection:
    try:
        selected = selection.select(facts)
    except exception.StoreRefused as exc:
        LOG.error(
            'Image %(image)s (%(operation)s) is not made: %(reason)s',
            {
                'image': image_id,
                'operation': facts.operation.value,
                'reason': exc,
            },
            instance=server,
        )
        raise nova_exception.InvalidConfiguration(str(exc)) from exc
    # An order that may not be met.
    in_doubt = selected.ordered and (
        facts.catalogue is None or selected.yields
    )
    LOG.log(
        logging.WARNING if in_doubt else logging.INFO,
        'Image %(image)s (%(operation)s) goes to %(store)s: %(reason)s '
        '[base image %(base)s]',
        {
            'image': image_id,
            'operation': facts.operation.value,
            'store': _name(selected),
            'reason': selected.reason,
            'base': selected.base_image_ref or 'none',
        },
        instance=server,
    )
    return selected


def _name(selected: selection.Selection) -> str:
    name = "Glance's default store"
    if selected.store:
        name = f'store {selected.store}'
    if selected.pool:
        name += f' (Ceph pool {selected.pool})'
    if selected.yields:
        name += ", unless Nova's own search finds a pool in Ceph"
    return name


def _gather(
    context: RequestContext,
    server: Instance,
    operation: selection.Operation,
    requested: str | None,
    in_ceph: bool,
) -> selection.Facts:
    """Ask for what the rules need, and for nothing else."""
    facts = selection.Facts(
        operation=operation,
        image_ref=server.image_ref,
        requested=requested,
        configured=CONF.glance.store,
        ceph_store=_ceph_store() if in_ceph else None,
        clones=ceph.takes_clones(),
    )
    image = None
    if not facts.image_ref:
        return facts
    deadline = time.monotonic() + stores.TIMEOUT

    def left() -> float:
        return deadline - time.monotonic()

    try:
        if facts.ordered:
            store, _reason = facts.ordered
            catalogue = lookup.catalogue_for(context, store, left())
        else:
            catalogue = lookup.catalogue(context, left())
        facts = dataclasses.replace(facts, catalogue=catalogue)
        if catalogue.stores and _asks_image(facts, catalogue, in_ceph):
            image = lookup.image(context, facts.base_image_ref, left())
            facts = dataclasses.replace(
                facts, base_stores=stores.of_image(image)
            )
    except exception.LookupFailed as exc:
        facts = dataclasses.replace(facts, unknown=str(exc))
    if in_ceph:
        facts = dataclasses.replace(
            facts, cluster=_cluster(facts.catalogue, image)
        )
    return facts


def _asks_image(
    facts: selection.Facts, catalogue: stores.Catalogue, in_ceph: bool
) -> bool:
    """Tell whether the base image has something to tell."""
    if facts.ordered:
        place_counts = in_ceph and facts.clones
        return place_counts and facts.ordered[0] not in catalogue.places
    return True


def _cluster(
    catalogue: stores.Catalogue | None, image: Any
) -> selection.Cluster:
    """Put together what is known of stores in Ceph."""
    places = stores.places_of_image(image) if image else {}
    if catalogue:
        places.update(catalogue.places)
    return ceph.cluster(places)


def _ceph_store() -> str | None:
    store: str | None = CONF.libvirt.images_rbd_glance_store_name or None
    return store
