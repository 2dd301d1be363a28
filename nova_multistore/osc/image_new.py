"""What a new image is to be: by the options, and by its file."""

from __future__ import annotations

import argparse
from typing import Any

from nova_multistore.osc import base

try:
    from oslo_utils.imageutils import format_inspector
except ImportError:
    # oslo.utils is older than 7.4.
    format_inspector = None  # type: ignore[assignment]

# What such a file has inside, Glance calls raw as well.
_AS_RAW = ('gpt', 'luks')
# Who may use an image, by its visibility.
_VISIBILITIES = {
    'public': 'Everybody',
    'private': 'Only its project',
    'community': 'Everybody who knows its ID',
    'shared': 'Its project and the members that are added',
}
# The least that a server needs, by option.
_LEAST = {
    'min-disk': 'disk size, in GB',
    'min-ram': 'memory, in MB',
}
# Attributes of a new image that have an option, and their value without it.
_ATTRIBUTES: dict[str, Any] = {
    'id': None,
    'disk_format': None,
    'container_format': None,
    'min_disk': None,
    'min_ram': None,
    'visibility': None,
    'os_hidden': False,
    'tags': [],
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a new image is to be."""
    group = parser.add_argument_group(
        'a new image', 'as for openstack image create'
    )
    group.add_argument('--id', metavar='<id>', help='ID of the image')
    group.add_argument(
        '--disk-format',
        metavar='<disk-format>',
        help='Disk format of the data (default: that of the file; raw with '
        '--uri)',
    )
    group.add_argument(
        '--container-format',
        metavar='<container-format>',
        help='Container format of the image (default: bare)',
    )
    for name, what in _LEAST.items():
        group.add_argument(
            f'--{name}',
            metavar='<size>',
            type=int,
            help=f'Least {what}, of a server that is started from it',
        )
    visibility = group.add_mutually_exclusive_group()
    for name, who in _VISIBILITIES.items():
        visibility.add_argument(
            f'--{name}',
            action='store_const',
            const=name,
            dest='visibility',
            help=f'{who} may use the image',
        )
    group.add_argument(
        '--os-hidden',
        action='store_true',
        help='Leave the image out of the usual listings',
    )
    group.add_argument(
        '--tag',
        metavar='<tag>',
        action='append',
        default=[],
        dest='tags',
        help='Tag of the image (repeat for several)',
    )
    base.add_property(group)


def attributes(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """Return what a new image is to be.

    :param parsed_args: has what :func:`add_options` added
    :returns: attributes, by their names in Glance's API
    :raises UsageError: it has no name, or the file has another disk format
    """
    if not parsed_args.name:
        raise base.UsageError('a new image needs a name; or name an --image')
    found = parsed_args.disk_format
    if parsed_args.file:
        found = disk_format(parsed_args.file, found)
    return {
        **parsed_args.property,
        'container_format': 'bare',
        **_given(parsed_args),
        'name': parsed_args.name,
        'disk_format': found or 'raw',
    }


def given(parsed_args: argparse.Namespace) -> list[str]:
    """Return the names of the arguments that say what an image is to be.

    :param parsed_args: has what :func:`add_options` added
    """
    names = {'tags': 'tag', 'visibility': parsed_args.visibility}
    found = [
        f'--{names.get(name, name).replace("_", "-")}'
        for name in _given(parsed_args)
    ]
    if parsed_args.property:
        found.append('--property')
    return ['<name>', *found] if parsed_args.name else found


def _given(parsed_args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: value
        for name, none in _ATTRIBUTES.items()
        if (value := getattr(parsed_args, name)) != none
    }


def disk_format(path: str, named: str | None) -> str:
    """Return the disk format of a file.

    :param path: its path
    :param named: the format that the user names, None if it is to be found
    :returns: the format, as Glance calls it
    :raises UsageError: the file has another format, or it cannot be found
    """
    if format_inspector is None:
        if named is None:
            raise base.UsageError(
                'the format of a file is not found without oslo.utils 7.4 or '
                'later: use --disk-format'
            )
        return named
    try:
        found = str(format_inspector.detect_file_format(path))
    except format_inspector.ImageFormatError as exc:
        if named is None:
            raise base.UsageError(
                f'the format of {path} is not clear ({exc}): use --disk-format'
            ) from exc
        return named
    usual = 'raw' if found in _AS_RAW else found
    if named is None:
        return usual
    # What cannot be recognized, an ami say, is taken for raw.
    unknown = named not in format_inspector.ALL_FORMATS and usual == 'raw'
    if named not in (found, usual) and not unknown:
        raise base.UsageError(
            f'--disk-format is {named}, but {path} is {found}'
        )
    return named
