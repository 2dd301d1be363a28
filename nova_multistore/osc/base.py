"""What several commands have in common: options, waiting, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import enum
import shlex
from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions
from osc_lib.command import command

from nova_multistore import exception
from nova_multistore.osc import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nova_multistore import stores
    from nova_multistore.osc.cloud import Cloud

# How long a command waits unless it is told otherwise, in seconds.
_TIMEOUT = 3600


class Outcome(enum.IntEnum):
    """The exit code of a command."""

    DONE = 0
    #: It was not done.
    FAILED = 1
    #: What was asked for makes no sense.
    USAGE = 2
    #: A part of it was done.
    PARTLY = 3


class UsageError(exceptions.CommandError):
    """Raised if what a command is asked for makes no sense."""


class Command(command.Command):
    """A command that asks a cloud."""

    @property
    def cloud(self) -> Cloud:
        """The cloud, as the user may use it."""
        clients: Any = self.app.client_manager
        cloud: Cloud = clients.multistore
        return cloud


class ServerCommand(Command, command.ShowOne):
    """A command that concerns one server."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server', metavar='<server>', help='Server (name or ID)'
        )
        return parser


class ListCommand(Command, command.Lister):
    """A command that shows a list, and whose exit code says how it went."""

    #: The exit code, as far as it is known.
    outcome = Outcome.DONE

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
        """Report that not everything was done. The list is still shown.

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

    @contextlib.contextmanager
    def waiting(self, *images: str) -> Iterator[progress.Progress]:
        """Show the progress, and on Ctrl-C say that Glance goes on.

        :param images: ids of images
        """
        said = progress.start(self.app.stderr)
        with self.interrupt_says(look_again(*images)), said:
            yield said


def look_again(*images: str) -> str:
    """Return a sentence that says how to watch what Glance does.

    :param images: names or ids of images
    """
    return (
        'Glance goes on; look again with: openstack multistore image show '
        f'--wait {shlex.join(images)}'
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
    if not catalogue.writable:
        raise UsageError('Glance is not configured with several stores')
    if parsed_args.all_stores:
        return catalogue.writable
    for store in parsed_args.stores:
        catalogue.check_writable(store)
    return tuple(dict.fromkeys(parsed_args.stores))
