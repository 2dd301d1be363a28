"""The rows and sentences in which commands report on an image."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import copies
from nova_multistore.osc import base

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Columns of the commands that change one image.
COLUMNS = ('image_id', 'store', 'state', 'reason')

Listing = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def of_copies(image_id: str, found: Sequence[copies.Copy]) -> Listing:
    """Return the state of an image in each store, as a list to show.

    :param image_id: the image's id
    :param found: its state in each store
    :returns: columns and rows
    """
    return COLUMNS, [
        (image_id, copy.store, copy.state.value, copy.reason or '')
        for copy in found
    ]


def outcome(found: Sequence[copies.Copy]) -> base.Outcome:
    """Return the exit code of a command that brought an image to stores.

    :param found: its state in each of them
    """
    done = [copy.state is copies.State.DONE for copy in found]
    if not any(done):
        return base.Outcome.FAILED
    return base.Outcome.DONE if all(done) else base.Outcome.PARTLY


def why(found: Sequence[copies.Copy]) -> str:
    """Return why stores do not have an image, as far as Glance says.

    :param found: its state in each of them
    """
    reason = next((copy.reason for copy in found if copy.reason), None)
    if reason is None:
        return "Glance's log says why"
    return f"{reason} (Glance's log says more)"


def shortfall(image_id: str, found: Sequence[copies.Copy]) -> str:
    """Return a sentence: which stores lack an image, why, and what to do.

    :param image_id: the image's id
    :param found: its state in each of them
    """
    lacking = [c.store for c in found if c.state is not copies.State.DONE]
    words = f'image {image_id} is not in {", ".join(lacking)}'
    if not all(copy.settled for copy in found):
        return f'{words} yet; {base.look_again(image_id)}'
    options = ' '.join(f'--store {store}' for store in lacking)
    return (
        f'{words}: {why(found)}; try again with: '
        f'openstack multistore image copy {image_id} {options}'
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
