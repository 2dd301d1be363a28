"""Waiting until nothing more becomes of images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Sequence
    from typing import TextIO

    from nova_multistore.osc.cloud import Cloud

#: How long to wait before Nova and Glance are asked again about a server's
#: image, in seconds.
PAUSE = 1.0


def server_image(
    cloud: Cloud, server_id: str, image_id: str, stream: TextIO
) -> dict[str, Any]:
    """Wait until an image of a server has its data.

    :param cloud: the cloud
    :param server_id: of which server it is made
    :param image_id: the image's id
    :param stream: where to say how far it is
    :returns: the image, as Glance's API has it
    :raises osc_lib.exceptions.CommandError: it is not going to have them
    """
    with progress.start(stream) as said:
        while True:
            # In this order: Nova is done with a server last.
            server = cloud.server_now(server_id) or {}
            image = cloud.image(image_id)
            task = server.get('OS-EXT-STS:task_state')
            status = image['status'] if image else 'gone'
            state = f'{status}, server {task or "idle"}'
            said.show([progress.Item('image', state, moving=True)])
            if image and status == 'active':
                return image
            if status not in copies.UNDER_WAY or not task:
                break
            time.sleep(PAUSE)
    raise exceptions.CommandError(
        f'image {image_id} was not made: it is {status}, and Nova is done '
        "with the server; the reason is in nova-compute's log"
    )


def until_settled(
    followers: Sequence[copies.Follower],
    timeout: float,
    report: Callable[[], None],
) -> None:
    """Look at images until nothing is under way, or the time is over.

    :param followers: what looks at them
    :param timeout: how long to wait at most, in seconds
    :param report: called after every look at all of them
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: one is not there or not to be seen any more
    """
    deadline = time.monotonic() + timeout
    pending = list(followers)
    while True:
        left = deadline - time.monotonic()
        try:
            for follower in pending:
                follower.look()
        except exception.GlanceAway:
            # It may be restarting.
            if left <= 0:
                raise
        else:
            report()
        pending = [follower for follower in pending if not follower.settled]
        if not pending or left <= 0:
            return
        time.sleep(min(left, *(follower.pause for follower in pending)))


def items(
    image: dict[str, Any], found: Iterable[copies.Copy], prefix: str = ''
) -> list[progress.Item]:
    """Return how far an image is in each store, for those who wait.

    :param image: the image, as Glance's API has it
    :param found: how far it is in each store
    :param prefix: what goes before each store's name
    """
    return [_item(copy, image.get('size'), prefix) for copy in found]


def _item(copy: copies.Copy, total: int | None, prefix: str) -> progress.Item:
    done = copy.state is copies.State.DONE
    return progress.Item(
        f'{prefix}{copy.store}',
        copy.state.value,
        moving=copy.state is copies.State.COPYING,
        done=total if done else copy.copied,
        total=total,
    )
