"""What several commands have in common: options, waiting, exit codes."""

from __future__ import annotations

import abc
import argparse
import contextlib
import enum
import shlex
from typing import TYPE_CHECKING
from typing import Any

from cliff import columns
from osc_lib import exceptions
from osc_lib.cli import parseractions
from osc_lib.command import command

from nova_multistore import exception
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

    from nova_multistore import stores
    from nova_multistore.osc.cloud import Cloud

# How long a command waits unless it is told otherwise, in seconds.
_TIMEOUT = 3600


#: What to do with a volume-backed server: an image of it has no data, and
#: goes to no store.
INSTEAD_OF_A_SNAPSHOT = (
    'for an image with the data of a volume: openstack server image create, '
    'which makes snapshots of the volumes; then openstack volume create '
    '--snapshot, and openstack image create --volume'
)
INSTEAD_OF_A_BACKUP = (
    'for a backup of a volume: openstack volume backup create --force'
)


class Outcome(enum.IntEnum):
    """The exit code of a command."""

    DONE = 0
    #: It was not done.
    FAILED = 1
    #: What was asked for makes no sense.
    USAGE = 2
    #: A part of it was done, or it is not finished yet.
    PARTLY = 3
    #: What was asked is not known, as not everything could be looked at.
    UNKNOWN = 4


class UsageError(exceptions.CommandError):
    """Raised if what a command is asked for makes no sense."""


class Command(command.Command):
    """A command that asks a cloud, and whose exit code says how it went."""

    #: The exit code, as far as it is known.
    outcome = Outcome.DONE

    @property
    def cloud(self) -> Cloud:
        """The cloud, as the user may use it."""
        clients: Any = self.app.client_manager
        cloud: Cloud = clients.multistore
        return cloud

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # argparse itself makes one paragraph of the title and the rest.
        plain: Any = parser.formatter_class
        formatter: Any = type('HelpFormatter', (_Paragraphs, plain), {})
        parser.formatter_class = formatter
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            super().run(parsed_args)
        except (exception.StoreRefused, UsageError) as exc:
            self.log.error('%s', exc)
            return Outcome.USAGE
        except exception.MultistoreError as exc:
            raise exceptions.CommandError(str(exc)) from exc
        return self.outcome

    def fall_short(self, outcome: Outcome, words: str) -> None:
        """Report that not everything was done. What was done is still shown.

        :param outcome: the exit code
        :param words: what was not done, and why
        """
        self.outcome = outcome
        self.log.error('%s', words)

    @contextlib.contextmanager
    def interrupt_says(self, words: str) -> Iterator[None]:
        """Print a line if the user ends the command by Ctrl-C.

        :param words: the line
        """
        try:
            yield
        except KeyboardInterrupt:
            self.log.error('%s', words)
            raise


class _Paragraphs(argparse.HelpFormatter):
    """Keeps the paragraphs of a text apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return '\n\n'.join(fill(p, width, indent) for p in text.split('\n\n'))


class ServerCommand(Command, command.ShowOne):
    """A command that concerns one server."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='Server (name or ID)'
        )
        return parser


class ListCommand(Command, command.Lister):
    """A command that shows a list.

    Columns have titles, as in OpenStackClient's own lists, whatever the format
    is. The options that choose columns take the names, too.
    """

    #: Columns that a table shows only if a row has something there, or if the
    #: user names them.
    optional: tuple[str, ...] = ()
    #: Columns that a table shows with --long, or if the user names them.
    detailed: tuple[str, ...] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        if self.detailed:
            parser.add_argument(
                '--long',
                action='store_true',
                help='Show more columns in the table',
            )
        return parser

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        titles = {name: title(name) for name in column_names}
        for wanted in (parsed_args.columns, parsed_args.sort_columns):
            wanted[:] = [titles.get(name, name) for name in wanted]
        if parsed_args.formatter == 'table' and not parsed_args.columns:
            data = [tuple(row) for row in data]
            parsed_args.columns = [
                titles[name]
                for index, name in enumerate(column_names)
                if (name not in self.detailed or parsed_args.long)
                and (
                    name not in self.optional
                    or any(_shown(row[index]) for row in data)
                )
            ]
        code: int = super().produce_output(
            parsed_args, tuple(titles.values()), data
        )
        return code

    @contextlib.contextmanager
    def waiting(self, *images: str) -> Iterator[progress.Progress]:
        """Show the progress, and on Ctrl-C say that Glance goes on.

        :param images: ids of images
        """
        said = progress.start(self.app.stderr)
        with self.interrupt_says(look_again(*images)), said:
            yield said


