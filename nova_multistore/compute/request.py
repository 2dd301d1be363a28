"""What the request of a snapshot asks for, and what its image is to say.

nova-compute is told the store that a request names with the context of the
request. With the update that Nova sends before the data, the stores that are
to have copies are written on the image, and what the server has inherited of
the package's properties is removed from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import glanceclient.exc
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import requested
from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from nova.objects.instance import Instance

LOG = logging.getLogger(__name__)

# Properties of the package. Servers inherit them from their image, and hand
# them on to their own snapshots.
_OWN = (selection.STORE_PROPERTY, copies.PROPERTY)
# Glance's answers where an image may not have the properties: a protection of
# properties, a quota of them, a schema.
_PROPERTIES_REFUSED = (
    glanceclient.exc.HTTPBadRequest,
    glanceclient.exc.HTTPForbidden,
    glanceclient.exc.HTTPConflict,
    glanceclient.exc.HTTPOverLimit,
    # glanceclient's own answer, by Glance's schema.
    TypeError,
)

# By the id of the image that is being made: the store that the request names,
# and what to write on the image.
_requested: dict[str, str | None] = {}
_properties: dict[str, dict[str, str]] = {}


def snapshot_instance(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Keep the store that the request names.

    Wraps ``nova.compute.manager.ComputeManager._snapshot_instance``.
    """
    context, image_id, *_ = args
    _requested[image_id] = requested.take(context)
    try:
        return wrapped(*args, **kwargs)
    finally:
        del _requested[image_id]


def store(
    server: Instance, image_id: str, operation: selection.Operation
) -> str | None:
    """Return which store the request of a snapshot or backup names.

    :param server: the server
    :param image_id: UUID of the image that is being made
    :param operation: what for
    :returns: store id; None if none is named
    """
    if not (server.image_ref and operation.for_keeps):
        return None
    return _requested.get(image_id)


def write(image_id: str, copy_to: Sequence[str]) -> None:
    """Say what Nova's update of the image is to write.

    :param image_id: UUID of the image that is being made
    :param copy_to: ids of the stores that are to have a copy
    """
    _properties[image_id] = (
        {copies.PROPERTY: ','.join(copy_to)} if copy_to else {}
    )


def forget(image_id: str) -> None:
    """Forget an image that is no longer being made.

    :param image_id: the image's UUID
    """
    _properties.pop(image_id, None)


def call(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Write and remove the package's properties, if Glance lets Nova do so.

    glanceclient leaves it at that if there is none to remove.

    Wraps ``nova.image.glance.GlanceClientWrapper.call``.

    :returns: what Glance answers
    """
    changes = _update(*args, **kwargs)
    if changes is None:
        return wrapped(*args, **kwargs)
    written = _properties[changes['image_id']]
    removed = [
        *(changes.get('remove_props') or []),
        *(name for name in _OWN if name not in written),
    ]
    own = {**changes, **written, 'remove_props': removed}
    try:
        return wrapped(*args, **{**kwargs, 'kwargs': own})
    except _PROPERTIES_REFUSED as exc:
        # If it is Nova's own part that is refused, this is refused, too.
        image = wrapped(*args, **kwargs)
        LOG.warning(
            'Glance does not let Nova change the properties %(names)s of '
            'image %(image)s (%(error)s). They stay as they are.',
            {
                'names': ', '.join(_OWN),
                'image': changes['image_id'],
                'error': exc,
            },
        )
        return image


def _update(
    context: Any,
    version: int,
    method: str,
    controller: str | None = None,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Return what is changed on an image that is being made.

    :returns: the arguments of glanceclient's ``images.update``; None if the
        call is something else
    """
    if method != 'update' or controller or args or not kwargs:
        return None
    return kwargs if kwargs.get('image_id') in _properties else None
