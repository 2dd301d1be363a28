"""Copies of an image in several stores: ask for them, follow them."""

from __future__ import annotations

import collections
import dataclasses
import enum
import re
import time
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import exception
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Sequence

    from nova_multistore import image_api


#: Names, on an image, the stores that are to have a copy; joined by commas.
PROPERTY = 'nova_multistore_copy_to'
#: Statuses from which an image may still become active.
UNDER_WAY = ('queued', 'saving', 'uploading', 'importing')
#: How often a store is asked to take a copy, if it fails to.
TRIES = 3
#: How often Glance is asked whether it takes the image from an import that
#: holds it, in seconds: it does so once that has been silent for an hour.
STALE = 300.0
#: How long an image without data is waited for if nobody sends any, in
#: seconds.
IDLE = 300.0
#: The shortest and the longest time between two questions, in seconds.
PAUSES = 1.0, 30.0

# What Glance keeps on an image (glance.async_.flows.api_image_import): the
# task that holds it, the stores that do not have it yet, and those that
# failed to take it.
_TASK = 'os_glance_import_task'
_IMPORTING = 'os_glance_importing_to_stores'
_FAILED = 'os_glance_failed_import'
# Words of a task that copies; what they count is of one store.
_COPIED = re.compile(r'Copied (\d+) MiB')
_MIB = 1 << 20
# Refusals that may be a matter of time: another import holds the image, or
# the copy has been made since the image was looked at.
_PASSING = (400, 409)


class State(enum.Enum):
    """How far an image is in one store."""

    #: It is to be imported.
    WAITING = 'waiting'
    #: It is being imported.
    COPYING = 'copying'
    #: It lies there, whole.
    DONE = 'done'
    #: The last import failed there.
    FAILED = 'failed'
    #: It is to lie there, and nothing is under way.
    MISSING = 'missing'


@dataclasses.dataclass(frozen=True)
class Copy:
    """An image in one store."""

    store: str
    state: State
    #: How many bytes are there while it is copied; None if Glance does not
    #: tell, which it does once a minute.
    copied: int | None = None
    #: Why it failed, in words; None if Glance does not tell.
    reason: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is under way that could change it."""
        return self.state not in (State.WAITING, State.COPYING)


def split(value: object) -> tuple[str, ...]:
    """Read a list of stores.

    :param value: store ids joined by commas; anything else is none
    :returns: store ids
    """
    text = value if isinstance(value, str) else ''
    return tuple(s.strip() for s in text.split(',') if s.strip())


def is_held(image: dict[str, Any]) -> bool:
    """Tell whether an import holds an image.

    :param image: the image, as Glance's API has it
    """
    return bool(image.get(_TASK))


def has_failed(image: dict[str, Any]) -> bool:
    """Tell whether an import of an image failed in some store.

    :param image: the image, as Glance's API has it
    """
    return bool(split(image.get(_FAILED)))


def holder(
    image: dict[str, Any], tasks: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the task that holds an image, empty if it is not to be seen.

    :param image: the image, as Glance's API has it
    :param tasks: its tasks, as Glance's API has them
    """
    held_by = image.get(_TASK)
    return next((t for t in tasks if t.get('id') == held_by), {})


def is_under_way(
    image: dict[str, Any], tasks: Sequence[dict[str, Any]] = ()
) -> bool:
    """Tell whether an image may come to lie in further stores by itself.

    :param image: the image, as Glance's API has it
    :param tasks: the image's tasks, as Glance's API has them
    """
    if is_held(image):
        # Glance does not always let go of what it failed to import.
        return holder(image, tasks).get('status') != 'failure'
    if image.get('status') == 'saving':
        return True
    if image.get('status') not in UNDER_WAY:
        return False
    # An import that fails may leave the image in any of them.
    if not tasks:
        return not has_failed(image)
    return max(tasks, key=_time).get('status') != 'failure'