class TotalsCommand(ListCommand):
    """A command whose totals and exit code are known after the last row."""

    _error: exception.MultistoreError | None = None

    @abc.abstractmethod
    def end(self) -> int:
        """Print the totals.

        :returns: the exit code
        """

    def until_error(
        self, rows: Iterable[tuple[Any, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        """Return rows until there is an error, which is raised at the end."""
        try:
            yield from rows
        except exception.MultistoreError as exc:
            self._error = exc

    def run(self, parsed_args: argparse.Namespace) -> int:
        code = super().run(parsed_args) or self.end()
        if self._error is not None:
            raise exceptions.CommandError(
                f'{self._error}; not all images were seen'
            )
        return code


def title(name: str) -> str:
    """Return the title of a column, such as ``Image ID`` for ``image_id``.

    :param name: the column's name
    """
    words = name.split('_')
    return ' '.join('ID' if w == 'id' else w.capitalize() for w in words)


def _shown(value: Any) -> bool:
    """Tell whether a cell of a table is not empty."""
    if isinstance(value, columns.FormattableColumn):
        value = value.human_readable()
    return value not in (None, '', False)


def look_again(*images: str) -> str:
    """Return a sentence that says how to watch what Glance does.

    :param images: names or ids of images
    """
    return f'Glance goes on; {to_look_again(*images)}'


def to_look_again(*images: str) -> str:
    """Return the part of a sentence that says how to watch images.

    :param images: names or ids of images
    """
    return (
        'look again with: openstack multistore image show --wait '
        f'{shlex.join(images)}'
    )


def positive(text: str) -> int:
    """Read a whole number above 0, for argparse.

    :raises argparse.ArgumentTypeError: it is something else
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a whole number above 0'
        )
    return int(text)


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names an image."""
    parser.add_argument('image', metavar='<image>', help='Image (name or ID)')


def add_property(parser: argparse._ActionsContainer) -> None:
    """Add the option that sets properties of an image."""
    parser.add_argument(
        '--property',
        metavar='<key=value>',
        action=parseractions.KeyValueAction,
        default={},
        help='Property of the image (repeat for several)',
    )


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the stores for an image."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        '--store',
        metavar='<store>',
        action='append',
        dest='stores',
        help='Store to put the image in (repeat for several)',
    )
    group.add_argument(
        '--all-stores',
        action='store_true',
        help='Put the image in all stores that can be written to',
    )


def add_wait(parser: argparse.ArgumentParser, until: str) -> None:
    """Add the options that say whether, and for how long, to wait.

    :param until: what to wait for, in words
    """
    parser.add_argument('--wait', action='store_true', help=f'Wait {until}')
    add_timeout(parser, 'with --wait: ')


def add_timeout(parser: argparse.ArgumentParser, when: str = '') -> None:
    """Add the option that says for how long to wait at most.

    :param when: when it counts, in words
    """
    text = f'{when}how long to wait at most, in seconds (default: {_TIMEOUT})'
    parser.add_argument(
        '--timeout',
        metavar='<seconds>',
        type=positive,
        default=_TIMEOUT,
        help=text[0].upper() + text[1:],
    )


def chosen(
    parsed_args: argparse.Namespace, catalogue: stores.Catalogue
) -> tuple[str, ...]:
    """Return the stores that the options name.

    :param parsed_args: has what :func:`add_stores` added
    :param catalogue: Glance's stores
    :returns: store ids, each once
    :raises UnknownStore: Glance does not list one
    :raises ReadOnlyStore: one is read-only
    :raises UsageError: Glance does not have several stores
    """
    named = () if parsed_args.all_stores else parsed_args.stores
    check_writable(catalogue, *named)
    return tuple(dict.fromkeys(named)) or catalogue.writable


def check_writable(catalogue: stores.Catalogue, *named: str) -> None:
    """Make sure that stores can be written to.

    :param catalogue: Glance's stores
    :param named: store ids
    :raises UnknownStore: Glance does not list one
    :raises ReadOnlyStore: one is read-only
    :raises UsageError: Glance does not have several stores
    """
    if not catalogue.writable:
        raise UsageError('Glance is not configured with several stores')
    for store in named:
        catalogue.check_writable(store)


def check_known(catalogue: stores.Catalogue, store: str) -> None:
    """Make sure that Glance has a store.

    :param catalogue: Glance's stores
    :param store: store id
    :raises UsageError: it does not
    """
    if store not in catalogue.ids:
        raise UsageError(
            f"store '{store}' is not one of Glance's stores; they are "
            f'{", ".join(catalogue.ids) or "not several"}'
        )
