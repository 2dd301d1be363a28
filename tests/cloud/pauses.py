"""A paste filter that lets a test stop Glance at some places of the rbd store.

Glance waits at a place as long as there is a file of its name. It says that it
is there by a second file.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import time
from typing import Any
from typing import Callable

import wrapt

from tests import patience

#: After the first part of a copy was read.
READ = 'read'
#: After a copy's data were deleted, and before the database says so.
DELETED = 'deleted'
# How long anybody waits, in seconds.
_PATIENCE = 60


def _directory(root: Path) -> Path:
    return root / 'pauses'


def _wait(condition: Callable[[], bool]) -> None:
    left = patience.Patience(_PATIENCE)
    while not condition():
        if not left:
            raise TimeoutError
        time.sleep(0.01)


class Pause:
    """Glance waits at a place until it may go on."""

    def __init__(self, wanted: Path, reached: Path) -> None:
        self._wanted = wanted
        self._reached = reached

    def wait(self) -> None:
        """Wait until Glance is there."""
        _wait(self._reached.exists)

    def end(self) -> None:
        """Let Glance go on."""
        self._wanted.unlink(missing_ok=True)


@contextlib.contextmanager
def paused(root: Path, place: str) -> Iterator[Pause]:
    """Have Glance wait at a place, until the end at the latest.

    :param root: Glance's directory
    :param place: the place
    """
    directory = _directory(root)
    directory.mkdir(exist_ok=True)
    # Glance may be of another user than the test.
    directory.chmod(0o777)
    wanted, reached = directory / place, directory / f'{place}-reached'
    wanted.touch()
    pause = Pause(wanted, reached)
    try:
        yield pause
    finally:
        pause.end()
        reached.unlink(missing_ok=True)


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[Any], Any]:
    """Wrap the rbd store; requests pass as they are."""
    from glance_store._drivers import rbd

    directory = _directory(Path(global_conf['here']).parent)

    def pause(place: str) -> None:
        if (directory / place).exists():
            (directory / f'{place}-reached').touch()
            _wait(lambda: not (directory / place).exists())

    def read(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        for number, piece in enumerate(wrapped(*args, **kwargs)):
            yield piece
            if number == 0:
                pause(READ)

    def delete(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        wrapped(*args, **kwargs)
        pause(DELETED)

    wrapt.wrap_function_wrapper(rbd, 'ImageIterator.__iter__', read)
    wrapt.wrap_function_wrapper(rbd, 'Store._delete_image', delete)
    return lambda application: application
