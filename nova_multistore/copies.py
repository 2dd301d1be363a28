"""Copies of an image in several stores: how to request and watch them."""

from __future__ import annotations

import collections
from collections.abc import Callable
import contextlib
import dataclasses
import datetime
import enum
import hashlib
import random
import re
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from nova_multistore import exception
from nova_multistore import statuses
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Sequence

    from nova_multistore import image_api

T = TypeVar('T')

#: Property of an image: ids of the stores that are to have a copy, joined by
#: commas.
PROPERTY = 'nova_multistore_copy_to'
#: Property of an image: ids of the stores whose broken copies were deleted,
#: and are being made again, joined by commas.
REPAIR = 'nova_multistore_repair'
#: Property of an image: the hash that its data had before the package first
#: asked for a copy of them, as ``algorithm:value``, or :data:`NO_HASH`.
HASH = 'nova_multistore_hash'
#: Value of that property if Glance had no hash then. A hash that Glance has
#: got since is that of a copy, right or wrong.
NO_HASH = 'none'
#: How often a copy to one store is tried.
TRIES = 3
#: The pause between two requests for an image that another import holds, in
#: seconds.
STALE = 300.0
#: How long something may be under way without a change. After that time
#: Glance ends an import, and after twice that time one that has not begun.
SILENCE = datetime.timedelta(hours=1)
#: How long to wait for an image that has no data while nobody sends any, in
#: seconds.
IDLE = 300.0
#: The shortest and the longest pause between two questions, in seconds.
PAUSES = 0.2, 300.0
#: The longest pause while somebody watches, in seconds.
WATCHED = 30.0
#: The fraction by which a pause may be shorter, so that watchers that began
#: together do not ask together.
JITTER = 0.2

# The format of times in Glance's API.
_TIME = '%Y-%m-%dT%H:%M:%SZ'
# Properties that Glance sets on an image (in
# glance.async_.flows.api_image_import): the task that imports it, the stores
# that do not have it yet, and the stores in which the import failed.
_TASK = 'os_glance_import_task'
_IMPORTING = 'os_glance_importing_to_stores'
_FAILED = 'os_glance_failed_import'
# The message of a task that copies. It counts the data of one store.
_COPIED = re.compile(r'Copied (\d+) MiB')
_MIB = 1 << 20
# Statuses of refusals that may not last: another import holds the image, or
# the copy was made since the image was looked at.
_TEMPORARY = (400, 409)


class State(enum.Enum):
    """The state of an image in one store."""

    #: It is going to be imported.
    WAITING = 'waiting'
    #: It is being imported.
    COPYING = 'copying'
    #: The store has all of it.
    DONE = 'done'
    #: The last import failed there.
    FAILED = 'failed'
    #: The store is to have it, and nothing is under way.
    MISSING = 'missing'


@dataclasses.dataclass(frozen=True)
class Copy:
    """An image in one store."""

    store: str
    state: State
    #: While it is copied: how many bytes the store has. Glance says so once a
    #: minute; None before that.
    copied: int | None = None
    #: Why it failed, in words; None if Glance does not say.
    reason: str | None = None

    @property
    def settled(self) -> bool:
        """Whether the state is final: nothing is under way."""
        return self.state not in (State.WAITING, State.COPYING)

    @property
    def failure(self) -> str:
        """Why the store does not have the image, in words; empty if it has."""
        if self.state is State.DONE:
            return ''
        reason = self.reason or "the reason is in Glance's log"
        return f'{self.state.value}, {reason}'


#: Called with an image, as Glance's API has it, and its state in each store.
Report = Callable[[dict[str, Any], tuple[Copy, ...]], None]


def is_held(image: dict[str, Any]) -> bool:
    """Tell whether an import holds an image.

    :param image: the image, as Glance's API has it
    """
    return bool(image.get(_TASK))


def hashes(image: dict[str, Any]) -> dict[str, str]:
    """Return the hashes that Glance has of an image, the best one first.

    :param image: the image, as Glance's API has it
    :returns: hashes in hexadecimal, by algorithm, as ``hashlib`` names it
    """
    named = {
        image.get('os_hash_algo'): image.get('os_hash_value'),
        'md5': image.get('checksum'),
    }
    return {
        str(algorithm): str(value)
        for algorithm, value in named.items()
        if value and algorithm in hashlib.algorithms_available
    }


