"""What the commands show and say of an image in its stores."""

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
    """Return how far an image is in each store.

    :param image_id: the image's id
    :param found: how far it is in each store
    :returns: columns and rows
    """
    return COLUMNS, [
        (image_id, copy.store, copy.state.value, copy.reason or '')
        for copy in found
    ]


def outcome(found: Sequence[copies.Copy]) -> base.Outcome:
    """Return how it went to bring an image to stores.

    :param found: how far it is in each of them
    """
    done = [copy.state is copies.State.DONE for copy in found]
    if not any(done):
        return base.Outcome.FAILED
    return base.Outcome.DONE if all(done) else base.Outcome.PARTLY


def why(found: Sequence[copies.Copy]) -> str:
    """Return why an image does not lie in stores, as far as Glance tells.

    :param found: how far it is in each of them
    """
    reason = next((copy.reason for copy in found if copy.reason), None)
    if reason is None:
        return "Glance's log says why"
    return f"{reason} (Glance's log says more)"


def shortfall(image_id: str, found: Sequence[copies.Copy]) -> str:
    """Say in which stores an image does not lie, why, and what to do.

    :param image_id: the image's id
    :param found: how far it is in each of them
    """
    lacking = [c.store for c in found if c.state is not copies.State.DONE]
    words = f'image {image_id} does not lie in {", ".join(lacking)}'
    if not all(copy.settled for copy in found):
        return f'{words} yet; {base.look_again(image_id)}'
    options = ' '.join(f'--store {store}' for store in lacking)
    return (
        f'{words}: {why(found)}; try again with: '
        f'openstack multistore image copy {image_id} {options}'
    )


def left_over(image_id: str, found: Sequence[copies.Copy]) -> str:
    """Say of an image that it lies nowhere, why, and what to do.

    :param image_id: the image's id
    :param found: how far it is in the stores where it was to lie
    """
    return (
        f'image {image_id} lies in no store: {why(found)}; {delete(image_id)}'
    )


def delete(image_id: str) -> str:
    """Say how to be rid of an image that has no data.

    :param image_id: the image's id
    """
    return f'delete what is left with: openstack image delete {image_id}'
