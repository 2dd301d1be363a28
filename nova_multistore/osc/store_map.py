"""``multistore store map``: a picture of what lies where."""

from __future__ import annotations

import collections
import datetime
import heapq
import html
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import audit
from nova_multistore import stores
from nova_multistore.osc import audit_source
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import nova_conf
from nova_multistore.osc import progress
from nova_multistore.osc import sizes
from nova_multistore.osc import treemap

if TYPE_CHECKING:
    import argparse

# How many images are drawn by themselves, in all stores together, and how many
# groups of images there are at most, in each.
_CELLS, _GROUPS = 1600, 40
# How much is shown of a name and of a problem, in characters.
_NAME, _PROBLEM = 60, 150
_LEGEND = (
    ('#e8a33d', 'the only copy'),
    ('#7fb77e', 'two copies'),
    ('#3f8f8c', 'three copies and more'),
    ('#d9534f', 'the audit finds a problem'),
)
_TROUBLED = len(_LEGEND) - 1
_FORMATS = ('.svg', '.html')


class MapStores(base.Command):
    """Draw the stores, and in each the images by their size

    The colour says how many copies an image has, and whether the audit finds
    a problem. Where there are many images, the largest are drawn, and the
    others in groups. The file needs nothing else, and opens in any browser.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--output',
            metavar='<file>',
            type=pathlib.Path,
            required=True,
            help='File to write, whose name ends with .svg or .html',
        )
        image_pages.add_all_projects(parser, 'Draw')
        nova_conf.add_option(parser, 'the computes, for the audit')
        audit_source.add_remote_stores(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        path = parsed_args.output
        if path.suffix not in _FORMATS:
            raise base.UsageError(
                f'the name of {path} does not end with {" or ".join(_FORMATS)}'
            )
        settings = audit_source.settings(
            self.cloud, parsed_args.config_file, parsed_args.remote_stores
        )
        source = audit_source.Source(self.cloud)
        filters = image_pages.owner(self.cloud, parsed_args.all_projects)
        drawing = Drawing(settings.catalogue)
        for page in image_pages.pages(
            self.cloud,
            settings.catalogue,
            filters,
            (None,),
            progress.passing(self.app.stderr),
            settings.remote,
        ):
            source.forget_servers()
            now = datetime.datetime.now(datetime.timezone.utc)
            for image in page:
                problem = ''
                if image.get('image_type') in image_pages.TYPES:
                    found = audit.judge(image, settings, source.lookups, now)
                    problem = '; '.join(each.problem for each in found)
                drawing.add(image, problem)
        title = (
            f'{sizes.count(drawing.images, "image")} in '
            f'{sizes.count(len(drawing.usages), "store")}, '
            f'{sizes.count(drawing.problems, "image")} with a problem'
        )
        if drawing.unplaced:
            unplaced = sizes.count(drawing.unplaced, 'image')
            title += f', {unplaced} not drawn (Glance names no store)'
        write(path, title, drawing)
        self.app.stderr.write(f'{title}: {path}\n')


class Drawing:
    """What is drawn, as far as it is known.

    :param catalogue: Glance's stores
    """

    def __init__(self, catalogue: stores.Catalogue) -> None:
        self._catalogue = catalogue
        self._totals = sizes.Totals(catalogue.ids)
        self._most = max(10, _CELLS // (len(catalogue.stores) or 1))
        # The largest images of each store.
        self._cells: dict[str, list[tuple[int, int, str, treemap.Cell, Any]]]
        self._cells = collections.defaultdict(list)
        # Number and size of the others, by store, colour and project.
        self._others: dict[str, dict[tuple[int, Any], list[int]]]
        self._others = collections.defaultdict(dict)
        #: How many images there are, and how many have a problem.
        self.images = self.problems = 0

    @property
    def unplaced(self) -> int:
        """How many images have data, in a store that Glance does not name."""
        return self._totals.unplaced

    @property
    def usages(self) -> dict[str, sizes.Usage]:
        """What each store holds."""
        return self._totals.usages

    def add(self, image: dict[str, Any], problem: str) -> None:
        """Draw an image in each store that has it.

        :param image: the image, as Glance's API has it
        :param problem: what the audit finds, empty if it finds nothing
        """
        self.images += 1
        self.problems += bool(problem)
        self._totals.add(image)
        present = stores.of_image(image)
        kind = _TROUBLED if problem else min(len(present), _TROUBLED) - 1
        size = image.get('size') or 0
        name = (image.get('name') or '')[:_NAME]
        words = (
            f'{name} ({image["id"]})\n{sizes.words(size)} in '
            f'{", ".join(present)}\nproject {image["owner"]}'
        )
        if problem:
            words += f'\n{problem[:_PROBLEM]}'
        cell = treemap.Cell(name, words, size, _LEGEND[kind][0])
        for store in present:
            cells = self._cells[store]
            entry = (size, kind, image['id'], cell, image['owner'])
            if len(cells) < self._most:
                heapq.heappush(cells, entry)
                continue
            smallest = heapq.heappushpop(cells, entry)
            group = self._others[store].setdefault(
                (smallest[1], smallest[4]), [0, 0]
            )
            group[0] += 1
            group[1] += smallest[0]

    def panels(self) -> list[treemap.Panel]:
        """Return a panel for each store."""
        return [
            treemap.Panel(
                self._title(store),
                [
                    *(entry[3] for entry in self._cells[store]),
                    *_groups(self._others[store]),
                ],
            )
            for store in self.usages
        ]

    def _title(self, store_id: str) -> str:
        usage = self.usages[store_id]
        store = self._catalogue.named(store_id)
        about = [
            store.place.type if store.place else '',
            'default' if store.default else '',
            'read-only' if store.read_only else '',
            sizes.count(sum(usage.images.values()), 'image'),
            sizes.words(sum(usage.size.values())),
            f'{usage.only_copies} without another copy',
        ]
        return f'{store_id}: {", ".join(filter(None, about))}'


def _groups(found: dict[tuple[int, Any], list[int]]) -> list[treemap.Cell]:
    """Return cells for images that have none of their own.

    :param found: number and size of them, by colour and project
    """
    largest = sorted(found.items(), key=lambda item: item[1][1], reverse=True)
    rest: dict[tuple[int, Any], list[int]] = {}
    for (kind, _project), (number, size) in largest[_GROUPS:]:
        group = rest.setdefault((kind, None), [0, 0])
        group[0] += number
        group[1] += size
    cells = []
    for (kind, project), (number, size) in [
        *largest[:_GROUPS],
        *rest.items(),
    ]:
        label = sizes.count(number, 'image')
        whose = f'project {project}' if project else 'other projects'
        cells.append(
            treemap.Cell(
                label,
                f'{label} of {whose}\n{sizes.words(size)}\n{_LEGEND[kind][1]}',
                size,
                _LEGEND[kind][0],
            )
        )
    return cells


def _page(title: str, svg: str) -> str:
    """Return a page that shows a drawing."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{html.escape(title)}</title>'
        '<style>body{margin:0}@media(prefers-color-scheme:dark)'
        '{body{background:#16181d}}</style>'
        f'</head><body>{svg}</body></html>\n'
    )


def write(path: pathlib.Path, title: str, drawing: Drawing) -> None:
    """Write a file, at once or not at all.

    :param path: where; its suffix is one of the formats
    :param title: what is said of the drawing
    :raises UsageError: it cannot be written
    """
    text = treemap.draw(title, _LEGEND, drawing.panels())
    if path.suffix == '.html':
        text = _page(title, text)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        temporary.write_text(text, encoding='utf-8')
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise base.UsageError(f'{path} cannot be written: {exc}') from exc
