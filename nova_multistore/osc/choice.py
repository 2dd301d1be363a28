"""Options of the commands that name stores, and what they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nova_multistore.osc import base

if TYPE_CHECKING:
    import argparse

    from nova_multistore import stores

#: How long is waited if nothing else is said, in seconds.
_TIMEOUT = 3600


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names an image."""
    parser.add_argument('image', metavar='<image>', help='Image (name or ID)')


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the options that say in which stores an image is to lie."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        '--store',
        metavar='<store>',
        action='append',
        dest='stores',
        help='Store that is to have the image (repeat for several)',
    )
    group.add_argument(
        '--all-stores',
        action='store_true',
        help='All stores of Glance that can be written',
    )


def add_wait(parser: argparse.ArgumentParser, until: str) -> None:
    """Add the options that say for how long to wait.

    :param until: for what
    """
    parser.add_argument('--wait', action='store_true', help=f'Wait {until}')
    add_timeout(parser, 'with --wait: ')


def add_timeout(parser: argparse.ArgumentParser, when: str = '') -> None:
    """Add the option that says for how long to wait at most.

    :param when: what goes before its help
    """
    text = f'{when}how long to wait at most (default: {_TIMEOUT})'
    parser.add_argument(
        '--timeout',
        metavar='<seconds>',
        type=base.positive,
        default=_TIMEOUT,
        help=text[0].upper() + text[1:],
    )


def chosen(
    parsed_args: argparse.Namespace, catalogue: stores.Catalogue
) -> tuple[str, ...]:
    """Return the stores that the options stand for.

    :param parsed_args: what `add_stores` added
    :param catalogue: Glance's stores
    :returns: store ids, each once
    :raises UnknownStore: Glance does not list one
    :raises ReadOnlyStore: one is read-only
    :raises UsageError: Glance does not have several stores
    """
    if not catalogue.writable:
        raise base.UsageError('Glance is not configured with several stores')
    if parsed_args.all_stores:
        return catalogue.writable
    for store in parsed_args.stores:
        catalogue.check_writable(store)
    return tuple(dict.fromkeys(parsed_args.stores))
