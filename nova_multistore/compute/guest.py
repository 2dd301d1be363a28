"""The guest that Nova suspends while it reads the disk.

For a snapshot that is not live, Nova suspends the guest, clones its disk,
resumes the guest, and tells Glance where the clone is. If Glance does not take
the clone, Nova reads the disk for a standard snapshot, and resumes the guest.
Nova does so even if the guest runs already: then the bytes are not whole, and
libvirt does not start a guest that runs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from typing import Any

from oslo_log import log as logging

from nova_multistore.compute import snapshot_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nova.context import RequestContext
    from nova.objects.instance import Instance

LOG = logging.getLogger(__name__)


def resume_after_snapshot(
    proceed: Callable[..., Any],
    driver: Any,
    /,
    context: RequestContext,
    live_snapshot: bool,
    original_power_state: int,
    instance: Instance,
    **_rest: Any,
) -> Any:
    """Resume the guest, and remember how to suspend it again.

    Wraps
    ``nova.virt.libvirt.driver.LibvirtDriver._resume_guest_after_snapshot``.
    """
    result = proceed()
    snapshot = snapshot_state.of_server(instance.uuid)
    if snapshot is not None and not live_snapshot:
        # This suspends a guest that runs or is paused. One that was off stays
        # off.
        snapshot.suspend_again = functools.partial(
            driver._suspend_guest_for_snapshot,
            context,
            live_snapshot,
            original_power_state,
            instance,
        )
    return result


def put_to_rest(snapshot: snapshot_state.Snapshot) -> None:
    """Suspend the guest again, for a standard snapshot.

    Nova suspends the guest of a live snapshot by itself.

    :param snapshot: the snapshot
    :raises Exception: the guest is not suspended: nobody may read the disk
    """
    if snapshot.suspend_again is None:
        return
    suspend, snapshot.suspend_again = snapshot.suspend_again, None
    LOG.info(
        'Server %s is suspended again, as its disk is to be read',
        snapshot.server_id,
    )
    suspend()
