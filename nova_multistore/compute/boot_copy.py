"""A copy of an image in the compute's own Ceph, for a server to start from.

Nova has Glance make the copy with the user's token. Unless Glance's policy
``copy_image`` is changed, only administrators may do that. So the credentials
of ``[nova_multistore]`` are used, for an image that the user can see and use.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING
from typing import Any

from nova import exception as nova_exception
import nova.conf
from oslo_context import context as oslo_context
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova.context import RequestContext

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# The filter properties of a server, if this is the last host for it; None if
# Nova can try another host. Their `retry` has Nova ask for another host.
_last_try: contextvars.ContextVar[dict[str, Any] | None] = (
    contextvars.ContextVar('last_try', default=None)
)


def build(
    proceed: Callable[..., Any],
    _manager: Any,
    /,
    filter_properties: dict[str, Any] | None = None,
    host_list: list[Any] | None = None,
    **_rest: Any,
) -> Any:
    """Build a server, and keep in mind whether this is the last host for it.

    Wraps ``nova.compute.manager.ComputeManager._do_build_and_run_instance``.
    """
    is_last = host_list is not None and not host_list
    token = _last_try.set(filter_properties if is_last else None)
    try:
        return proceed()
    finally:
        _last_try.reset(token)


def copy_to_store(
    proceed: Callable[..., Any],
    _disk: Any,
    /,
    context: RequestContext,
    image_meta: dict[str, Any],
) -> Any:
    """Have Glance copy an image, and wait for it.

    Wraps ``nova.virt.libvirt.imagebackend.Rbd.copy_to_store``. Nova has just
    looked the image up with the user's token.

    :raises nova.exception.ImageUnacceptable: there is no copy; Nova then
        downloads the image, unless it is told never to
    :raises nova.exception.ImageNotAuthorized: there are no credentials, and
        the user may not copy images; Nova then tries another host, which may
        have the image
    """
    image_id = image_meta['id']
    store = CONF.libvirt.images_rbd_glance_store_name
    if not CONF.nova_multistore.auth_type:
        try:
            return proceed()
        except nova_exception.ImageNotAuthorized as exc:
            raise _denied(image_id, store) from exc
    if image_meta.get('status') != 'active':
        raise nova_exception.ImageUnacceptable(
            image_id=image_id, reason=f'it is {image_meta.get("status")}'
        )
    try:
        found = _copy(image_id, store)
    except exception.MultistoreError as exc:
        raise nova_exception.ImageUnacceptable(
            image_id=image_id, reason=f'no copy in store {store}: {exc}'
        ) from exc
    if found.failure:
        raise nova_exception.ImageUnacceptable(
            image_id=image_id,
            reason=f'no copy in store {store}: {found.failure}',
        )
    LOG.info('Image %s has a copy in store %s', image_id, store)
    return None


def _denied(image_id: str, store: str) -> nova_exception.ImageNotAuthorized:
    """Return the error for a user who may not copy images.

    Stock Nova raises the same error, so Nova goes on in the same way.
    """
    # Nova keeps 255 characters of a fault, and may put 140 before this text.
    reason = (
        f"Image {image_id} needs a copy in '{store}': Glance's policy "
        'copy_image denies this user that. An operator can make the copy '
        f'(openstack multistore image copy {image_id} --store {store}), or '
        'give [nova_multistore] in nova.conf credentials.'
    )
    LOG.warning(reason)
    if last_try := _last_try.get():
        # If there is no host left, nova-conductor would say only that in the
        # server's fault. Without `retry`, nova-compute gives the reason.
        last_try.pop('retry', None)
    return nova_exception.ImageNotAuthorized(reason)


def _copy(image_id: str, store: str) -> copies.Copy:
    """Copy an image, and log the progress.

    :returns: what became of it
    :raises MultistoreError: Glance refused, or did not answer
    """
    shown = None

    def report(_image: dict[str, Any], found: tuple[copies.Copy, ...]) -> None:
        nonlocal shown
        if found != shown:
            shown = found
            for copy in found:
                LOG.info(
                    'Image %(image)s, store %(store)s: %(state)s%(amount)s',
                    {
                        'image': image_id,
                        'store': copy.store,
                        'state': copy.state.value,
                        'amount': f', {copy.copied >> 20} MiB'
                        if copy.copied
                        else '',
                    },
                )

    LOG.info('Asking Glance to copy image %s to store %s', image_id, store)
    with _own_context():
        [found] = copies.copy(
            lookup.images(lookup.service_context(opts.COPY_GROUP)),
            image_id,
            [store],
            CONF.libvirt.images_rbd_glance_copy_timeout,
            report,
        )
    return found


@contextlib.contextmanager
def _own_context() -> Iterator[None]:
    """Give the thread its own context back afterwards.

    A request to Glance with another context leaves that context in the
    thread. The lines that Nova logs later would lack the id of the request.
    """
    before = oslo_context.get_current()
    try:
        yield
    finally:
        if before is not None:
            before.update_store()