def read(
    image: dict[str, Any],
    wanted: Iterable[str] = (),
    tasks: Sequence[dict[str, Any]] = (),
    old_message: str | None = None,
) -> tuple[Copy, ...]:
    """Read how far an image is in each store.

    :param image: the image, as Glance's API has it
    :param wanted: further stores in which it is to lie
    :param tasks: the image's tasks, as Glance's API has them
    :param old_message: what the task that runs said when it came to the store
        to which it copies
    :returns: one copy for each store, first those where the image lies
    """
    present = stores.of_image(image)
    task = holder(image, tasks)
    queue = _queue(image, task)
    importing = split(image.get(_IMPORTING))
    failed = split(image.get(_FAILED))
    under_way = is_under_way(image, tasks)

    def copy(store: str) -> Copy:
        if store in present:
            return Copy(store, State.DONE)
        # Glance takes one after the other; while it fetches the data for all
        # of them, it does not say so.
        if store in queue[:1]:
            copied = _bytes(task, store, old_message)
            return Copy(store, State.COPYING, copied=copied)
        if store in queue:
            return Copy(store, State.WAITING)
        if store in failed:
            return Copy(store, State.FAILED, reason=_failure(tasks, store))
        return Copy(store, State.WAITING if under_way else State.MISSING)

    everywhere = (*present, *queue, *importing, *failed, *wanted)
    return tuple(copy(store) for store in dict.fromkeys(everywhere))


def _time(task: dict[str, Any]) -> str:
    return str(task.get('updated_at'))


def _message(task: dict[str, Any]) -> str | None:
    return ' '.join(str(task.get('message') or '').split()) or None


def _stores(task: dict[str, Any]) -> list[str]:
    """Return the stores of a task, in the order in which it takes them."""
    return (task.get('input') or {}).get('backend') or []


def _queue(image: dict[str, Any], task: dict[str, Any]) -> tuple[str, ...]:
    """Return the stores that are yet to be imported to, the next one first.

    The image has them in alphabetical order.
    """
    if not is_held(image) or task.get('status') == 'failure':
        return ()
    importing = split(image.get(_IMPORTING))
    first = [store for store in _stores(task) if store in importing]
    return tuple(dict.fromkeys((*first, *importing)))


def _bytes(
    task: dict[str, Any], store: str, old_message: str | None
) -> int | None:
    """Return how much of a store's copy is there, None if that is unknown."""
    message = _message(task)
    # What it said before was of another store.
    if message == old_message and store not in _stores(task)[:1]:
        return None
    found = _COPIED.search(message or '')
    return int(found[1]) * _MIB if found else None


def _failure(tasks: Sequence[dict[str, Any]], store: str) -> str | None:
    """Return what the last task that failed says of a store.

    One that goes on after a store that fails does not say why.
    """
    failed = [
        task
        for task in tasks
        if task.get('status') == 'failure' and store in _stores(task)
    ]
    return _message(max(failed, key=_time, default={}))


class Follower:
    """Looks at an image until nothing is under way there.

    :param images: what to ask
    :param image_id: the image's id
    :param wanted: stores in which it is to lie, beside those that Glance
        names
    :param detailed: ask for tasks, which tell bytes, as well
    """

    def __init__(
        self,
        images: image_api.Images,
        image_id: str,
        wanted: Iterable[str] = (),
        detailed: bool = True,
    ) -> None:
        self._images = images
        self._id = image_id
        self._wanted = tuple(wanted)
        self._detailed = detailed
        self._changed = time.monotonic()
        self._tasks: list[dict[str, Any]] = []
        self._next: tuple[str, ...] = ()
        self._old_message: str | None = None
        #: The image when it was last looked at.
        self.image: dict[str, Any] = {}
        #: How far it was then in each store.
        self.copies: tuple[Copy, ...] = ()

    def look(self) -> tuple[Copy, ...]:
        """Look at the image.

        :returns: how far it is in each store
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: the image is not there or not to be seen
        """
        before = self.copies
        self.image = self._images.show(self._id)
        ask = self._detailed or has_failed(self.image)
        self._tasks = self._images.tasks(self._id) if ask else []
        task = holder(self.image, self._tasks)
        following = _queue(self.image, task)[:1]
        if following != self._next:
            self._next = following
            self._old_message = _message(task)
        self.copies = read(
            self.image, self._wanted, self._tasks, self._old_message
        )
        if before != self.copies:
            self._changed = time.monotonic()
        return self.copies

    @property
    def settled(self) -> bool:
        """Whether nothing was under way when the image was looked at."""
        return bool(self.image) and not is_under_way(self.image, self._tasks)

    @property
    def abandoned(self) -> bool:
        """Whether the image has waited long for data that nobody sends.

        :raises LookupFailed: Glance did not answer
        """
        idle = time.monotonic() - self._changed >= IDLE
        if not idle or is_held(self.image):
            return False
        if self.image.get('status') not in ('queued', 'importing'):
            return False
        return not any(
            task.get('status') in ('pending', 'processing')
            for task in self._images.tasks(self._id)
        )

    @property
    def pause(self) -> float:
        """How long to wait before the next look, in seconds.

        The longer nothing has changed the longer it is.
        """
        shortest, longest = PAUSES
        quiet = time.monotonic() - self._changed
        return min(max(shortest, quiet / 10), longest)


