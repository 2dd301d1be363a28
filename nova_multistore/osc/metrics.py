"""Figures of a command, in a file for node-exporter's textfile collector."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore.osc import base

if TYPE_CHECKING:
    import argparse


def add_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option that names the file.

    :param what: what is written there, in words
    """
    parser.add_argument(
        '--metrics',
        metavar='<file>',
        type=pathlib.Path,
        help=f"Write {what} to a file in Prometheus' text format, for "
        "node-exporter's textfile collector; at once or not at all",
    )


def check_whole(
    command: base.Command, parsed_args: argparse.Namespace
) -> None:
    """Warn if the file will not be about the images of all projects.

    The file itself does not say that.

    :param command: the command that warns
    :param parsed_args: has what :func:`add_option` added
    """
    if parsed_args.metrics and not parsed_args.all_projects:
        command.log.warning(
            '%s has the images of one project alone; with --all-projects, it '
            'has the images of all',
            parsed_args.metrics,
        )


class Metrics:
    """What a command has counted.

    :param prefix: what the names of all figures begin with
    """

    def __init__(self, prefix: str) -> None:
        # Only who wants figures needs it.
        import prometheus_client

        self._client = prometheus_client
        self._prefix = prefix
        self._registry = prometheus_client.CollectorRegistry()

    def gauge(self, name: str, words: str, *labels: str) -> Any:
        """Return a new figure.

        :param name: what follows the prefix
        :param words: what it says
        :param labels: names of its labels
        :returns: a gauge of ``prometheus_client``
        """
        return self._client.Gauge(
            f'{self._prefix}_{name}', words, labels, registry=self._registry
        )

    def write(self, path: pathlib.Path, words: str) -> None:
        """Write a file that is there all at once, with the time.

        :param path: where; what is there is replaced
        :param words: what the time says
        :raises UsageError: it cannot be written
        """
        self.gauge('timestamp_seconds', words).set_to_current_time()
        try:
            self._client.write_to_textfile(str(path), self._registry)
        except OSError as exc:
            raise base.UsageError(f'{path} cannot be written: {exc}') from exc
