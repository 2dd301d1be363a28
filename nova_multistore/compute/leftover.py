"""The image of a snapshot that has failed is deleted, if Nova could not.

Nova asks Glance once. Where Glance is in trouble, that may fail as the
snapshot has failed, and nobody would ever delete the image.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING

from oslo_log import log as logging

from nova_multistore import bounded
from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import lookup

if TYPE_CHECKING:
    from nova.context import RequestContext
    from nova.objects.instance import Instance

LOG = logging.getLogger(__name__)

#: For how long it is tried, and the pause before each try, in seconds.
PATIENCE, PAUSE = 60.0, 2.0


def remove(context: RequestContext, server: Instance, image_id: str) -> None:
    """See in the background that an image without data is deleted.

    :param context: whose token is sent
    :param server: the server
    :param image_id: the image's UUID
    """
    with contextlib.suppress(RuntimeError):
        # It is raised if no thread can be started.
        bounded.start(functools.partial(_remove, context, server, image_id))


def _remove(context: RequestContext, server: Instance, image_id: str) -> None:
    images = lookup.images(context)
    deadline = time.monotonic() + PATIENCE
    reason = ''
    while time.monotonic() < deadline:
        time.sleep(PAUSE)
        try:
            if images.show(image_id).get('status') not in copies.UNDER_WAY:
                return
            images.delete(image_id)
        except exception.GlanceRefused as exc:
            if exc.status in (404, 410):
                return
            reason = str(exc)
        except exception.LookupFailed as exc:
            reason = str(exc)
        else:
            LOG.info(
                'Image %s of a snapshot that failed was deleted',
                image_id,
                instance=server,
            )
            return
    LOG.warning(
        'Image %(image)s of a snapshot that failed was not deleted: '
        '%(reason)s. Delete it with: openstack image delete %(image)s',
        {'image': image_id, 'reason': reason},
        instance=server,
    )