def copy(
    images: image_api.Images,
    image_id: str,
    wanted: Sequence[str],
    timeout: float,
    report: Callable[[tuple[Copy, ...]], None] | None = None,
) -> tuple[Copy, ...]:
    """Copy an image to further stores, and wait for it.

    What lies there is done. Another import of the image is waited for. A
    store that fails is asked again, alone.

    :param images: what to ask
    :param image_id: the image's id
    :param wanted: store ids
    :param timeout: how long to wait at most, in seconds
    :param report: told of every look how far each store is
    :returns: how far each of the stores is; not all are settled if the time
        was not enough
    :raises LookupFailed: Glance did not answer, for all of that time
    :raises GlanceRefused: it will not copy the image
    :raises CopyInterrupted: either, while Glance makes copies
    """
    return _Copying(images, image_id, wanted, report).run(timeout)


class _Copying:
    def __init__(
        self,
        images: image_api.Images,
        image_id: str,
        wanted: Sequence[str],
        report: Callable[[tuple[Copy, ...]], None] | None,
    ) -> None:
        self._images = images
        self._id = image_id
        self._wanted = tuple(dict.fromkeys(wanted))
        self._report = report
        self._follower = Follower(
            images, image_id, self._wanted, detailed=report is not None
        )
        self._tries: collections.Counter[str] = collections.Counter()
        self._asked: tuple[str, ...] = ()
        self._refusals = 0
        self._next = 0.0

    def run(self, timeout: float) -> tuple[Copy, ...]:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if not self._step() or time.monotonic() >= deadline:
                    return self._found()
            except (exception.GlanceRefused, exception.LookupFailed) as exc:
                away = isinstance(exc, exception.GlanceAway)
                if away and time.monotonic() < deadline:
                    # It may be restarting.
                    pass
                elif self._asked:
                    raise exception.CopyInterrupted(self._asked, exc) from exc
                else:
                    raise
            left = max(0.0, deadline - time.monotonic())
            time.sleep(min(self._follower.pause, left))

    def _found(self) -> tuple[Copy, ...]:
        return tuple(
            c for c in self._follower.copies if c.store in self._wanted
        )

    def _step(self) -> bool:
        """Look at the image, and ask for what is missing.

        :returns: whether there is more to come
        """
        self._follower.look()
        found = self._found()
        if self._report is not None:
            self._report(found)
        lacking = [c.store for c in found if c.state is not State.DONE]
        image = self._follower.image
        held = is_held(image)
        if not held:
            self._tries.update(s for s in self._asked if s in lacking)
            self._asked = ()
        again = [s for s in lacking if self._tries[s] < TRIES]
        if not again:
            return False
        if image['status'] != 'active':
            if self._follower.abandoned:
                raise exception.GlanceRefused(
                    409,
                    f'the image is {image["status"]}, and nobody has sent '
                    f'its data for {IDLE:.0f} seconds',
                )
            if not self._follower.settled:
                return True
            raise exception.GlanceRefused(
                409, f'the image is {image["status"]}'
            )
        if not held or time.monotonic() > self._next:
            self._next = time.monotonic() + STALE
            self._ask(again, held)
        return True

    def _ask(self, wanted: list[str], held: bool) -> None:
        try:
            self._images.import_data(self._id, wanted, name='copy-image')
        except exception.GlanceRefused as exc:
            if exc.status not in _PASSING:
                raise
            # Whoever was quicker shows on the image, sooner or later.
            self._refusals += not held
            if self._refusals == TRIES:
                raise
        else:
            self._refusals = 0
            self._asked = tuple(wanted)
