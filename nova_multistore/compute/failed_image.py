"""Deletes the image of a snapshot that has failed, if Nova could not.

Nova asks Glance once. If Glance is in trouble, that request may fail like the
snapshot, and nobody would ever delete the image.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from oslo_log import log as logging

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import statuses
from nova_multistore.compute import background

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nova.context import RequestContext
    from nova.objects.instance import Instance

    from nova_multistore.compute import snapshot_state

LOG = logging.getLogger(__name__)

#: For how long deletion is tried, and the pause before each try, in seconds.
PATIENCE, PAUSE = 60.0, 2.0


def remove(
    context: RequestContext,
    server: Instance,
    image_id: str,
    snapshot: snapshot_state.Snapshot,
) -> None:
    """Make sure, in the background, that an image without data is deleted.

    If the snapshot is a clone that Nova has left in Ceph, the clone is
    deleted, too.

    :param context: whose token is sent
    :param server: the server
    :param image_id: the image's UUID
    :param snapshot: what is known of it
    """
    with contextlib.suppress(RuntimeError):
        # No thread can be started.
        background.begin(_remove(context, server, image_id, snapshot))


def _remove(
    context: RequestContext,
    server: Instance,
    image_id: str,
    snapshot: snapshot_state.Snapshot,
) -> Iterator[float]:
    images = lookup.images(context)
    deadline = time.monotonic() + PATIENCE
    reason, gone = '', False
    while time.monotonic() < deadline:
        yield PAUSE
        try:
            status = images.show(image_id).get('status')
            if status not in statuses.UNDER_WAY and not snapshot.is_useless:
                return
            images.delete(image_id)
        except exception.GlanceRefused as exc:
            if exc.is_gone:
                # A Glance in trouble may say once of any image that it is
                # gone.
                if gone:
                    _delete_clone(server, image_id, snapshot)
                    return
                gone = True
                continue
            reason = str(exc)
        except exception.LookupFailed as exc:
            reason = str(exc)
        else:
            LOG.info(
                'Image %s of a snapshot that failed was deleted',
                image_id,
                instance=server,
            )
            _delete_clone(server, image_id, snapshot)
            return
    LOG.warning(
        'Image %(image)s of a snapshot that failed was not deleted: '
        '%(reason)s. Delete it with: openstack image delete %(image)s',
        {'image': image_id, 'reason': reason},
        instance=server,
    )


def _delete_clone(
    server: Instance, image_id: str, snapshot: snapshot_state.Snapshot
) -> None:
    """Delete the clone, if Glance has not done it with the image."""
    if snapshot.delete_clone is None:
        return
    try:
        snapshot.delete_clone()
    except Exception as exc:
        LOG.warning(
            'The clone of image %(image)s may be left in Ceph: %(reason)s',
            {'image': image_id, 'reason': exc},
            instance=server,
        )
