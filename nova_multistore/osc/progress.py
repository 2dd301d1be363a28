"""Saying how far something is: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import abc
import dataclasses
import time
from typing import TYPE_CHECKING

from rich import console as rich_console
from rich import live
from rich import progress_bar
from rich import table
from rich import text

from nova_multistore.osc import size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO


# How long a bar is at most, in characters.
_WIDTH = 30


@dataclasses.dataclass(frozen=True)
class Item:
    """One of the things that are under way."""

    name: str
    #: How far it is, in words.
    state: str
    #: Whether something is being done to it now.
    moving: bool = False
    #: How much of it is done, in bytes; None if that is not known.
    done: int | None = None
    #: How much there is, in bytes; None if that is not known.
    total: int | None = None


def start(stream: TextIO) -> Progress:
    """Return what says how far things are, while it is entered.

    :param stream: where to say it
    """
    console = rich_console.Console(file=stream)
    if stream.isatty() and not console.is_dumb_terminal:
        return Bars(console)
    return Lines(stream)


class Progress(abc.ABC):
    """What says how far things are, as long as it is entered."""

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
        """Say how far they are."""


class Lines(Progress):
    """A line whenever something has changed."""

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
    """A bar for each thing."""

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
        # What gives way on a narrow terminal.
        grid.add_column(max_width=_WIDTH)
        for _ in ('amount', 'time'):
            grid.add_column(no_wrap=True)
        for item in self._items:
            grid.add_row(
                # What somebody named a store or an image is no markup.
                text.Text(item.name),
                text.Text(item.state),
                _bar(item),
                _amount(item),
                self._spent if item is self._items[-1] else '',
            )
        return grid


def _bar(item: Item) -> progress_bar.ProgressBar:
    """Return a bar, one that only moves if it is not known how far it is."""
    done = item.done if item.total else None
    return progress_bar.ProgressBar(
        total=item.total or 1,
        completed=done or 0,
        pulse=item.moving and done is None,
    )


def _amount(item: Item) -> str:
    return '/'.join(
        size.words(amount)
        for amount in (item.done, item.total)
        if amount is not None
    )
