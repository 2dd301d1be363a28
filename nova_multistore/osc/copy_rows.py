"""The rows and sentences in which commands report on an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from nova_multistore import copies
from nova_multistore import record
from nova_multistore import stores
from nova_multistore.osc import base

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence


class Row(NamedTuple):
    """What a command says of an image in one store."""

    image_id: str
    store: str
    #: Such as ``done``, ``failed``, ``kept`` or ``deleted``.
    state: str
    #: Why, in words; empty if there is nothing to say.
    reason: str


#: Columns of the commands that change one image.
COLUMNS = Row._fields

#: Columns with what was decided on an image.
DECISION = ('decided_store', 'rule', 'difference')

Listing = tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]


def decision(image: dict[str, Any]) -> tuple[str, str, str]:
    """Return the cells of :data:`DECISION`, empty if there is no record.

    :param image: the image, as Glance's API has it
    """
    written = record.read(image)
    if written is None:
        return '', '', ''
    return written.store or '', written.rule.value, written.difference or ''


def awaited(
    image: dict[str, Any], catalogue: stores.Catalogue
) -> tuple[str, ...]:
    """Return the stores that are to have an image, by its own properties.

    :param image: the image, as Glance's API has it
    :param catalogue: Glance's stores
    """
    named = stores.split(image.get(copies.PROPERTY))
    written = record.read(image)
    # Cinder has the data of a volume-backed server's image.
    if written is None or not (image.get('size') and stores.of_image(image)):
        return named
    store = written.expected(catalogue)
    return named if store is None else (*named, store)


def unfinished_move(
    image: dict[str, Any], found: Sequence[copies.Copy]
) -> str | None:
    """Return the store to which an image has yet to move.

    :param image: the image, as Glance's API has it
    :param found: its state in each store
    :returns: store id; None if it does not move, or the store has it
    """
    written = record.read(image)
    if written is None or not written.move_from:
        return None
    target = written.store
    lacking = [c.store for c in found if c.state is not copies.State.DONE]
    return target if target in lacking else None


def of_copies(image_id: str, found: Sequence[copies.Copy]) -> list[Row]:
    """Return a row for each store of an image.

    :param image_id: the image's id
    :param found: its state in each store
    """
    return [
        Row(image_id, copy.store, copy.state.value, copy.reason or '')
        for copy in found
    ]


def of_departure(
    image_id: str, reasons: Mapping[str, str | None], left: str = 'deleted'
) -> list[Row]:
    """Return a row for each store that an image leaves.

    :param image_id: the image's id
    :param reasons: why each store keeps the image, None if it does not
    :param left: the state of a store that no longer has it
    """
    return [
        Row(image_id, store, 'kept' if reason else left, reason or '')
        for store, reason in reasons.items()
    ]


def outcome(found: Sequence[copies.Copy]) -> base.Outcome:
    """Return the exit code of a command that brought an image to stores.

    :param found: its state in each of them
    """
    done = [copy.state is copies.State.DONE for copy in found]
    if found and all(done):
        return base.Outcome.DONE
    under_way = not all(copy.settled for copy in found)
    return (
        base.Outcome.PARTLY if any(done) or under_way else base.Outcome.FAILED
    )


def why(found: Sequence[copies.Copy]) -> str:
    """Return why stores do not have an image, as far as Glance says.

    :param found: its state in each of them
    """
    reason = next((copy.reason for copy in found if copy.reason), None)
    if reason is None:
        return "Glance's log says why"
    return f"{reason} (Glance's log says more)"


def shortfall(image: dict[str, Any], found: Sequence[copies.Copy]) -> str:
    """Return a sentence: which stores lack an image, why, and what to do.

    :param image: the image, as Glance's API has it
    :param found: its state in each of them
    """
    image_id, status = image['id'], image['status']
    lacking = [c.store for c in found if c.state is not copies.State.DONE]
    words = f'image {image_id} is not in {", ".join(lacking)}'
    if not all(copy.settled for copy in found):
        if copies.is_waited_for(image):
            return waits(image)
        return f'{words} yet; {base.look_again(image_id)}'
    if not stores.of_image(image):
        return left_over(image_id, found)
    words += f': {why(found)}'
    if status == 'active':
        options = ' '.join(f'--store {store}' for store in lacking)
        return (
            f'{words}; try again with: openstack multistore image copy '
            f'{image_id} {options}'
        )
    words += f'; it is {status}, and is copied only while it is active'
    if status == 'deactivated':
        words += f': openstack image set --activate {image_id}'
    return words


def waits(image: dict[str, Any]) -> str:
    """Return a sentence: an image has no data yet, and what to do.

    :param image: the image, as Glance's API has it
    """
    return (
        f'image {image["id"]} is {image["status"]}, and nobody has sent its '
        f'data yet; {base.to_look_again(image["id"])}'
    )


def abandoned(image: dict[str, Any]) -> str:
    """Return a sentence: nobody sends the data of an image; what to do.

    :param image: the image, as Glance's API has it
    """
    image_id = image['id']
    return (
        f'image {image_id} is {image["status"]}, and nobody has sent its data '
        f'for {copies.IDLE:.0f} seconds; send them with: openstack multistore '
        f'image import --image {image_id}, or delete it with: openstack image '
        f'delete {image_id}'
    )


def left_over(image_id: str, found: Sequence[copies.Copy]) -> str:
    """Return a sentence: no store has an image, why, and what to do.

    :param image_id: the image's id
    :param found: its state in the stores that were to have it
    """
    return f'image {image_id} is in no store: {why(found)}; {delete(image_id)}'


def delete(image_id: str) -> str:
    """Return a sentence: how to delete an image that has no data.

    :param image_id: the image's id
    """
    return f'delete what is left with: openstack image delete {image_id}'
