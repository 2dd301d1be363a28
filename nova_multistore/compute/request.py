"""The store that a request names: it rides on the record of the image.

The record is read before the decision, and that serves the driver's own first
look at it. With the update that Nova sends before the data, the property goes,
and the stores that are to have copies are written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
from nova import utils
from nova.image import glance
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import policy
from nova_multistore import selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from nova.context import RequestContext
    from nova.objects.instance import Instance

LOG = logging.getLogger(__name__)

# Properties of the package. Servers inherit them from their image, and hand
# them on to their own snapshots.
_OWN = (selection.STORE_PROPERTY, copies.PROPERTY)

# By the id of the image that is being made: the context of the request, the
# record that the driver has not asked for yet, and what to write on it.
_contexts: dict[str, RequestContext] = {}
_records: dict[str, dict[str, Any] | None] = {}
_properties: dict[str, dict[str, str]] = {}


def snapshot_instance(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Keep the request's context, which Nova is about to elevate.

    Wraps ``nova.compute.manager.ComputeManager._snapshot_instance``.
    """
    context, image_id, *_ = args
    _contexts[image_id] = context
    try:
        return wrapped(*args, **kwargs)
    finally:
        del _contexts[image_id]


def store(
    context: RequestContext,
    server: Instance,
    image_id: str,
    operation: selection.Operation,
) -> str | None:
    """Read which store the request of a snapshot or backup names.

    :param context: to read the record with, as the driver will
    :param server: the server
    :param image_id: UUID of the image that is being made
    :param operation: what for
    :returns: store id; None if none is named, or not by somebody who may
    :raises Exception: the record cannot be read; the driver could not, either
    """
    _records[image_id] = None
    if not (server.image_ref and operation.for_keeps):
        return None
    # Nova's own call, so that an order is never missed and a Glance that is
    # away makes a snapshot fail as it always did.
    record = glance.API().get(context, image_id)
    _records[image_id] = record
    named: str | None = record['properties'].get(selection.STORE_PROPERTY)
    if not named or not _counts(named, server, image_id, operation):
        return None
    return named


def _counts(
    named: str,
    server: Instance,
    image_id: str,
    operation: selection.Operation,
) -> bool:
    """Tell whether it was this request that named the store, and might."""
    inherited = utils.SM_IMAGE_PROP_PREFIX + selection.STORE_PROPERTY
    if named == server.system_metadata.get(inherited):
        reason = 'the server has it from its own image'
    else:
        try:
            policy.authorize(_contexts[image_id], operation, server.project_id)
        except nova_exception.Forbidden as exc:
            reason = exc.format_message()
        else:
            return True
    LOG.warning(
        'Image %(image)s (%(operation)s): %(property)s is ignored, %(reason)s',
        {
            'image': image_id,
            'operation': operation.value,
            'property': selection.STORE_PROPERTY,
            'reason': reason,
        },
        instance=server,
    )
    return False


def write(image_id: str, copy_to: Sequence[str]) -> None:
    """Say what Nova's update of the record is to write.

    :param image_id: UUID of the image that is being made
    :param copy_to: ids of the stores that are to have a copy
    """
    if copy_to:
        _properties[image_id] = {copies.PROPERTY: ','.join(copy_to)}


def forget(image_id: str) -> None:
    """Forget an image that is no longer being made.

    :param image_id: the image's UUID
    """
    _records.pop(image_id, None)
    _properties.pop(image_id, None)


def show(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Answer the driver's first look at the record with what was read.

    Wraps ``nova.image.glance.GlanceImageServiceV2.show``.

    :returns: the image, as Nova has it
    """
    _context, image_id, *others = args
    record = _records.get(image_id)
    if record is None or any((*others, kwargs.get('include_locations'))):
        return wrapped(*args, **kwargs)
    _records[image_id] = None
    return record


def update(
    wrapped: Callable[..., Any],
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Write and remove the package's properties.

    glanceclient leaves it at that if there is none to remove.

    Wraps ``nova.image.glance.GlanceImageServiceV2._update_v2``.

    :returns: the image, as glanceclient returns it
    """
    _context, changes, *_ = args
    if changes['image_id'] in _records:
        written = _properties.get(changes['image_id'], {})
        removed = changes.get('remove_props') or []
        changes['remove_props'] = [
            *removed,
            *(name for name in _OWN if name not in written),
        ]
        changes.update(written)
    return wrapped(*args, **kwargs)
