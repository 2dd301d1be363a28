"""The package's commands, run in this process as OpenStackClient runs them."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import types
from typing import Any

from cliff import lister
from cliff import show


class Terminal(io.StringIO):
    """What somebody looks at."""

    def isatty(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a command."""

    code: int
    #: What it shows: a row each, by column.
    rows: list[dict[str, Any]]
    #: What it shows, as it is.
    shown: str
    #: The lines of the table, if that was asked for.
    table: list[str]
    #: Its last words, if it has any.
    words: str
    #: What it said on the way.
    progress: str

    @property
    def states(self) -> dict[str, str]:
        """The state of each store."""
        return {row['store']: row['state'] for row in self.rows}


def by_name(shown: Any) -> Any:
    """Return what a command shows a program, with the code's names of columns.

    :param shown: rows of a list, by the titles of columns, such as
        ``Image ID``; what a command shows of one thing stays as it is
    :returns: rows by names, such as ``image_id``
    """
    if not isinstance(shown, list):
        return shown
    return [
        {title.lower().replace(' ', '_'): v for title, v in row.items()}
        for row in shown
    ]


def run(
    command: Any,
    cloud: Any,
    *args: str,
    stdout: io.StringIO | None = None,
    stderr: io.StringIO | None = None,
) -> Result:
    """Run a command; what it lists is read.

    :param command: its class
    :param cloud: what it asks
    """
    app = types.SimpleNamespace(
        client_manager=types.SimpleNamespace(multistore=cloud),
        stdout=stdout or io.StringIO(),
        stderr=stderr or io.StringIO(),
    )
    own = command(app, None)
    words = io.StringIO()
    handler = logging.StreamHandler(words)
    handler.setLevel(logging.INFO)
    own.log.addHandler(handler)
    try:
        form = (
            ('-f', 'json')
            if isinstance(own, (lister.Lister, show.ShowOne))
            and '-f' not in args
            else ()
        )
        parsed_args = own.get_parser('x').parse_args([*args, *form])
        code = own.run(parsed_args)
    except SystemExit as exc:
        code = exc.code
    except Exception as exc:
        # As cliff does.
        own.log.error('%s', exc)
        code = 1
    finally:
        own.log.removeHandler(handler)
    shown = app.stdout.getvalue()
    return Result(
        code,
        by_name(json.loads(shown)) if shown.startswith(('[', '{')) else [],
        shown,
        shown.splitlines() if shown.startswith('+') else [],
        words.getvalue().strip(),
        app.stderr.getvalue(),
    )
