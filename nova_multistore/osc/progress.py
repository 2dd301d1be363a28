"""Waiting for an image of a server, and saying how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions

if TYPE_CHECKING:
    from typing import TextIO

    from nova_multistore.osc.cloud import Cloud

#: How long to wait before Nova and Glance are asked again, in seconds.
PAUSE = 1.0

# Statuses from which an image may still become active.
_UNDER_WAY = ('queued', 'saving', 'uploading', 'importing')


def wait(
    cloud: Cloud, server_id: str, image_id: str, stream: TextIO
) -> dict[str, Any]:
    """Wait until an image has its data.

    :param cloud: the cloud
    :param server_id: of which server it is made
    :param image_id: the image's id
    :param stream: where to say how far it is
    :returns: the image, as Glance's API has it
    :raises osc_lib.exceptions.CommandError: it is not going to have them
    """
    with _Line(stream) as line:
        while True:
            # In this order: Nova is done with a server last.
            server = cloud.server_now(server_id) or {}
            image = cloud.image(image_id)
            task = server.get('OS-EXT-STS:task_state')
            status = image['status'] if image else 'gone'
            line.say(f'image {status}, server {task or "idle"}')
            if image and status == 'active':
                return image
            if status not in _UNDER_WAY or not task:
                break
            time.sleep(PAUSE)
    raise exceptions.CommandError(
        f'image {image_id} was not made: it is {status}, and Nova is done '
        "with the server; the reason is in nova-compute's log"
    )


class _Line:
    """One line that changes on a terminal, a line for each state elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._begin = time.monotonic()
        self._state = ''

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._terminal:
            self._stream.write('\n')

    def say(self, state: str) -> None:
        spent = f'{time.monotonic() - self._begin:.0f} s'
        if self._terminal:
            self._stream.write(f'\r\x1b[K{state} ({spent})')
        elif state != self._state:
            self._stream.write(f'{state} ({spent})\n')
        self._stream.flush()
        self._state = state
