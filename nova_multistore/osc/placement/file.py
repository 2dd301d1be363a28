"""The file that says which images belong in which stores."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

import jsonschema
import yaml

from nova_multistore.osc import base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence
    import pathlib

#: What a file names if it means all.
ALL = 'all'
_NAME = {'type': 'string', 'minLength': 1}
_NAMES = {'type': 'array', 'items': _NAME, 'minItems': 1, 'uniqueItems': True}
_NAMES_OR_ALL = {**_NAMES, 'type': ['array', 'string'], 'pattern': f'^{ALL}$'}
_SCHEMA: dict[str, Any] = {
    'type': 'object',
    'required': ['placements'],
    'additionalProperties': False,
    'properties': {
        'placements': {
            'type': 'array',
            'minItems': 1,
            'items': {
                'type': 'object',
                'required': ['name', 'images'],
                'additionalProperties': False,
                'properties': {
                    'name': _NAME,
                    'images': {
                        'type': ['object', 'string'],
                        'pattern': f'^{ALL}$',
                        'minProperties': 1,
                        'additionalProperties': False,
                        'properties': {
                            'name': _NAME,
                            'owner': _NAME,
                            'visibility': {
                                'enum': [
                                    'public',
                                    'community',
                                    'shared',
                                    'private',
                                ]
                            },
                            'tags': _NAMES,
                            'properties': {
                                'type': 'object',
                                'minProperties': 1,
                                'additionalProperties': {'type': 'string'},
                            },
                            'in_use': {'const': True},
                        },
                    },
                    'stores': _NAMES_OR_ALL,
                    'min_copies': {'type': 'integer', 'minimum': 1},
                },
            },
        },
        'sites': {
            'type': 'array',
            'items': {
                'type': 'object',
                'required': ['name'],
                'additionalProperties': False,
                'properties': {
                    'name': _NAME,
                    'ceph': _NAME,
                    'store': _NAME,
                    'stores': _NAMES,
                    'may_copy': {'type': 'boolean'},
                },
            },
        },
    },
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which images belong where."""

    name: str
    #: What the images have in common, in the file's words; empty for all.
    images: dict[str, Any]
    #: Ids of stores; none if only the number of copies is given.
    stores: tuple[str, ...]
    #: How many stores are to have each image, at least.
    min_copies: int
    #: Where the file has it.
    line: int


@dataclasses.dataclass(frozen=True)
class Site:
    """Computes that start servers from images."""

    name: str
    #: Id of the store that is in the same Ceph cluster as the disks.
    ceph: str | None
    #: Id of the store that ``[glance] store`` names, for snapshots.
    store: str | None
    #: Ids of the stores that the Glance of the site has; empty for all.
    stores: tuple[str, ...]
    #: Whether an image may be copied to its Ceph for any user's server.
    may_copy: bool
    #: Where the file has it.
    line: int


