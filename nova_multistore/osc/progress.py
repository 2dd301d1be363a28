"""Progress: bars on a terminal, lines elsewhere; and waiting for it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
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


class Progress(abc.ABC):
    """Shows progress while it is entered."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

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
    """Prints a line whenever something has changed."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._states: dict[str, str] = {}

    def show(self, items: Iterable[Item]) -> None:
        for item in items:
            if self._states.get(item.name) != item.state:
                self._states[item.name] = item.state
                line = f'{item.name}: {item.state} ({self._spent})'
                self._stream.write(f'{line}\n')
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

    def _table(self) -> table.Table:
        grid = table.Table.grid(padding=(0, 1))
        for _ in ('name', 'state'):
            grid.add_column(no_wrap=True)
        # The column that gets narrower on a narrow terminal.
        grid.add_column(max_width=_WIDTH)
        for _ in ('amount', 'time'):
            grid.add_column(no_wrap=True)
        for item in self._items:
            grid.add_row(
                # Names of stores and images must not be read as markup.
                text.Text(item.name),
                text.Text(item.state),
                _bar(item),
                _amount(item),
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
