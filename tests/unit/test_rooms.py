"""Which module may import which: one way only."""

from __future__ import annotations

import ast
import collections
import functools
import pathlib
import re

import pytest

import nova_multistore

ROOT = pathlib.Path(nova_multistore.__file__).parent
#: What the documentation draws is what is tested here.
DRAWING = (
    pathlib.Path(__file__).parents[2] / 'doc/source/pictures/rooms.dot'
).read_text()
#: The shared modules, by the room that they are drawn in.
SHARED = {
    name: label.replace(r'\n', ' ').split()
    for name, label in re.findall(
        r'(with_nova|shared) \[label="([^"]*)"', DRAWING
    )
}
#: Which room may import which others.
MAY_IMPORT: dict[str, set[str]] = collections.defaultdict(set)
for importer, imported in re.findall(r'(\w+) -> (\w+);', DRAWING):
    MAY_IMPORT[importer].add(imported)
#: Rooms whose processes do not have Nova.
WITHOUT_NOVA = ('glance', 'osc', 'shared', 'tests')


def module(path: pathlib.Path) -> str:
    """Return the name of a file's module, below the package."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


MODULES = {
    module(path): path for path in sorted(ROOT.rglob('*.py')) if module(path)
}


def is_at_the_top(name: str) -> bool:
    """Tell whether several rooms share a module."""
    return '.' not in name and not (ROOT / name).is_dir()


def room(name: str) -> str:
    """Return the room of a module: its folder, or the drawn group."""
    first = name.split('.')[0]
    if (ROOT / first).is_dir():
        return first
    (found,) = [room for room, names in SHARED.items() if first in names]
    return found


@functools.cache
def imports(name: str) -> set[str]:
    """Return the names that a module imports when it runs."""
    tree = ast.parse(MODULES[name].read_text())
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f'{node.module}.{a.name}' for a in node.names)
    return found


def own_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    prefix = f'{nova_multistore.__name__}.'
    found = set()
    for imported in imports(name):
        own = imported.removeprefix(prefix) if prefix in imported else ''
        # What is imported may be a module, or something in it.
        found |= {own, own.rpartition('.')[0]} & MODULES.keys()
    return found


def everything_below(name: str, seen: set[str] | None = None) -> set[str]:
    """Return a module, and all that is imported with it."""
    seen = seen if seen is not None else set()
    if name not in seen:
        seen.add(name)
        for imported in own_imports(name):
            everything_below(imported, seen)
    return seen


def test_something_is_read():
    """The check sees modules, and what they import."""
    assert {'selection', 'compute.patch', 'osc.cloud'} <= MODULES.keys()
    assert {'lookup', 'compute.snapshot_state'} <= own_imports(
        'compute.snapshot'
    )
    assert 'nova.conf' in imports('compute.snapshot')
    assert room('compute.patch') == 'compute'
    assert room('selection') == 'shared'
    assert 'compute' in MAY_IMPORT['cmd']


def test_each_is_drawn():
    """No module at the top is missing, and none is drawn that is not there."""
    drawn = [name for names in SHARED.values() for name in names]

    assert sorted(drawn) == [name for name in MODULES if is_at_the_top(name)]


@pytest.mark.parametrize('name', MODULES)
def test_one_way(name):
    """Rooms do not import each other; nothing imports upward, or in rings."""
    rooms = {room(imported) for imported in own_imports(name)}

    assert rooms <= MAY_IMPORT[room(name)] | {room(name)}
    for imported in own_imports(name):
        assert name not in everything_below(imported)


@pytest.mark.parametrize(
    'name', [name for name in MODULES if room(name) in WITHOUT_NOVA]
)
def test_without_nova(name):
    """Neither a module nor what it imports needs Nova."""
    for below in everything_below(name):
        tops = {imported.split('.')[0] for imported in imports(below)}
        assert 'nova' not in tops, below


def test_errors_need_nothing():
    """Everything may import them."""
    assert own_imports('exception') == set()


def test_nothing_but_the_version():
    """The package is imported before Nova has patched what it patches."""
    tree = ast.parse((ROOT / '__init__.py').read_text())

    assert not [node for node in tree.body if isinstance(node, ast.Import)]
    assert [
        node.module for node in tree.body if isinstance(node, ast.ImportFrom)
    ] in ([], ['__future__'])
