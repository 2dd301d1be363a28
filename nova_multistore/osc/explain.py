"""``multistore explain``: where a snapshot would go, and why."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from cliff import columns
from osc_lib import exceptions
from osc_lib.cli import format_columns

from nova_multistore import exception
from nova_multistore import opts
from nova_multistore import record
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.osc import base
from nova_multistore.osc import explain_possibilities
from nova_multistore.osc import nova_conf

if TYPE_CHECKING:
    from oslo_config import cfg

    from nova_multistore.osc.cloud import Cloud
    from nova_multistore.osc.cloud import Permission

#: The action that makes an image of a server, by operation.
_ACTIONS = {
    selection.Operation.SNAPSHOT: 'createImage',
    selection.Operation.BACKUP: 'createBackup',
}


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


class _StoreColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """The store; for programs None if it depends on ``nova.conf``."""

    def human_readable(self) -> str:
        return explain_possibilities.sentence(self._value)

    def machine_readable(self) -> str | None:
        return self._value[0].store if len(self._value) == 1 else None


class _PossibilitiesColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """A line for each possibility; for programs, a mapping."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{each.store or "another store"} ({each.rule.value}): '
            f'{each.reason}'
            for each in self._value
        )

    def machine_readable(self) -> list[dict[str, Any]]:
        return [
            {
                'store': each.store,
                'rule': each.rule.value,
                'reason': each.reason,
                'condition': each.condition,
            }
            for each in self._value
        ]


class _PolicyColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """Whether the user may name a store, for each operation."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{operation.value}: {_permission(found)}'
            for operation, found in self._value.items()
        )

    def machine_readable(self) -> list[dict[str, Any]]:
        return [
            {'operation': operation.value, **dataclasses.asdict(found)}
            for operation, found in self._value.items()
        ]


def _permission(found: Permission) -> str:
    if found.allowed:
        return 'allowed'
    state = 'not known' if found.allowed is None else 'refused'
    return f'{state}: {found.reason}'


class _DecisionColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """The record of an image, None if there is none."""

    def human_readable(self) -> str:
        if self._value is None:
            return ''
        words = (
            '{store} ({rule}) for image {image_id}, {created_at}'.format_map(
                self._value
            )
        )
        if self._value['difference']:
            words += f'; {self._value["difference"]}'
        return words


class Explain(base.ServerCommand):
    """Show where a snapshot or backup of a server would go, and why

    Nothing is created. Only --config-file tells how nova-compute is
    configured; without that option, all possible stores are named.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--store',
            metavar='<store>',
            help='Glance store that the request would name; nova-api is asked '
            'whether policy allows it',
        )
        nova_conf.add_option(parser, "the server's compute host")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        conf = nova_conf.read(parsed_args.config_file)
        configured = bool(parsed_args.config_file)
        server = self.cloud.server(parsed_args.server)
        facts, places = _gather(self.cloud, conf, server, parsed_args.store)
        catalogue = facts.catalogue or stores.Catalogue()
        try:
            found = explain_possibilities.all_of(facts, places, configured)
        except exception.StoreRefused as exc:
            named = opts.where(conf, facts)
            raise base.UsageError(f'{named}: {exc}' if named else exc) from exc
        if not facts.image_ref:
            self.app.stderr.write(f'{base.INSTEAD_OF_A_SNAPSHOT}\n')
        shown = {
            'server_id': server['id'],
            'base_image': facts.image_ref,
            'base_image_stores': format_columns.ListColumn(
                list(facts.base_stores or ())
            ),
            'stores': _StoresColumn(list(catalogue.stores)),
            'store': _StoreColumn(found),
            'reason': _reason(facts, found),
            'possibilities': _PossibilitiesColumn(found),
            'direct_snapshot': _direct(facts, configured),
        }
        if parsed_args.store:
            shown['policy'] = _PolicyColumn(_permissions(self.cloud, server))
        shown['last_decision'] = _DecisionColumn(
            _last_decision(self.cloud, server['id'])
        )
        return tuple(shown), tuple(shown.values())


def _permissions(
    cloud: Cloud, server: dict[str, Any]
) -> dict[selection.Operation, Permission]:
    """Ask whether the user may name a store, for each operation.

    :param server: the server, as Nova's API has it
    :returns: the answers; none for a volume-backed server, for which no store
        can be named
    """
    if not server['image']:
        return {}
    return {
        operation: cloud.may_name_store(server['id'], action)
        for operation, action in _ACTIONS.items()
    }


def _gather(
    cloud: Cloud,
    conf: cfg.ConfigOpts,
    server: dict[str, Any],
    requested: str | None,
) -> tuple[selection.Facts, dict[str, stores.Place]]:
    """Ask for what the rules need.

    :returns: the facts, and where stores keep their images, by store id
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
        orders=opts.orders(conf),
        ceph_store=nova_conf.ceph_store(conf),
    )
    places = dict(catalogue.places)
    if facts.base_image_ref and (image := cloud.image(facts.base_image_ref)):
        facts = dataclasses.replace(facts, base_stores=stores.of_image(image))
        places = {**stores.places_of_image(image), **places}
    facts = dataclasses.replace(facts, cluster=nova_conf.cluster(conf, places))
    return facts, places


def _reason(
    facts: selection.Facts, found: list[explain_possibilities.Possibility]
) -> str:
    """Return why there is one possibility, empty if there are several."""
    if not facts.image_ref:
        return 'the server is volume-backed: its image holds no data'
    return found[0].reason if len(found) == 1 else ''


def _last_decision(cloud: Cloud, server_id: str) -> dict[str, Any] | None:
    """Return what was decided on the newest image of a server with a record.

    :raises osc_lib.exceptions.CommandError: Glance does not list images
    """
    try:
        images, _more = cloud.images.page(instance_uuid=server_id)
    except exception.MultistoreError as exc:
        raise exceptions.CommandError(
            f'earlier images of the server are not known: {exc}'
        ) from exc
    for image in images:
        if written := record.read(image):
            return {
                'image_id': image['id'],
                'created_at': image['created_at'],
                'store': written.store,
                'rule': written.rule.value,
                'difference': written.difference,
            }
    return None


def _direct(facts: selection.Facts, configured: bool) -> str:
    """Return whether the snapshot can be made inside Ceph, in words."""
    if not facts.image_ref:
        return 'no, Cinder makes the snapshots of volumes'
    if facts.cluster is None:
        if configured:
            return 'no, the disks are not in Ceph'
        return 'not known without --config-file'
    selected = selection.select(facts)
    if selected.pool:
        return f'yes, in pool {selected.pool}'
    if selected.direct is selection.Direct.SEARCH:
        return "perhaps, if Nova's own search finds a pool"
    return f'no, store {selected.store} is not in the Ceph of the disks'