class Placements:
    """A file of placements.

    :param path: where it is
    :raises UsageError: it cannot be read, or is not valid
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        try:
            text = path.read_text(encoding='utf-8')
            self._node = yaml.compose(text, yaml.SafeLoader)
            found = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as exc:
            raise base.UsageError(f'{path} cannot be read: {exc}') from exc
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            raise self.error(
                mark.line + 1 if mark else 1, exc.problem or str(exc)
            ) from exc
        except yaml.YAMLError as exc:
            raise base.UsageError(f'{path}: {exc}') from exc
        self._check(found)
        #: The rules, in the file's order.
        self.rules = tuple(
            self._rule(entry, index)
            for index, entry in enumerate(found['placements'])
        )
        #: The sites, in the file's order.
        self.sites = tuple(
            Site(
                entry['name'],
                entry.get('ceph'),
                entry.get('store'),
                tuple(entry.get('stores', ())),
                entry.get('may_copy', False),
                self._line(('sites', index)),
            )
            for index, entry in enumerate(found.get('sites', ()))
        )
        for named in self.rules, self.sites:
            self._check_names(named)

    def error(self, line: int, words: str) -> base.UsageError:
        """Return an error that names the file and the line."""
        return base.UsageError(f'{self._path}:{line}: {words}')

    def _check(self, found: object) -> None:
        """Make sure that the file has the form that it should have.

        :raises UsageError: it has not; all errors are named
        """
        errors = [
            (
                self._line(error.absolute_path),
                ''.join(f'{part}: ' for part in _names(error.absolute_path))
                + _words(error),
            )
            for error in jsonschema.Draft7Validator(_SCHEMA).iter_errors(found)
        ]
        errors += [
            (line, f'{name} is there twice')
            for line, name in _repeated(self._node)
        ]
        if errors:
            raise base.UsageError(
                '\n'.join(
                    str(self.error(line, words))
                    for line, words in sorted(errors)
                )
            )

    def _check_names(self, named: Sequence[Rule | Site]) -> None:
        seen = set()
        for entry in named:
            if entry.name in seen:
                raise self.error(entry.line, f'{entry.name} is there twice')
            seen.add(entry.name)

    def _rule(self, entry: dict[str, Any], index: int) -> Rule:
        line = self._line(('placements', index))
        if not {'stores', 'min_copies'} & entry.keys():
            raise self.error(
                line, f'{entry["name"]} has neither stores nor min_copies'
            )
        images, named = entry['images'], entry.get('stores', ())
        return Rule(
            entry['name'],
            {} if images == ALL else images,
            (ALL,) if named == ALL else tuple(named),
            entry.get('min_copies', 1),
            line,
        )

    def _line(self, path: Sequence[str | int]) -> int:
        """Return the line of a part of the file.

        :param path: keys and indices that lead to it
        """
        node = self._node
        line = 1
        for part in path:
            if isinstance(node, yaml.SequenceNode):
                node = node.value[part]
                line = node.start_mark.line + 1
            elif isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == part:
                        node, line = value, key.start_mark.line + 1
                        break
        return line


# What YAML calls the types of JSON.
_TYPES = {
    'array': 'list',
    'boolean': 'truth value',
    'integer': 'number',
    'null': 'empty',
    'object': 'mapping',
}


def _words(error: jsonschema.ValidationError) -> str:
    """Say what is wrong in the words of YAML."""
    value, schema = error.instance, error.schema
    wanted = schema.get('type', ())
    wanted = [wanted] if isinstance(wanted, str) else wanted
    wanted = [_TYPES.get(name, name) for name in wanted]
    if error.validator == 'pattern':
        other = next(name for name in wanted if name != 'string')
        hint = f': write [{value}]' if other == 'list' else ''
        return f"'{value}' is neither '{ALL}' nor a {other}{hint}"
    if error.validator != 'type':
        return str(error.message)
    to_be = 'it has to be ' + ' or '.join(f'a {name}' for name in wanted)
    if not error.absolute_path:
        to_be += " with 'placements'"
    if value is None:
        return f'it is empty: {to_be}'
    kind = _kind(value)
    if isinstance(value, (dict, list)) or not error.absolute_path:
        return f'it is a {kind}: {to_be}'
    return f'{value!r} is a {kind}: {to_be}'


def _kind(value: object) -> str:
    """Return what YAML calls a value."""
    return next(
        name
        for kind, name in (
            (dict, 'mapping'),
            (list, 'list'),
            (str, 'string'),
            (bool, 'truth value'),
            ((int, float), 'number'),
            (object, 'date'),
        )
        if isinstance(value, kind)
    )


def _names(path: Sequence[str | int]) -> Iterator[str]:
    """Return the keys of a path, without indices."""
    return (part for part in path if isinstance(part, str))


def _repeated(node: Any) -> Iterator[tuple[int, str]]:
    """Return the keys that a mapping has twice, which YAML lets pass.

    :returns: line and key of each
    """
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, str(key.value)
            seen.add(str(key.value))
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated(entry)
