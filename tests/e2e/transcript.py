"""What commands are shown to do in the documentation, as they did it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
from pathlib import Path
import re
import shlex
import textwrap

from tests.e2e import openstack
from tests.e2e import site as e2e_site

#: Where the pages of the documentation are.
PAGES = e2e_site.REPOSITORY / 'doc' / 'source'
_UUID = re.compile(r'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')
# What is said on the way: what of it is seen differs from run to run.
_PROGRESS = re.compile(r'\S+(?: \S+)?: [\w,./ ]+ \(\d+ s\)|Finish|\s*')


class Transcript:
    """Runs the `openstack` command, and keeps what it shows.

    :param page: the name of the file that has all that was shown
    :param sections: the parts of that, in their order
    :param root: the directory that it is run in
    :param environment: all that it is run with
    """

    def __init__(
        self,
        page: str,
        sections: Sequence[str],
        root: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._page = PAGES / page
        self._names = tuple(sections)
        self.root = root
        self._environment = dict(environment)
        self._sections: dict[str, list[str]] = {}
        self._lines: list[str] = []
        self._ids: dict[str, str] = {}
        #: What is shown for what.
        self.shown: dict[str, str] = {}

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Keep what is shown as a part of the page."""
        self._lines = []
        yield
        self._sections[name] = self._lines

    def write(self) -> None:
        """Write the page, if there is all of it."""
        if set(self._sections) != set(self._names):
            return
        lines = []
        for name in self._names:
            lines += [f'# {name}', *self._sections[name]]
        self._page.write_text('\n'.join([*lines, '# end', '']))

    def run(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Run the command.

        :param code: the exit code that it must have
        :returns: the state of each store, if it shows that
        """
        done = openstack.run(
            arguments, self._environment, self.root, merged=True
        )
        assert done.returncode == code, done.stdout
        line = self.readable(shlex.join(['openstack', *arguments]))
        self._lines.append(_folded(f'$ {line}'))
        self._lines += [
            self.readable(shown)
            for shown in done.stdout.splitlines()
            if not _PROGRESS.fullmatch(shown)
        ]
        if code:
            self._lines += ['$ echo $?', str(code)]
        self._lines.append('')
        return _states(done.stdout)

    def readable(self, line: str) -> str:
        """Return a line that is the same whenever it is written."""
        for text, shown in self.shown.items():
            line = line.replace(text, shown)
        return _UUID.sub(self._constant, line)

    def _constant(self, found: re.Match[str]) -> str:
        digit = f'{len(self._ids) + 1:x}'
        return self._ids.setdefault(
            found[0], re.sub(r'[0-9a-f]', digit, found[0])
        )


def _folded(line: str) -> str:
    """Fold a command line as the shell understands it."""
    # No option is parted from its value.
    glued = re.sub(r'( -\S+) (?!-)', '\\1\N{NO-BREAK SPACE}', line)
    pieces = textwrap.wrap(glued, 73, break_on_hyphens=False)
    return ' \\\n    '.join(pieces).replace('\N{NO-BREAK SPACE}', ' ')


def _states(shown: str) -> dict[str, str]:
    """Read the columns "Store" and "State" of a table."""
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in shown.splitlines()
        if line.startswith('|')
    ]
    if not rows or 'State' not in rows[0]:
        return {}
    store, state = rows[0].index('Store'), rows[0].index('State')
    return {row[store]: row[state] for row in rows[1:]}
