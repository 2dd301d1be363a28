"""What the commands have in common."""

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

    from nova_multistore.osc.cloud import Cloud


class Outcome(enum.IntEnum):
    """The exit code of a command."""

    DONE = 0
    #: Nothing was done.
    FAILED = 1
    #: It cannot be done as it was asked for.
    USAGE = 2
    #: Some of it was done.
    PARTLY = 3


class UsageError(exceptions.CommandError):
    """Raised if a command cannot be done as it was asked for."""


class Command(command.Command):
    """A command that asks a cloud."""

    @property
    def cloud(self) -> Cloud:
        """What may be asked."""
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

    #: How it went, as far as it is known.
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
        """Say that not all was done; what there is to show is shown.

        :param outcome: how it went
        :param words: why
        """
        self.outcome = outcome
        self.log.error('%s', words)

    @contextlib.contextmanager
    def interrupt_says(self, words: str) -> Iterator[None]:
        """Say something on Ctrl-C, which goes its way then.

        :param words: what to say
        """
        try:
            yield
        except KeyboardInterrupt:
            self.log.error('%s', words)
            raise

    @contextlib.contextmanager
    def waiting(self, *images: str) -> Iterator[progress.Progress]:
        """Say how far Glance is, and on Ctrl-C that it goes on.

        :param images: ids of images
        """
        said = progress.start(self.app.stderr)
        with self.interrupt_says(look_again(*images)), said:
            yield said


def look_again(*images: str) -> str:
    """Say how to follow what Glance does.

    :param images: names or ids of images
    """
    return (
        'Glance goes on; look again with: openstack multistore image show '
        f'--wait {shlex.join(images)}'
    )


def positive(text: str) -> int:
    """Read a number, for argparse.

    :raises argparse.ArgumentTypeError: it is not above 0
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is no number above 0')
    return int(text)
