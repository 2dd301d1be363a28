"""``nova-multistore-status computes``: which computes have the package."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import sys
from typing import Any

from nova import context as nova_context
from nova import objects
from nova import rpc
from nova.compute import rpcapi
import nova.conf
import oslo_messaging
import prettytable

from nova_multistore import timed_calls
from nova_multistore.cmd import conductor
from nova_multistore.compute import ping

CONF = nova.conf.CONF

#: How long a compute may take to answer, in seconds.
TIMEOUT = 10
# How many computes are asked at once.
_AT_ONCE = 32
_COLUMNS = ('Host', 'Package', 'Nova', 'Ceph store', 'Orders', 'Answer')


@dataclasses.dataclass(frozen=True)
class Compute:
    """One nova-compute.

    :param report: what :func:`nova_multistore.compute.ping.report` returned
        there; None if it runs without the package, or does not answer
    :param problem: why it does not answer; empty if it does
    """

    host: str
    report: dict[str, Any] | None = None
    problem: str = ''

    @property
    def row(self) -> tuple[str, ...]:
        """What the table says of a compute, in the order of the columns."""
        told = self.report or {}
        active = told.get('version') or ('?' if self.problem else 'no')
        return (
            self.host,
            active,
            told.get('nova') or '',
            told.get('ceph_store') or '',
            '; '.join(_orders(told)),
            self.problem or 'yes',
        )


def _orders(told: dict[str, Any]) -> list[str]:
    """Return what ``nova.conf`` orders there, in words."""
    orders = []
    if store := told.get('store'):
        orders.append(f'store {store}')
    if move_to := told.get('move_to'):
        orders.append(f'move to {move_to}')
    if copy_to := told.get('copy_to'):
        orders.append(f'copy to {", ".join(copy_to)}')
    return orders


def main(as_json: bool = False) -> int:
    """Print a table of all computes that ``nova.conf`` leads to.

    These are the computes of one cell.

    :param as_json: print them as JSON instead
    :returns: the exit code: 0 all of them have the package, 1 some do not,
        or do not answer, 255 an error
    """
    conductor.connect()
    context = nova_context.get_admin_context()
    try:
        computes = find(context)
    except Exception as exc:
        print(
            'nova-multistore-status: nova-conductor did not say which '
            f'computes there are: {exc}',
            file=sys.stderr,
        )
        return 255
    missing = [compute for compute in computes if not compute.report]
    if as_json:
        print(json.dumps([_described(compute) for compute in computes]))
    else:
        _print(computes, missing)
    return 1 if missing else 0


def _described(compute: Compute) -> dict[str, Any]:
    """Return what the JSON says of a compute."""
    told = compute.report or {}
    return {
        'host': compute.host,
        'answered': not compute.problem,
        'package': told.get('version'),
        'nova': told.get('nova'),
        'ceph_store': told.get('ceph_store'),
        'store': told.get('store'),
        'move_to': told.get('move_to'),
        'copy_to': told.get('copy_to') or [],
        'problem': compute.problem or None,
    }


def _print(computes: list[Compute], missing: list[Compute]) -> None:
    """Print a table, how many computes have the package, and which do not."""
    table = prettytable.PrettyTable(_COLUMNS)
    table.align = 'l'
    for compute in computes:
        table.add_row(list(compute.row))
    print(table)
    without = [compute.host for compute in missing if not compute.problem]
    silent = [compute.host for compute in missing if compute.problem]
    print(
        f'{len(computes) - len(missing)} with the package, '
        f'{len(without)} without, {len(silent)} did not answer'
    )
    for words, hosts in (('without', without), ('no answer', silent)):
        if hosts:
            print(f'{words}: {", ".join(hosts)}')


def find(context: nova_context.RequestContext) -> list[Compute]:
    """Ask all computes of a cell.

    :returns: one for each nova-compute that Nova knows, by host
    :raises Exception: nova-conductor did not say which there are
    """
    services = timed_calls.call(
        lambda: objects.ServiceList.get_by_binary(
            context, 'nova-compute', include_disabled=True
        ),
        conductor.TIMEOUT,
    )
    target = oslo_messaging.Target(
        topic=rpcapi.RPC_TOPIC, namespace='baseapi', version='1.0'
    )
    client = rpc.ClientRouter(rpc.get_client(target)).client(context)

    def ask(host: str) -> Compute:
        prepared = client.prepare(server=host, timeout=TIMEOUT)
        try:
            answer = prepared.call(context, 'ping', arg='')
        except Exception as exc:
            return Compute(host, problem=_words(exc))
        return Compute(host, answer.get(ping.KEY))

    hosts = sorted(service.host for service in services)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as executor:
        return list(executor.map(ask, hosts))


def _words(exc: Exception) -> str:
    """Say why a compute has not answered."""
    if isinstance(exc, oslo_messaging.MessagingTimeout):
        return f'no, not within {TIMEOUT} s'
    return f'no: {exc}'