def has_failed(image: dict[str, Any]) -> bool:
    """Tell whether an import of an image failed in some store.

    :param image: the image, as Glance's API has it
    """
    return bool(stores.split(image.get(_FAILED)))


def holder(
    image: dict[str, Any], tasks: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the task that holds an image, empty if it is not visible.

    :param image: the image, as Glance's API has it
    :param tasks: its tasks, as Glance's API has them
    """
    held_by = image.get(_TASK)
    return next((t for t in tasks if t.get('id') == held_by), {})


def silent_since(
    image: dict[str, Any],
    tasks: Sequence[dict[str, Any]],
    now: datetime.datetime,
) -> str | None:
    """Return the time of the last change, if that is too long ago.

    :param image: the image, as Glance's API has it
    :param tasks: the tasks of an image that an import holds
    :param now: in UTC
    """
    task = holder(image, tasks)
    patience = SILENCE * 2 if task.get('status') == 'pending' else SILENCE
    changed = str(task.get('updated_at') or image['updated_at'])
    # All times have the same format, and are in UTC.
    return changed if changed < (now - patience).strftime(_TIME) else None


def is_forsaken(
    image: dict[str, Any], tasks: Sequence[dict[str, Any]]
) -> bool:
    """Tell whether an image's import has ended, or is silent for too long.

    This is the case after Glance was killed. Then Glance lets the next import
    of the image begin.

    :param image: the image, as Glance's API has it
    :param tasks: its tasks, as Glance's API has them
    """
    task = holder(image, tasks)
    if task.get('status') in ('success', 'failure'):
        return True
    now = datetime.datetime.now(datetime.timezone.utc)
    return bool(task) and silent_since(image, tasks, now) is not None


def is_waited_for(image: dict[str, Any]) -> bool:
    """Tell whether an image has no data, and no import that fetches them.

    :param image: the image, as Glance's API has it
    """
    return image.get('status') == 'queued' and not is_held(image)


def is_under_way(
    image: dict[str, Any], tasks: Sequence[dict[str, Any]] = ()
) -> bool:
    """Tell whether an upload or an import of an image is under way.

    :param image: the image, as Glance's API has it
    :param tasks: the image's tasks, as Glance's API has them
    """
    if is_held(image):
        # Glance does not always release an image after a failure.
        return holder(image, tasks).get('status') != 'failure'
    if image.get('status') == 'saving':
        return True
    if image.get('status') not in statuses.UNDER_WAY:
        return False
    # A failed import leaves the image in any of these statuses.
    if not tasks:
        return not has_failed(image)
    return max(tasks, key=_time).get('status') != 'failure'


def read(
    image: dict[str, Any],
    wanted: Iterable[str] = (),
    tasks: Sequence[dict[str, Any]] = (),
    old_message: str | None = None,
) -> tuple[Copy, ...]:
    """Read the state of an image in each store.

    :param image: the image, as Glance's API has it
    :param wanted: further stores that are to have the image
    :param tasks: the image's tasks, as Glance's API has them
    :param old_message: message of the running task when it began to copy to
        the present store
    :returns: one copy for each store, first the stores that have the image
    """
    present = stores.of_image(image)
    task = holder(image, tasks)
    queue = _queue(image, task)
    importing = stores.split(image.get(_IMPORTING))
    failed = stores.split(image.get(_FAILED))
    under_way = is_under_way(image, tasks)
    # Glance copies to one store after the other, and takes each off its list
    # when that is done. With max_parallel_stores above 1, it copies to several
    # side by side, and takes all off in the end.
    side_by_side = any(store in importing for store in present)

    def copy(store: str) -> Copy:
        if store in present:
            return Copy(store, State.DONE)
        # Glance does not show that it first fetches the data.
        if store in queue[: None if side_by_side else 1]:
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
    """Return the stores of a task, in the order in which it copies."""
    return (task.get('input') or {}).get('backend') or []


def _queue(image: dict[str, Any], task: dict[str, Any]) -> tuple[str, ...]:
    """Return the stores that an import has yet to fill, the next one first.

    The image lists them in alphabetical order, the task in the right one.
    """
    if not is_held(image) or task.get('status') == 'failure':
        return ()
    importing = stores.split(image.get(_IMPORTING))
    first = [store for store in _stores(task) if store in importing]
    return tuple(dict.fromkeys((*first, *importing)))


def _bytes(
    task: dict[str, Any], store: str, old_message: str | None
) -> int | None:
    """Return how many bytes a store has, None if that is not known."""
    message = _message(task)
    # This message is about the previous store.
    if message == old_message and store not in _stores(task)[:1]:
        return None
    found = _COPIED.search(message or '')
    return int(found[1]) * _MIB if found else None


def _failure(tasks: Sequence[dict[str, Any]], store: str) -> str | None:
    """Return why the last failed task failed in a store, if it says so.

    A task that goes on with other stores after a failure does not say why.
    """
    failed = [
        task
        for task in tasks
        if task.get('status') == 'failure' and store in _stores(task)
    ]
    return _message(max(failed, key=_time, default={}))


class Follower:
    """Watches an image until nothing is under way.

    :param images: Glance's image API
    :param image_id: the image's id
    :param wanted: stores that are to have the image, beside those that Glance
        names
    :param detailed: also ask for the image's tasks, which count bytes
    :param awaited: returns further such stores; called with the image at each
        look
    """

    def __init__(
        self,
        images: image_api.Images,
        image_id: str,
        wanted: Iterable[str] = (),
        detailed: bool = True,
        awaited: Callable[[dict[str, Any]], Iterable[str]] = lambda image: (),
    ) -> None:
        self._images = images
        self._id = image_id
        self._wanted = tuple(wanted)
        self._detailed = detailed
        self._awaited = awaited
        self._changed = time.monotonic()
        self._tasks: list[dict[str, Any]] = []
        self._next: tuple[str, ...] = ()
        self._old_message: str | None = None
        #: The image at the last look.
        self.image: dict[str, Any] = {}
        #: Its state in each store at the last look.
        self.copies: tuple[Copy, ...] = ()

    def look(self) -> tuple[Copy, ...]:
        """Look at the image.

        :returns: its state in each store
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: the image does not exist or is not visible
        """
        before = self.copies
        self.image = self._images.show(self._id)
        ask = self._detailed or has_failed(self.image)
        self._tasks = self._images.tasks(self._id) if ask else []
        task = holder(self.image, self._tasks)
        if task.get('status') in ('success', 'failure'):
            # The task may have ended after the image was looked at.
            self.image = self._images.show(self._id)
        following = _queue(self.image, task)[:1]
        if following != self._next:
            self._next = following
            self._old_message = _message(task)
        self.copies = read(
            self.image,
            (*self._wanted, *self._awaited(self.image)),
            self._tasks,
            self._old_message,
        )
        if before != self.copies:
            self._changed = time.monotonic()
        return self.copies

    @property
    def settled(self) -> bool:
        """Whether nothing was under way at the last look."""
        return bool(self.image) and not is_under_way(self.image, self._tasks)

    @property
    def abandoned(self) -> bool:
        """Whether the image has long been waiting for data that nobody sends.

        :raises LookupFailed: Glance did not answer
        """
        idle = time.monotonic() - self._changed >= IDLE
        if not idle or is_held(self.image):
            return False
        if self.image.get('status') not in ('queued', 'importing'):
            return False
        if self.image.get('image_type'):
            # Nova makes the image, and sends nothing while it reads the disk.
            return False
        return not any(
            task.get('status') in ('pending', 'processing')
            for task in self._images.tasks(self._id)
        )

    @property
    def pause(self) -> float:
        """How long to wait before the next look, in seconds.

        The pause grows while nothing changes: a change that took some time is
        seen after another sixth of that time, at the latest.
        """
        shortest, longest = PAUSES
        if self._detailed:
            longest = min(longest, WATCHED)
        quiet = time.monotonic() - self._changed
        pause = min(max(shortest, quiet / 6), longest)
        return pause * random.uniform(1 - JITTER, 1)


def request(
    images: image_api.Images, image: dict[str, Any], wanted: Sequence[str]
) -> None:
    """Ask for copies; Glance makes them in the background.

    The present hash is written on the image: Glance also copies an image that
    has none, and then takes the hash of the copy.

    :param images: Glance's image API
    :param image: the image, as Glance's API has it
    :param wanted: ids of the stores
    :raises LookupFailed: Glance did not answer
    :raises GlanceRefused: Glance refused
    """
    known = next(iter(hashes(image).items()), None)
    # Of several copies, any may be the one that was hashed.
    alone = len(stores.of_image(image)) == 1
    value = ':'.join(known) if known else NO_HASH
    news = (alone or not known) and image.get(HASH) != value
    # Glance may undo a change that is made while an import holds the image.
    if news and not is_held(image):
        with contextlib.suppress(exception.MultistoreError):
            images.set_property(image['id'], HASH, value)
    images.import_data(image['id'], wanted, name='copy-image')


def finish(steps: Generator[float, None, T]) -> T:
    """Do all steps of something, and pause between them.

    :param steps: yields for how long to pause before the next step, in
        seconds
    :returns: what ``steps`` returns in the end
    """
    while True:
        try:
            time.sleep(next(steps))
        except StopIteration as end:
            result: T = end.value
            return result


def copy(
    images: image_api.Images,
    image_id: str,
    wanted: Sequence[str],
    timeout: float,
    report: Report | None = None,
) -> tuple[Copy, ...]:
    """Copy an image to further stores, and wait until they have it.

    Stores that have it already are left alone. If another import holds the
    image, the copies are made after that. If a store fails, it is tried again,
    alone.

    :param images: Glance's image API
    :param image_id: the image's id
    :param wanted: store ids
    :param timeout: how long to wait at most, in seconds
    :param report: called after every look, with the image, as Glance's API
        has it, and the state in each store
    :returns: the state in each of the stores; some are not settled if the
        time was not enough
    :raises LookupFailed: Glance did not answer in all of that time
    :raises GlanceRefused: Glance will not copy the image
    :raises CopyInterrupted: one of these errors came while Glance made copies
    """
    return finish(copying(images, image_id, wanted, timeout, report))


def copying(
    images: image_api.Images,
    image_id: str,
    wanted: Sequence[str],
    timeout: float,
    report: Report | None = None,
) -> Generator[float, None, tuple[Copy, ...]]:
    """Do what :func:`copy` does, step by step.

    Arguments and errors are those of :func:`copy`.

    :returns: yields for how long to pause before the next step, in seconds,
        and returns what :func:`copy` returns
    """
    return _Copying(images, image_id, wanted, report).run(timeout)


class _Copying:
    def __init__(
        self,
        images: image_api.Images,
        image_id: str,
        wanted: Sequence[str],
        report: Report | None,
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

    def run(self, timeout: float) -> Generator[float, None, tuple[Copy, ...]]:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if not self._step() or time.monotonic() >= deadline:
                    return self._found()
            except (exception.GlanceRefused, exception.LookupFailed) as exc:
                away = isinstance(exc, exception.ServiceAway)
                if away and time.monotonic() < deadline:
                    # Glance may be restarting.
                    pass
                elif self._asked:
                    raise exception.CopyInterrupted(self._asked, exc) from exc
                else:
                    raise
            now = time.monotonic()
            pauses = [self._follower.pause, max(0.0, deadline - now)]
            if self._next > now:
                # If an import still holds the image then, Glance is asked
                # again.
                pauses.append(self._next - now + PAUSES[0])
            yield min(pauses)

    def _found(self) -> tuple[Copy, ...]:
        return tuple(
            c for c in self._follower.copies if c.store in self._wanted
        )

    def _step(self) -> bool:
        """Look at the image, and ask for what is missing.

        :returns: whether there is more to do
        """
        self._follower.look()
        found = self._found()
        if self._report is not None:
            self._report(self._follower.image, found)
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
            request(self._images, self._follower.image, wanted)
        except exception.GlanceRefused as exc:
            if exc.status not in _TEMPORARY:
                raise
            # Something else was quicker. The image will soon show what.
            self._refusals += not held
            if self._refusals == TRIES:
                raise
        else:
            self._refusals = 0
            self._asked = tuple(wanted)
