"""How an image leaves stores, once another one has it whole."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nova_multistore import image_api

#: How long to wait for the end of an import, and between looks, in seconds.
SETTLE, PAUSE = 60.0, 0.5
# Attributes that identify the data of an image.
_DIGESTS = ('size', 'checksum', 'os_hash_algo', 'os_hash_value')


@dataclasses.dataclass(frozen=True)
class Departure:
    """What became of an image in the stores that it was to leave."""

    #: Why a store still has the image, None if it has not; by the id of each
    #: store but the target.
    reasons: dict[str, str | None]
    #: The stores that refused to delete it.
    refused: tuple[str, ...] = ()


def leave(
    images: image_api.Images,
    before: dict[str, Any],
    target: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> Departure:
    """Delete an image from stores, once it is certain that another has it.

    What was written on the image of a move that is thereby done is removed.

    :param images: Glance's image API
    :param before: the image before it was copied, as Glance's API has it
    :param target: id of the store that is to keep it
    :param sources: ids of the stores to delete it from; None for all that can
        be written to and are not to have a copy
    :param catalogue: what Glance lists
    :raises NotWhole: it is not certain; nothing was deleted
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    after, held = released(images, before['id'])
    if found := _problems(before, after, target, held):
        raise exception.NotWhole(after['id'], found)
    reasons = others(after, target, sources, catalogue)
    refused = {
        store: reason
        for store, kept in reasons.items()
        if not kept and (reason := _delete(images, after['id'], store))
    }
    reasons.update(refused)
    left = after.get(record.MOVE_FROM)
    if left and not reasons.get(left):
        # It means nothing any more.
        with contextlib.suppress(exception.MultistoreError):
            images.remove_property(after['id'], record.MOVE_FROM)
    return Departure(reasons, tuple(refused))


def released(
    images: image_api.Images, image_id: str
) -> tuple[dict[str, Any], bool]:
    """Wait for the end of an import.

    A store has the image before the import that copied it has ended. What is
    changed before that, Glance may change back.

    :param images: Glance's image API
    :param image_id: the image's id
    :returns: the image, and whether an import works on it still
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: the image is not there
    """
    deadline = time.monotonic() + SETTLE
    while True:
        image = images.show(image_id)
        held = _is_held(images, image)
        if not held or time.monotonic() >= deadline:
            return image, held
        time.sleep(PAUSE)


def others(
    image: dict[str, Any],
    target: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> dict[str, str | None]:
    """Return why the other stores of an image keep it, None if they do not.

    The arguments are those of :func:`leave`.

    :returns: by store id
    """
    return {
        store: _why_kept(image, store, sources, catalogue)
        for store in stores.of_image(image)
        if store != target
    }


def _is_held(images: image_api.Images, image: dict[str, Any]) -> bool:
    """Tell whether an import works on an image."""
    return copies.is_held(image) and not copies.is_forsaken(
        image, images.tasks(image['id'])
    )


def _problems(
    before: dict[str, Any], after: dict[str, Any], target: str, held: bool
) -> list[str]:
    """Return why it is not certain that the target has all of an image."""
    found = [
        f'its {name} is {after.get(name)}, and was {before.get(name)}'
        for name in _DIGESTS
        # An image that was cloned into its store had no hash.
        if after.get(name) is None
        or before.get(name) not in (None, after.get(name))
    ]
    if after['status'] != 'active':
        found.append(f'it is {after["status"]}')
    if held:
        found.append(
            'another import has begun (if Glance was killed, the image is '
            'held for up to two hours)'
        )
    if target not in stores.of_image(after):
        found.append(f'it is no longer in {target}')
    return found


def _why_kept(
    image: dict[str, Any],
    store: str,
    sources: Sequence[str] | None,
    catalogue: stores.Catalogue,
) -> str | None:
    try:
        catalogue.check_writable(store)
    except exception.ReadOnlyStore:
        return 'read-only'
    except exception.UnknownStore:
        return "not one of this Glance's stores"
    if sources is not None:
        return None if store in sources else 'not in --from'
    if store in copies.split(image.get(copies.PROPERTY)):
        return 'a copy is wanted there'
    return None


def _delete(images: image_api.Images, image_id: str, store: str) -> str | None:
    """Delete an image from a store.

    :returns: why the store still has it, None if it does not
    """
    try:
        images.delete_from(image_id, store)
    except exception.GlanceRefused as exc:
        # Another request was quicker.
        return None if exc.status == 404 else str(exc)
    except exception.LookupFailed as exc:
        return str(exc)
    return None
