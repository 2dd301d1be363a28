"""Progress: bars on a terminal, lines elsewhere; and waiting for it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import threading
import time
from typing import TYPE_CHECKING
from typing import Any

from rich import console as rich_console
from rich import live
from rich import progress_bar
from rich import table
from rich import text

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO


#: How often a line is printed of what goes on, in seconds.
INTERVAL = 10.0
# How long a bar is at most, in characters.
_WIDTH = 30

#: Shows how far things are; with nothing to show, it makes room for others.
Show = Callable[[Sequence['Item']], None]


@dataclasses.dataclass(frozen=True)
class Item:
    """Something that is under way."""

    name: str
    #: How far it is, in words.
    state: str
    #: Whether it is being worked on now.
    moving: bool = False
    #: How much of it is done, in bytes; None if that is not known.
    done: int | None = None
    #: How much there is, in bytes; None if that is not known.
    total: int | None = None
    #: Whether the state counts things, so that it changes with each of them.
    counts: bool = False


def start(stream: TextIO) -> Progress:
    """Return a context manager that shows progress.

    :param stream: where to show it
    """
    console = rich_console.Console(file=stream)
    if stream.isatty() and not console.is_dumb_terminal:
        return Bars(console)
    return Lines(stream)


def nothing(items: Sequence[Item]) -> None:
    """Show nothing."""


def passing(stream: TextIO) -> Show:
    """Return what shows progress now and then.

    :param stream: where to show it; in between, others may write there
    """
    said: Progress | None = None

    def show(items: Sequence[Item]) -> None:
        nonlocal said
        if said is None and items:
            said = start(stream)
            said.__enter__()
        if said is not None:
            if items:
                said.show(items)
            else:
                said.__exit__()
                said = None

    return show


class Pace:
    """How fast things are, from when they are first seen to move."""

    def __init__(self) -> None:
        # Times, and how many bytes were done then, by name.
        self._begun: dict[str, tuple[float, int]] = {}

    def see(self, items: Iterable[Item]) -> None:
        """Note what moves now."""
        for item in items:
            if item.moving and item.name not in self._begun:
                self._begun[item.name] = time.monotonic(), item.done or 0

    def words(self, item: Item) -> str:
        """Return how fast a thing is, and how long it takes, in words.

        :param item: the thing, as it is now
        :returns: empty if it does not move, or that cannot be told yet
        """
        since, before = self._begun.get(item.name, (0.0, 0))
        more = (item.done or 0) - before
        spent = time.monotonic() - since
        if not item.moving or more <= 0 or spent < 1:
            return ''
        rate = more / spent
        words = f'{sizes.words(rate)}/s'
        left = (item.total or 0) - (item.done or 0)
        return f'{words}, {_time(left / rate)} left' if left > 0 else words


def _time(seconds: float) -> str:
    """Return a time in words, such as ``3 min``."""
    if seconds < 60:
        return f'{seconds:.0f} s'
    if seconds < 3600:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.0f} h'


class Progress(abc.ABC):
    """Shows progress while it is entered."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._pace = Pace()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exc_info: object) -> None:  # noqa: B027
        pass

    @property
    def _spent(self) -> str:
        return f'{time.monotonic() - self._begin:.0f} s'

    @abc.abstractmethod
    def show(self, items: Iterable[Item]) -> None:
        """Show how far things are."""


