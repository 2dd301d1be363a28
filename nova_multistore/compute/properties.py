"""The package's properties on the image of a snapshot.

Before it uploads the data, Nova updates the image once. That update also
writes the record of the decision, and removes the properties of the package
that the server inherited from its own image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import record
from nova_multistore import selection
from nova_multistore.compute import snapshot_state

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

# Properties of the package. Nova copies them from an image to the servers
# that are started from it, and from there to their snapshots.
_OWN = (
    selection.STORE_PROPERTY,
    copies.HASH,
    copies.REPAIR,
    *record.PROPERTIES,
)
# How Glance refuses properties: by property protection, quota or schema.
_REFUSED = (
    glanceclient.exc.HTTPBadRequest,
    glanceclient.exc.HTTPForbidden,
    glanceclient.exc.HTTPConflict,
    glanceclient.exc.HTTPOverLimit,
    # glanceclient checks the schema itself.
    TypeError,
)


def update(proceed: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Add the package's properties to Nova's update of a snapshot's image.

    If Glance refuses this update, the old properties are removed first, and
    the new ones are written after that. If Glance refuses that, too, Nova's
    update is sent without the package's properties.

    :param proceed: Nova's own call of glanceclient's ``images.update``
    :param kwargs: its arguments
    :returns: what Glance answers
    """
    image_id = kwargs.get('image_id', '')
    snapshot = snapshot_state.get(image_id)
    if snapshot is None:
        return proceed()
    removed = [
        *(kwargs.get('remove_props') or []),
        # glanceclient ignores those that the image does not have.
        *(name for name in _OWN if name not in snapshot.properties),
    ]
    removal = {**kwargs, 'remove_props': removed}
    try:
        return proceed(kwargs={**removal, **snapshot.properties})
    except _REFUSED:
        # If a removed property and a new one have the same value, glanceclient
        # sends a move from one to the other, which Glance does not know.
        pass
    image = None
    try:
        image = proceed(kwargs=removal)
        if not snapshot.properties:
            return image
        return proceed(kwargs={'image_id': image_id, **snapshot.properties})
    except _REFUSED as exc:
        if image is None:
            # If Nova's own part is the reason, Glance refuses this, too.
            image = proceed()
        LOG.warning(
            'Glance does not let Nova change the properties %(names)s of '
            'image %(image)s (%(error)s). They stay as they are.',
            {'names': ', '.join(_OWN), 'image': image_id, 'error': exc},
        )
        return image
