"""A Sphinx directive that draws who asks whom for what, as SVG.

Each line of its content is one of

    nova-compute -> glance-api: create the image
    glance-api --> nova-compute: 202        (an answer, or what comes later)
    nova-compute: reads the disk
    == in the background ==
"""

from __future__ import annotations

import html
import re
from typing import Any
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_COLUMN, _ROW, _MARGIN, _HEAD = 142, 38, 76, 34
_MESSAGE = re.compile(r'(.+?) (--?)> (.+?): (.+)')
_NOTE = re.compile(r'(.+?): (.+)')
_PART = re.compile(r'== (.+) ==')


class Sequence(SphinxDirective):
    """The directive."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        'participants': directives.unchanged_required,
        'alt': directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        names = self.options['participants'].split()
        try:
            svg = _draw(names, list(self.content), self.options['alt'])
        except ValueError as exc:
            raise self.error(str(exc)) from exc
        return [nodes.raw('', svg, format='html')]


def _draw(names: list[str], lines: list[str], alt: str) -> str:
    """Draw the picture.

    :param names: of those who take part, from left to right
    :raises ValueError: a line is none of those above
    """
    x = {name: _MARGIN + _COLUMN * i for i, name in enumerate(names)}
    rows = [line for line in lines if line.strip()]
    width = 2 * _MARGIN + _COLUMN * (len(names) - 1)
    height = _HEAD + _ROW * (len(rows) + 1)
    drawn = []
    for name in names:
        drawn += [
            f'<path class="line" d="M{x[name]},{_HEAD} V{height - 8}"/>',
            f'<rect class="box" x="{x[name] - 62}" y="4" width="124" '
            f'height="{_HEAD - 8}" rx="4"/>',
            _text(x[name], _HEAD - 12, name),
        ]
    for number, line in enumerate(rows, 1):
        drawn += _row(x, width, _HEAD + _ROW * number, line)
    return '\n'.join(
        [
            f'<div class="picture"><svg viewBox="0 0 {width} {height}" '
            f'width="{width}" role="img" aria-label="{html.escape(alt)}">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="8" markerHeight="8" orient="auto">'
            '<path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
            *drawn,
            '</svg></div>',
        ]
    )


def _row(x: dict[str, int], width: int, y: int, line: str) -> list[str]:
    """Draw one line at a height."""
    if found := _PART.fullmatch(line):
        return [
            f'<path class="part" d="M8,{y} H{width - 8}"/>',
            _text(width // 2, y - 6, found[1]),
        ]
    if found := _MESSAGE.fullmatch(line):
        sender, dashes, receiver, words = found.groups()
        if sender not in x or receiver not in x:
            raise ValueError(f'who is one of these? {line}')
        kind = 'later' if dashes == '--' else 'now'
        return [
            f'<path class="{kind}" d="M{x[sender]},{y} H{x[receiver]}" '
            'marker-end="url(#arrow)"/>',
            _text((x[sender] + x[receiver]) // 2, y - 6, words),
        ]
    if (found := _NOTE.fullmatch(line)) and found[1] in x:
        return [
            f'<circle class="head" cx="{x[found[1]]}" cy="{y - 4}" r="4"/>',
            _text(x[found[1]] + 9, y, found[2], anchor='start'),
        ]
    raise ValueError(f'neither a message, a note nor a part: {line}')


def _text(x: int, y: int, words: str, anchor: str = 'middle') -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">'
        f'{html.escape(words)}</text>'
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive('sequence', Sequence)
    return {'parallel_read_safe': True}
