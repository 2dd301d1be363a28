"""A drawing of rectangles whose area says how large things are."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

# Characters that XML does not have, not even escaped.
_FORBIDDEN = re.compile(
    '[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]'
)
# All lengths are in pixels.
_WIDTH, _MARGIN = 1200, 20
_LINE = 22
#: The height of the largest panel, and of the smallest.
_HIGHEST, _LOWEST = 240, 24
# A cell with less room has no label.
_LABELLED = 90, 18
# How wide a character of a label is, about.
_CHARACTER = 7
_STYLE = (
    'text{font:13px sans-serif;fill:#1b1b1b}'
    '.title{font-weight:bold}'
    'rect{stroke:#fff;stroke-width:1}'
    'rect:hover{stroke:#000}'
    '@media(prefers-color-scheme:dark){'
    'svg{background:#16181d}.title,.legend{fill:#e8e8e8}}'
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A thing, or several alike."""

    label: str
    #: What is shown of it when somebody points at it.
    words: str
    size: int
    colour: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """Things that belong together."""

    title: str
    cells: Sequence[Cell]

    @property
    def size(self) -> int:
        """The size of all of it."""
        return sum(cell.size for cell in self.cells)


def draw(
    title: str, legend: Sequence[tuple[str, str]], panels: Sequence[Panel]
) -> str:
    """Return a drawing, as SVG.

    :param title: what is said of it
    :param legend: colours, and what they say
    :param panels: what is drawn, one below the other
    """
    svg = ElementTree.Element('svg', xmlns='http://www.w3.org/2000/svg')
    svg.set('role', 'img')
    _add(svg, 'title', text=title)
    _add(svg, 'style', text=_STYLE)
    below = _MARGIN + _LINE
    _text(svg, _MARGIN, below, title, 'title')
    below += _LINE
    left = _MARGIN
    for colour, words in legend:
        _rectangle(svg, (left, below - 12, 14, 14), colour)
        _text(svg, left + 20, below, words, 'legend')
        left += 40 + len(words) * _CHARACTER
    largest = max((panel.size for panel in panels), default=0) or 1
    width = _WIDTH - 2 * _MARGIN
    for panel in panels:
        below += 2 * _LINE
        _text(svg, _MARGIN, below - 6, panel.title, 'title')
        height = max(_LOWEST, round(_HIGHEST * panel.size / largest))
        cells = sorted(panel.cells, key=lambda c: (-c.size, c.label))
        boxes = layout([cell.size for cell in cells], width, height)
        for cell, (x, y, wide, high) in zip(cells, boxes):
            box = (_MARGIN + x, below + y, wide, high)
            rectangle = _rectangle(svg, box, cell.colour)
            _add(rectangle, 'title', text=cell.words)
            if wide >= _LABELLED[0] and high >= _LABELLED[1]:
                shown = cell.label[: int((wide - 8) / _CHARACTER)]
                _text(svg, box[0] + 4, box[1] + 14, shown)
        below += height
    svg.set('viewBox', f'0 0 {_WIDTH} {below + _MARGIN}')
    return ElementTree.tostring(svg, encoding='unicode')


def layout(
    sizes: Sequence[int], width: float, height: float
) -> Iterator[tuple[float, float, float, float]]:
    """Divide a rectangle, so that the parts are as square as can be.

    It is filled with rows, along its shorter side; a part is added to a row as
    long as that makes no part of it narrower (Bruls, Huizing and van Wijk,
    "Squarified Treemaps").

    :param sizes: of the parts, the largest first; nothing is as small as 1
    :param width: of the rectangle
    :param height: of the rectangle
    :returns: x, y, width and height of each part
    """
    sizes = [max(size, 1) for size in sizes]
    scale = width * height / (sum(sizes) or 1)
    areas = [size * scale for size in sizes]
    x = y = 0.0
    start = 0
    while start < len(areas):
        side = max(min(width, height), 1e-6)
        row = areas[start]
        end = start + 1
        while end < len(areas) and _worst(
            areas[start], areas[end], row + areas[end], side
        ) <= _worst(areas[start], areas[end - 1], row, side):
            row += areas[end]
            end += 1
        thick = row / side
        along = 0.0
        upright = width >= height
        for area in areas[start:end]:
            length = area / thick
            if upright:
                yield x, y + along, thick, length
            else:
                yield x + along, y, length, thick
            along += length
        if upright:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        start = end


def _worst(largest: float, smallest: float, row: float, side: float) -> float:
    """Return how narrow the narrowest part of a row is."""
    square = (row / side) ** 2
    return max(largest / square, square / smallest)


def _add(
    parent: ElementTree.Element, tag: str, text: str = '', **attributes: str
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    if text:
        element.text = _FORBIDDEN.sub('\ufffd', text)
    return element


def _text(
    parent: ElementTree.Element, x: float, y: float, text: str, kind: str = ''
) -> None:
    element = _add(parent, 'text', text, x=f'{x:.0f}', y=f'{y:.0f}')
    if kind:
        element.set('class', kind)


def _rectangle(
    parent: ElementTree.Element,
    box: tuple[float, float, float, float],
    colour: str,
) -> ElementTree.Element:
    names = ('x', 'y', 'width', 'height')
    lengths = {name: f'{v:.1f}' for name, v in zip(names, box)}
    return _add(parent, 'rect', fill=colour, **lengths)
