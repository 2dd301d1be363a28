"""``nova-multistore-paste``: puts a filter into the pipelines of an API."""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import difflib
import pathlib
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Factories of the steps that the filters stand beside: Nova's application,
# and Glance's context, which says whose request it is.
_NOVA_APP = 'nova.api.openstack.compute:APIRouterV21'
_GLANCE_CONTEXT = 'glance.api.middleware.context:'


@dataclasses.dataclass(frozen=True)
class Filter:
    """A filter of this package.

    :param name: of its entry point
    :param beside: beginning of the factory of the step that it stands beside
    :param behind: whether it stands behind that step, or before it
    """

    name: str
    beside: str
    behind: bool


FILTERS = {
    'nova': Filter('nova_api', _NOVA_APP, behind=False),
    'glance': Filter('glance_api', _GLANCE_CONTEXT, behind=True),
}


class PasteError(Exception):
    """Raised if the filter cannot be put into a file."""


def insert(text: str, which: Filter) -> str:
    """Put a filter into all pipelines that it belongs to.

    All else stays as it is, and so does a pipeline that has the filter in a
    place where it works.

    :param text: what a file in the format of Paste Deploy holds
    :returns: the same with the filter
    :raises PasteError: there is no such pipeline
    """
    parser = configparser.RawConfigParser(default_section='', strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as exc:
        raise PasteError(' '.join(str(exc).split())) from exc
    use = f'egg:nova-multistore#{which.name}'
    steps, own = set(), None
    for section in parser.sections():
        name = section.partition(':')[2]
        values = parser[section]
        if values.get('use') == use:
            own = name
        if any(
            values.get(key, '').startswith(which.beside)
            for key in ('paste.app_factory', 'paste.filter_factory')
        ):
            steps.add(name)
    name = own or 'multistore'
    if own is None and f'filter:{name}' in parser:
        raise PasteError(f'it has another filter of the name {name}')
    pipelines = {
        (section, key): value.split()
        for section in parser.sections()
        for key, value in parser[section].items()
        if steps.intersection(value.split())
        # In other values, a step may stand alone: a path leads to it.
        and (key == 'pipeline' or len(value.split()) > 1)
    }
    if not pipelines:
        raise PasteError(f'no pipeline has a step of {which.beside}')
    lacking = {
        where
        for where, words in pipelines.items()
        if not _stands(words, steps, name, which.behind)
    }
    changed = ''.join(
        _insert_into(_without(line, name), steps, name, which.behind)
        if where in lacking
        else line
        for where, line in _lines(text)
    )
    if own is not None:
        return changed
    end = '\r\n' if '\r\n' in text else '\n'
    last = '' if changed.endswith('\n') else end
    return f'{changed}{last}{end}[filter:{name}]{end}use = {use}{end}'


def _lines(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Return the lines, each with the section and the name of its value."""
    section = key = ''
    for line in text.splitlines(keepends=True):
        if found := re.match(r'\[(.+)\]', line):
            section, key = found[1], ''
        elif line[:1].strip() and (found := re.match(r'([^#;=:]+)[=:]', line)):
            key = found[1].strip().lower()
        yield (section, key), line


def _stands(
    words: list[str], steps: set[str], name: str, behind: bool
) -> bool:
    """Tell whether a pipeline has the filter where it works.

    A filter that may stand before its step works anywhere.

    :param words: of the pipeline
    :param steps: the names of the steps that it stands beside
    :param name: of the filter
    """
    if name not in words:
        return False
    return not behind or all(
        words.index(name) > words.index(step)
        for step in steps.intersection(words)
    )


def _without(line: str, name: str) -> str:
    """Return a line of a pipeline without a filter, empty if nothing is left.

    :param name: of the filter
    """
    if line.lstrip().startswith(('#', ';')):
        return line
    # A word at the beginning of a line is the name of a value.
    word = rf'(?<=[\s=:]){re.escape(name)}'
    rest = re.sub(rf'{word}[ \t]+(?=\S)|[ \t]*{word}(?=\s*$)', '', line)
    return rest if rest.strip() or not line.strip() else ''


def _insert_into(line: str, steps: set[str], name: str, behind: bool) -> str:
    """Put a filter into a line of a pipeline, if it has one of the steps.

    :param steps: the names of the steps that it stands beside
    :param name: of the filter
    """
    if line.lstrip().startswith(('#', ';')):
        return line
    for word in re.finditer(r'\S+', line):
        if word[0] in steps:
            at = word.end() if behind else word.start()
            piece = f' {name}' if behind else f'{name} '
            return line[:at] + piece + line[at:]
    return line


def main() -> int:
    """Run the command.

    :returns: the exit code: 0 the filter is there, 1 with ``--check`` it is
        missing, or stands where it does not work, 2 an error
    """
    parser = argparse.ArgumentParser(
        prog='nova-multistore-paste',
        description='Put the filter of nova-multistore into the pipelines of '
        'nova-api or glance-api, and print what was changed. In Glance, a '
        'filter that stands before the context is put behind the context. A '
        'file whose filter stands where it works is not changed.',
    )
    file = parser.add_mutually_exclusive_group(required=True)
    file.add_argument(
        '--nova',
        type=pathlib.Path,
        metavar='FILE',
        help="nova-api's api-paste.ini",
    )
    file.add_argument(
        '--glance',
        type=pathlib.Path,
        metavar='FILE',
        help="glance-api's glance-api-paste.ini",
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='change nothing; the exit code is 1 if there is something to '
        'change',
    )
    arguments = parser.parse_args()
    which = 'nova' if arguments.nova else 'glance'
    path: pathlib.Path = arguments.nova or arguments.glance
    try:
        # As bytes: read_text() would change the ends of lines.
        before = path.read_bytes().decode()
        after = insert(before, FILTERS[which])
        if after != before and not arguments.check:
            path.write_bytes(after.encode())
    except (OSError, UnicodeDecodeError, PasteError) as exc:
        reason = getattr(exc, 'strerror', None) or exc
        print(f'nova-multistore-paste: {path}: {reason}', file=sys.stderr)
        return 2
    sys.stdout.writelines(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            str(path),
            str(path),
        )
    )
    return 1 if arguments.check and after != before else 0
