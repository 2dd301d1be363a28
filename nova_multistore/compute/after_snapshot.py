"""What becomes of a finished snapshot in the background.

The snapshot gets the copies that ``[nova_multistore] copy_to`` asks for, and
moves to the store that ``move_to`` names.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

import nova.conf
from oslo_log import log as logging

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import relocation
from nova_multistore.compute import background
from nova_multistore.compute import ceph
from nova_multistore.stores import of_image

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterator
    from collections.abc import Sequence

    from nova.context import RequestContext
    from nova.objects.instance import Instance

    from nova_multistore.selection import Selection

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: How long an image is followed until all of its copies are made, in seconds.
PATIENCE = 24 * 3600.0


def start(
    context: RequestContext,
    server: Instance,
    image_id: str,
    stores: Sequence[str],
    selected: Selection,
) -> None:
    """Ask for copies of a finished snapshot, in the background.

    :param context: of the request
    :param server: the server
    :param image_id: the image's UUID
    :param stores: ids of the stores that are to have a copy
    :param selected: where the snapshot was made, and whether it moves
    """
    targets = list(stores)
    if selected.move_from:
        targets = list(dict.fromkeys((str(selected.store), *stores)))
    if selected.move_from in stores:
        # The snapshot is to stay there, too.
        selected = dataclasses.replace(selected, move_from=None)
    if not targets:
        return

    def copy() -> Iterator[float]:
        try:
            yield from _copy(context, server, image_id, targets, selected)
        except Exception as exc:
            fail(exc)

    def fail(error: Exception) -> None:
        if stores:
            _failed(server, image_id, stores, str(error))
        if selected.move_from:
            _stays(server, image_id, selected, str(error))

    try:
        background.begin(copy())
    except RuntimeError as exc:
        # No thread can be started.
        fail(exc)


def _copy(
    context: RequestContext,
    server: Instance,
    image_id: str,
    stores: Sequence[str],
    selected: Selection,
) -> Iterator[float]:
    privileged = bool(CONF.nova_multistore.auth_type)
    caller = lookup.service_context(opts.COPY_GROUP) if privileged else context
    images = lookup.images(caller)
    try:
        before: dict[str, Any] = {}
        if selected.move_from:
            # Wait for the hash of the clone: the copy is compared by it.
            before, _held = yield from relocation.releasing(
                images, image_id, PATIENCE
            )
        elif privileged:
            before = images.show(image_id)
        if privileged:
            _check_owner(before, context, server)
        known = _known(context, server, image_id, stores)
        found = yield from copies.copying(images, image_id, known, PATIENCE)
        for copy in found:
            if copy.state is copies.State.DONE:
                LOG.info(
                    'Image %(image)s has a copy in store %(store)s',
                    {'image': image_id, 'store': copy.store},
                    instance=server,
                )
            elif not (selected.move_from and copy.store == selected.store):
                _failed(server, image_id, [copy.store], copy.failure)
        if selected.move_from:
            yield from _leave(caller, before, server, selected, found)
    except exception.CopyInterrupted as exc:
        _interrupted(server, image_id, exc)
    except exception.GlanceRefused as exc:
        if not exc.is_gone:
            raise
        LOG.info(
            'Image %s is gone, it is not copied', image_id, instance=server
        )


def _leave(
    caller: RequestContext,
    before: dict[str, Any],
    server: Instance,
    selected: Selection,
    found: Sequence[copies.Copy],
) -> Iterator[float]:
    """Delete a snapshot from the store in which it was made.

    :param caller: whose token is sent
    :param before: the image before it was copied
    :param found: the image's state in the stores that were to have a copy
    :raises GlanceRefused: the image is gone
    """
    source, target = str(selected.move_from), str(selected.store)
    reason: str | None = 'Glance does not have that store'
    for copy in found:
        if copy.store == target:
            reason = copy.failure
    if not reason:
        try:
            reason = yield from _move(caller, before, server, selected)
        except (exception.NotWhole, exception.LookupFailed) as exc:
            reason = str(exc)
    if reason:
        _stays(server, before['id'], selected, reason)
        return
    words = 'Image %(image)s has moved from store %(source)s to %(target)s'
    if source not in of_image(before):
        words = 'Image %(image)s is in store %(target)s, and need not move'
    LOG.info(
        words,
        {'image': before['id'], 'source': source, 'target': target},
        instance=server,
    )


def _move(
    caller: RequestContext,
    before: dict[str, Any],
    server: Instance,
    selected: Selection,
) -> Generator[float, None, str | None]:
    """Prove that a snapshot was copied whole, and delete the clone later.

    :returns: why the clone is not deleted, None if it is
    :raises NotWhole: it is not certain that the copy is whole
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is gone
    """
    images = lookup.images(caller)
    source, target = str(selected.move_from), str(selected.store)
    sources = relocation.Sources(
        lookup.catalogue(caller),
        lambda image_id, _store: ceph.clones(str(selected.pool), image_id),
        [source],
    )
    proof = yield from relocation.proving(images, before, target, sources)
    if source in of_image(proof.image):
        LOG.info(
            'Image %(image)s is whole in store %(target)s, and leaves store '
            '%(source)s in %(grace)d seconds',
            {
                'image': before['id'],
                'target': target,
                'source': source,
                'grace': relocation.GRACE,
            },
            instance=server,
        )
        yield relocation.GRACE
    return relocation.leave(images, proof, sources).reasons.get(source)


def _stays(
    server: Instance, image_id: str, selected: Selection, reason: str
) -> None:
    LOG.warning(
        'Image %(image)s stays in store %(source)s, from which it was to move '
        'to %(target)s (%(reason)s). To complete the move: openstack '
        'multistore image relocate %(image)s --to %(target)s '
        '--from %(source)s',
        {
            'image': image_id,
            'source': selected.move_from,
            'target': selected.store,
            'reason': reason,
        },
        instance=server,
    )


def _check_owner(
    image: dict[str, Any], context: RequestContext, server: Instance
) -> None:
    """Make sure that Nova's own rights are used for the right project.

    That is the project of the server, or the one of the administrator who
    asked for the snapshot.

    :raises ForeignImage: the image belongs to another project
    """
    owner = image.get('owner')
    if owner not in (server.project_id, context.project_id):
        raise exception.ForeignImage(owner, server.project_id)


def _interrupted(
    server: Instance, image_id: str, error: exception.CopyInterrupted
) -> None:
    values = {'image': image_id, 'stores': ', '.join(error.stores)}
    if error.deleted:
        LOG.warning(
            'Image %(image)s was deleted while Glance copied it to '
            '%(stores)s. Glance may have left its data there, which nobody '
            'can use or delete through Glance.',
            values,
            instance=server,
        )
    else:
        LOG.warning(
            'It is not known whether image %(image)s has a copy in '
            '%(stores)s (%(reason)s). To see: openstack multistore image '
            'show %(image)s',
            {**values, 'reason': error.cause},
            instance=server,
        )


def _known(
    context: RequestContext,
    server: Instance,
    image_id: str,
    stores: Sequence[str],
) -> list[str]:
    """Leave out unknown stores: with one of them, Glance would refuse all."""
    known = []
    for store in stores:
        try:
            lookup.catalogue_for(context, store).check_writable(store)
        except exception.StoreRefused as exc:
            LOG.warning(
                'Image %(image)s gets no copy that [nova_multistore] in '
                'nova.conf asks for: %(reason)s',
                {'image': image_id, 'reason': exc},
                instance=server,
            )
            continue
        except exception.LookupFailed as exc:
            LOG.debug('Image %s: %s', image_id, exc)
        known.append(store)
    return known


def _failed(
    server: Instance, image_id: str, stores: Sequence[str], reason: str
) -> None:
    LOG.warning(
        'Image %(image)s has no copy in %(stores)s (%(reason)s). To have it '
        'made: openstack multistore image copy %(image)s %(options)s',
        {
            'image': image_id,
            'stores': ', '.join(stores),
            'reason': reason,
            'options': ' '.join(f'--store {store}' for store in stores),
        },
        instance=server,
    )
