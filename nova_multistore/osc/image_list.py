"""``multistore image list``: what is in which store, and why."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING
from typing import Any
import uuid

from openstack import exceptions as sdk_exceptions
from osc_lib.cli import format_columns

from nova_multistore import copies
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import copy_rows
from nova_multistore.osc import image_pages
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    from nova_multistore.osc.cloud import Cloud

_COLUMNS = (
    'id',
    'name',
    'kind',
    'stores',
    'size',
    'missing',
    'difference',
    'status',
    'created_at',
    'server_id',
    'decided_store',
    'rule',
)
_BASE = 'base'
_SHELVE = 'shelve'
# The `image_type` of images that Nova makes, by kind.
_TYPES = {'snapshot': 'snapshot', _SHELVE: 'snapshot', 'backup': 'backup'}
# Nova makes the image of a shelved server as a snapshot with such a name.
_SHELVED = '-shelved'


class ListImages(base.ListCommand):
    """List images: in which store each is, and why

    Glance lists them page by page, the newest first; hidden images come after
    the others. The reason is known of images that have a record of the
    decision. A store is "missing" if it is to have the image, and no copy to
    it is under way.
    """

    optional = ('missing', 'difference')
    detailed = _COLUMNS[7:]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--store',
            metavar='<store>',
            help='Only images that are in this store',
        )
        parser.add_argument(
            '--server',
            metavar='<server>',
            help='Only images of this server (name or ID; of a deleted '
            'server: ID)',
        )
        parser.add_argument(
            '--kind',
            choices=(_BASE, *image_pages.TYPES, _SHELVE),
            help='Only images of this kind (base: images not made by Nova)',
        )
        parser.add_argument(
            '--limit',
            metavar='<number>',
            type=base.positive,
            help='Only as many images',
        )
        parser.add_argument(
            '--marker',
            metavar='<image>',
            help='Only images after this one (ID)',
        )
        image_pages.add_all_projects(parser, 'List')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        store, kind = parsed_args.store, parsed_args.kind
        catalogue = self.cloud.catalogue()
        if store:
            base.check_known(catalogue, store)
        filters = image_pages.owner(self.cloud, parsed_args.all_projects)
        if parsed_args.server:
            server_id = _server_id(self.cloud, parsed_args.server)
            filters['instance_uuid'] = server_id
        rows = (
            _row(image, catalogue)
            for page in image_pages.pages(
                self.cloud,
                catalogue,
                filters,
                (_TYPES.get(kind),),
                progress.passing(self.app.stderr),
                marker=parsed_args.marker,
            )
            for image in page
            if (not kind or _kind(image) == kind)
            and (not store or store in stores.of_image(image))
        )
        return _COLUMNS, itertools.islice(rows, parsed_args.limit)


def _server_id(cloud: Cloud, name_or_id: str) -> str:
    """Return the id of a server, that of a deleted one as it is.

    :raises openstack.exceptions.SDKException: there is no such one, or more
        than one
    """
    try:
        found: str = cloud.server(name_or_id)['id']
    except sdk_exceptions.NotFoundException:
        try:
            return str(uuid.UUID(name_or_id))
        except ValueError:
            pass
        raise
    return found


def _kind(image: dict[str, Any]) -> str:
    kind: str | None = image.get('image_type')
    if kind not in image_pages.TYPES:
        return _BASE
    name = image.get('name') or ''
    if kind == 'snapshot' and name.endswith(_SHELVED):
        return _SHELVE
    return kind


def _missing(image: dict[str, Any], catalogue: stores.Catalogue) -> list[str]:
    """Return the stores that are to have an image, and will not get it."""
    return [
        copy.store
        for copy in copies.read(image, copy_rows.awaited(image, catalogue))
        if copy.settled and copy.state is not copies.State.DONE
    ]


def _row(
    image: dict[str, Any], catalogue: stores.Catalogue
) -> tuple[Any, ...]:
    decided_store, rule, difference = copy_rows.decision(image)
    return (
        image['id'],
        image.get('name'),
        _kind(image),
        format_columns.ListColumn(list(stores.of_image(image))),
        sizes.SizeColumn(image.get('size')),
        format_columns.ListColumn(_missing(image, catalogue)),
        difference,
        image['status'],
        image['created_at'],
        image.get('instance_uuid', ''),
        decided_store,
        rule,
    )
