"""The snapshots that nova-compute is making at the moment."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from nova_multistore.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator


UNDECIDED = Selection(None, None, 'nothing is decided yet')


@dataclasses.dataclass
class Snapshot:
    """One snapshot, from Nova's first step to its last."""

    #: Store that the request names; None if it names none.
    requested: str | None = None
    #: Properties that Nova writes on the image, by name.
    properties: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Where the snapshot goes. Nothing uses it before it is decided.
    selection: Selection = UNDECIDED
    #: UUID of the server; None until it is decided where the snapshot goes.
    server_id: str | None = None
    #: Suspends the guest again, if Nova suspended it for the snapshot and has
    #: resumed it.
    suspend_again: Callable[[], object] | None = None
    #: Why the snapshot differs from the decision, in words.
    differences: list[str] = dataclasses.field(default_factory=list)
    #: Whether Glance was given the location of a clone that was deleted
    #: later. If the image becomes active nevertheless, it has no data.
    location_given_up: bool = False
    #: Whether Glance may refer to the clone, though the snapshot has failed.
    #: Then the clone is not deleted before the image.
    clone_in_doubt: bool = False
    #: Deletes such a clone.
    delete_clone: Callable[[], object] | None = None
    #: Whether Glance has other bytes than were sent.
    is_damaged: bool = False

    @property
    def is_useless(self) -> bool:
        """Whether the image is of no use, even if it is active.

        This is True if Glance has damaged data, and if the location of the
        clone was given up. In the second case the image may have got its data
        in another way.
        """
        return self.is_damaged or self.location_given_up


_snapshots: dict[str, Snapshot] = {}


def get(image_id: str) -> Snapshot | None:
    """Return a snapshot that is being made.

    :param image_id: UUID of its image
    :returns: the snapshot; None if the image is not one, such as an image
        that nova-compute uploads for another reason
    """
    return _snapshots.get(image_id)


def of_server(server_id: str) -> Snapshot | None:
    """Return the snapshot that is being made of a server.

    Nova makes one snapshot of a server at a time.

    :param server_id: the server's UUID
    """
    for snapshot in tuple(_snapshots.values()):
        if snapshot.server_id == server_id:
            return snapshot
    return None


@contextlib.contextmanager
def enter(image_id: str) -> Iterator[Snapshot]:
    """Keep what is known of a snapshot while it is made.

    Inside another ``enter`` for the same image, this is the same snapshot.

    :param image_id: UUID of its image
    """
    if known := get(image_id):
        yield known
        return
    made = _snapshots[image_id] = Snapshot()
    try:
        yield made
    finally:
        del _snapshots[image_id]