class Lines(Progress):
    """Prints a line when a state has changed, and now and then.

    Now and then it prints what moves, and how far that is; if nothing moves,
    the first thing, which all wait for.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._items: list[Item] = []
        self._said: dict[str, str] = {}

    def __enter__(self) -> Lines:
        threading.Thread(
            target=self._now_and_then, name='progress', daemon=True
        ).start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._ended.set()
        self.show([])

    def show(self, items: Iterable[Item]) -> None:
        with self._lock:
            before, self._items = self._items, list(items)
            names = {item.name for item in self._items}
            for item in before:
                # It is over. The last number may not have been printed.
                if item.name not in names and self._is_new(item):
                    self._say(item, with_amount=True)
            self._pace.see(self._items)
            for item in self._items:
                if not item.counts and self._is_new(item):
                    self._say(item)

    def _is_new(self, item: Item) -> bool:
        """Tell whether the state of a thing has not been printed yet."""
        return self._said.get(item.name) != item.state

    def _now_and_then(self) -> None:
        while not self._ended.wait(INTERVAL):
            with self._lock:
                moving = [item for item in self._items if item.moving]
                for item in moving or self._items[:1]:
                    if not self._ended.is_set():
                        self._say(item, with_amount=True)

    def _say(self, item: Item, with_amount: bool = False) -> None:
        self._said[item.name] = item.state
        parts = [item.state]
        if with_amount:
            parts += filter(None, (_amount(item), self._pace.words(item)))
        self._stream.write(
            f'{item.name}: {", ".join(parts)} ({self._spent})\n'
        )
        self._stream.flush()


class Bars(Progress):
    """Shows a bar for each thing."""

    def __init__(self, console: rich_console.Console) -> None:
        super().__init__()
        self._items: list[Item] = []
        self._live = live.Live(
            console=console, get_renderable=self._table, refresh_per_second=10
        )

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._live.stop()

    def show(self, items: Iterable[Item]) -> None:
        self._items = list(items)
        self._pace.see(self._items)

    def _table(self) -> table.Table:
        grid = table.Table.grid(padding=(0, 1))
        for _ in ('name', 'state'):
            grid.add_column(no_wrap=True)
        # The column that gets narrower on a narrow terminal.
        grid.add_column(max_width=_WIDTH)
        for _ in ('amount', 'pace', 'time'):
            grid.add_column(no_wrap=True)
        for item in self._items:
            grid.add_row(
                # Names of stores and images must not be read as markup.
                text.Text(item.name),
                text.Text(item.state),
                _bar(item),
                _amount(item),
                self._pace.words(item),
                self._spent if item is self._items[-1] else '',
            )
        return grid


def _bar(item: Item) -> progress_bar.ProgressBar:
    """Return a bar; without a known length, one that only moves."""
    done = item.done if item.total else None
    return progress_bar.ProgressBar(
        total=item.total or 1,
        completed=done or 0,
        pulse=item.moving and done is None,
    )


def _amount(item: Item) -> str:
    return '/'.join(
        sizes.words(amount)
        for amount in (item.done, item.total)
        if amount is not None
    )


def until_settled(
    followers: Sequence[copies.Follower],
    timeout: float,
    report: Callable[[], None],
) -> None:
    """Look at images until nothing is under way, or the time is over.

    An image whose data nobody sends is given up after a while.

    :param followers: what looks at the images
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
            report()
            pending = [f for f in pending if not (f.settled or f.abandoned)]
        except exception.ServiceAway:
            # It may be restarting.
            if left <= 0:
                raise
        if not pending or left <= 0:
            return
        time.sleep(min(left, *(follower.pause for follower in pending)))


def items(
    image: dict[str, Any], found: Iterable[copies.Copy], prefix: str = ''
) -> list[Item]:
    """Return the progress of an image in each store.

    :param image: the image, as Glance's API has it
    :param found: how far it is in each store
    :param prefix: what goes before each store's name
    """
    return [_item(copy, image, prefix) for copy in found]


def _item(copy: copies.Copy, image: dict[str, Any], prefix: str) -> Item:
    total = image.get('size')
    done = copy.state is copies.State.DONE
    state = copy.state.value
    if copy.state is copies.State.WAITING and copies.is_waited_for(image):
        state = 'waiting for data'
    return Item(
        f'{prefix}{copy.store}',
        state,
        moving=copy.state is copies.State.COPYING,
        done=total if done else copy.copied,
        total=total,
    )
