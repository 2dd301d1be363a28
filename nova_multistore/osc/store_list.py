"""``multistore store list``: what each store is, and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import metrics
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    import argparse
    from collections import Counter
    import pathlib

    from nova_multistore.osc import copy_rows

_COLUMNS = (
    'id',
    'type',
    'default',
    'images',
    'size',
    'only_copies',
    'only_copies_size',
    'snapshots',
    'backups',
    'others',
    'description',
    'read_only',
    'weight',
    'pool',
    'cluster',
)


class ListStores(base.ListCommand):
    """List Glance's stores: what each is, and what it holds

    Glance lists the images page by page, and they are only counted: there may
    be any number of them. An image counts in each store that has it. Glance
    tells administrators alone what a store is, beside its name.
    """

    optional = (
        'description',
        'type',
        'read_only',
        'weight',
        'pool',
        'cluster',
    )
    detailed = _COLUMNS[6:]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_mutually_exclusive_group()
        image_pages.add_all_projects(group, 'Count')
        group.add_argument(
            '--project',
            metavar='<project>',
            help='Count the images of this project (name or ID; '
            'administrators only)',
        )
        metrics.add_option(parser, 'the same')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> copy_rows.Listing:
        catalogue = self.cloud.catalogue()
        if not catalogue.stores:
            raise base.UsageError('Glance does not have several stores')
        filters = image_pages.owner(
            self.cloud, parsed_args.all_projects, parsed_args.project
        )
        metrics.check_whole(self, parsed_args)
        totals = sizes.Totals(catalogue.ids)
        for page in image_pages.pages(
            self.cloud,
            catalogue,
            filters,
            (None,),
            progress.passing(self.app.stderr),
        ):
            for image in page:
                totals.add(image)
        found = totals.usages
        if parsed_args.metrics:
            _write_metrics(parsed_args.metrics, catalogue, totals)
        totals.show_unplaced(self.app.stderr)
        return _COLUMNS, (
            # A store that another Glance has is known by its images alone.
            _row(catalogue.named(store_id), usage)
            for store_id, usage in found.items()
        )


def _kinds(counted: Counter[Any]) -> dict[str, int]:
    """Return how much of what was counted are snapshots, backups, others."""
    kinds = {kind: counted[kind] for kind in image_pages.TYPES}
    return {**kinds, 'other': sum(counted.values()) - sum(kinds.values())}


def _row(store: stores.Store, usage: sizes.Usage) -> tuple[Any, ...]:
    place = store.place or stores.Place('')
    return (
        store.id,
        place.type,
        store.default,
        sum(usage.images.values()),
        sizes.SizeColumn(sum(usage.size.values())),
        usage.only_copies,
        sizes.SizeColumn(usage.only_copies_size),
        *_kinds(usage.images).values(),
        store.description,
        store.read_only,
        store.weight,
        place.pool,
        place.fsid,
    )


def _write_metrics(
    path: pathlib.Path,
    catalogue: stores.Catalogue,
    totals: sizes.Totals,
) -> None:
    """Write a file that node-exporter reads.

    :raises UsageError: it cannot be written
    """
    found = metrics.Metrics('multistore_store')
    gauge = found.gauge
    info = gauge('info', 'A store of Glance.', 'store', 'type', 'default')
    images = gauge('images', 'Images in a store.', 'store', 'kind')
    size = gauge('bytes', 'Size of the images in a store.', 'store', 'kind')
    only = gauge('only_copies', 'Images that no other store has.', 'store')
    only_size = gauge(
        'only_copies_bytes',
        'Size of the images that no other store has.',
        'store',
    )
    for store in catalogue.stores:
        place = store.place or stores.Place('')
        info.labels(store.id, place.type, str(store.default).lower()).set(1)
    for store_id, usage in totals.usages.items():
        for kind, number in _kinds(usage.images).items():
            images.labels(store_id, kind).set(number)
        for kind, total in _kinds(usage.size).items():
            size.labels(store_id, kind).set(total)
        only.labels(store_id).set(usage.only_copies)
        only_size.labels(store_id).set(usage.only_copies_size)
    gauge('unplaced_images', 'Images whose stores Glance does not say.').set(
        totals.unplaced
    )
    gauge(
        'unplaced_bytes',
        'Size of the images whose stores Glance does not say.',
    ).set(totals.unplaced_size)
    found.write(path, 'When that was counted.')
