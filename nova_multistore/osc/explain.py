"""``multistore explain``: where a snapshot would go, and why."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from osc_lib import exceptions
from osc_lib.cli import format_columns

from nova_multistore import exception
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import nova_conf

if TYPE_CHECKING:
    from oslo_config import cfg

    from nova_multistore.osc.cloud import Cloud

_COLUMNS = (
    'server_id',
    'base_image',
    'base_image_stores',
    'stores',
    'store',
    'reason',
    'direct_snapshot',
)


class _StoresColumn(format_columns.ListColumn):
    """Stores, with what Glance says of each."""

    def human_readable(self) -> str:
        return ', '.join(map(_marked, self._value))

    def machine_readable(self) -> list[Any]:
        return [
            {
                'id': store.id,
                'default': store.default,
                'read_only': store.read_only,
            }
            for store in self._value
        ]


def _marked(store: stores.Store) -> str:
    marks = [
        mark
        for mark, applies in (
            ('default', store.default),
            ('read-only', store.read_only),
        )
        if applies
    ]
    return f'{store.id} ({", ".join(marks)})' if marks else store.id


class Explain(base.ServerCommand):
    """Show where a snapshot or backup of a server would go, and why

    Nothing is created. The configuration of nova-compute is known only from
    --config-file.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--store',
            metavar='<store>',
            help='Glance store that the request would name',
        )
        nova_conf.add_option(parser, "the server's compute host")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        conf = nova_conf.read(parsed_args.config_file)
        server = self.cloud.server(parsed_args.server)
        try:
            facts = _gather(self.cloud, conf, server, parsed_args.store)
            selected = selection.select(facts)
        except (exception.LookupFailed, exception.StoreRefused) as exc:
            raise exceptions.CommandError(str(exc)) from exc
        catalogue = facts.catalogue or stores.Catalogue()
        return _COLUMNS, (
            server['id'],
            facts.image_ref,
            format_columns.ListColumn(list(facts.base_stores or ())),
            _StoresColumn(list(catalogue.stores)),
            selected.store or catalogue.default,
            selected.reason,
            _direct(selected, facts, bool(parsed_args.config_file)),
        )


def _gather(
    cloud: Cloud,
    conf: cfg.ConfigOpts,
    server: dict[str, Any],
    requested: str | None,
) -> selection.Facts:
    """Ask for what the rules need.

    :raises LookupFailed: an answer cannot be read
    """
    catalogue = cloud.catalogue()
    facts = selection.Facts(
        operation=selection.Operation.SNAPSHOT,
        # The image is empty for a volume-backed server.
        image_ref=server['image']['id'] if server['image'] else None,
        catalogue=catalogue,
        unknown='the base image is deleted or not visible',
        requested=requested,
        configured=conf.glance.store,
        ceph_store=nova_conf.ceph_store(conf),
    )
    places = catalogue.places
    if facts.base_image_ref and (image := cloud.image(facts.base_image_ref)):
        facts = dataclasses.replace(facts, base_stores=stores.of_image(image))
        places = {**stores.places_of_image(image), **places}
    return dataclasses.replace(facts, cluster=nova_conf.cluster(conf, places))


def _direct(
    selected: selection.Selection, facts: selection.Facts, configured: bool
) -> str:
    """Return whether the snapshot can be made inside Ceph, in words."""
    if not facts.image_ref:
        return 'no, Cinder makes the snapshots of volumes'
    if facts.cluster is None:
        if configured:
            return 'no, the disks are not in Ceph'
        return 'not known without --config-file'
    if selected.pool:
        return f'yes, in pool {selected.pool}'
    if selected.direct is selection.Direct.SEARCH:
        return "perhaps, if Nova's own search finds a pool"
    return f'no, store {selected.store} is not in the Ceph of the disks'
