"""The decision which store takes a snapshot.

It is taken once, before anything touches the disk.
"""

from __future__ import annotations

import contextlib
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
from nova_multistore import opts
from nova_multistore import record
from nova_multistore import request_store
from nova_multistore import selection
from nova_multistore.compute import after_snapshot
from nova_multistore.compute import ceph
from nova_multistore.compute import failed_image
from nova_multistore.compute import snapshot_state
from nova_multistore.compute.facts import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext
    from nova.objects.instance import Instance

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# How often a difference is written, and the pause between, in seconds.
_TRIES, _PAUSE = 3, 0.5
# What a snapshot is for, by the task state of the server when Nova calls the
# driver: nova.compute.manager, _snapshot_instance, shelve_instance and the
# cross-cell resize.
_OPERATIONS = {
    'image_snapshot': selection.Operation.SNAPSHOT,
    'image_backup': selection.Operation.BACKUP,
    'shelving': selection.Operation.SHELVE,
    'resize_migrating': selection.Operation.RESIZE,
}


def snapshot_instance(
    proceed: Callable[..., Any],
    manager: Any,
    /,
    context: RequestContext,
    image_id: str,
    **_rest: Any,
) -> Any:
    """Keep the store that the request names.

    Wraps ``nova.compute.manager.ComputeManager._snapshot_instance``, which
    Nova calls for a snapshot and for a backup.
    """
    with snapshot_state.enter(image_id) as making:
        making.requested = request_store.take(context)
        return proceed()


def snapshot(
    proceed: Callable[..., Any],
    driver: Any,
    /,
    context: RequestContext,
    instance: Instance,
    image_id: str,
    **_rest: Any,
) -> Any:
    """Decide, have the driver take the snapshot, then ask for copies.

    Wraps ``nova.virt.driver.ComputeDriver.snapshot``, which Nova calls for
    every kind of snapshot.

    :raises nova.exception.InvalidConfiguration: the request or ``[glance]
        store`` names a store that cannot take the data
    """
    operation = _OPERATIONS.get(instance.task_state, selection.Operation.OTHER)
    orders = opts.orders(CONF)
    wanted = orders.copies_of(operation)
    try:
        with snapshot_state.enter(image_id) as making:
            making.server_id = instance.uuid
            facts = gather(
                context,
                selection.Facts(
                    operation=operation,
                    image_ref=instance.image_ref,
                    requested=making.requested,
                    orders=orders,
                ),
                ceph.has_disk(driver, instance),
            )
            making.selection = _decide(facts, instance, image_id)
            if facts.unasked and not making.selection.ordered:
                making.differences.append(record.UNASKED + facts.unknown)
            known = [*making.differences]
            making.properties = record.write(making.selection, wanted, known)
            result = proceed()
            if making.differences != known:
                _note(context, instance, image_id, making.differences)
    except Exception:
        with excutils.save_and_reraise_exception():
            # For every other operation, Nova deletes the image itself.
            if operation is selection.Operation.SHELVE:
                compute_utils.delete_image(
                    context, instance, nova_image.API(), image_id
                )
            failed_image.remove(context, instance, image_id, making)
    after_snapshot.start(context, instance, image_id, wanted, making.selection)
    return result


def _note(
    context: RequestContext,
    server: Instance,
    image_id: str,
    differences: list[str],
) -> None:
    """Write on the image why the snapshot differs from the decision."""
    images, text = lookup.images(context), record.join(differences)

    def write() -> None:
        images.set_property(image_id, record.DIFFERENCE, text)

    try:
        for _ in range(_TRIES - 1):
            with contextlib.suppress(exception.ServiceAway):
                write()
                return
            time.sleep(_PAUSE)
        write()
    except Exception as exc:
        LOG.warning(
            'The property %(name)s of image %(image)s is not written: '
            '%(reason)s',
            {'name': record.DIFFERENCE, 'image': image_id, 'reason': exc},
            instance=server,
        )


def _decide(
    facts: selection.Facts, server: Instance, image_id: str
) -> selection.Selection:
    """Select the store, and log it in one line."""
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
    if selected.ordered:
        # Somebody asked for a store, and may not get it.
        in_doubt = (
            facts.catalogue is None
            or selected.direct is selection.Direct.SEARCH
        )
    else:
        in_doubt = facts.unasked
    LOG.log(
        logging.WARNING if in_doubt else logging.INFO,
        'Image %(image)s (%(operation)s) goes to %(store)s: %(reason)s '
        '[rule %(rule)s, base image %(base)s]',
        {
            'image': image_id,
            'operation': facts.operation.value,
            'store': selected.destination,
            'reason': selected.reason,
            'rule': selected.rule.value,
            'base': selected.base_image_ref or 'none',
        },
        instance=server,
    )
    return selected
