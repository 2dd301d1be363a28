"""``nova-multistore-status explain``: where this host's snapshots would go."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nova import context as nova_context
from nova import objects
import nova.conf

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import selection
from nova_multistore import timed_calls
from nova_multistore.cmd import conductor
from nova_multistore.compute.facts import gather

if TYPE_CHECKING:
    from nova.objects.instance import Instance

CONF = nova.conf.CONF

# Operations that differ: [glance] store is for what the user keeps.
_OPERATIONS = {
    'snapshot, backup': selection.Operation.SNAPSHOT,
    'shelve': selection.Operation.SHELVE,
}


def main(name_or_id: str) -> int:
    """Print what nova-compute on this host would decide for a server.

    This runs the same code with the same ``nova.conf``. ``[libvirt]
    images_type`` tells whether the disk is in Ceph, and the base image is
    looked up with the credentials of ``[service_user]``.

    :param name_or_id: name or UUID of the server
    :returns: the exit code: 0 success, 2 a snapshot would be refused, 255 an
        error
    """
    opts.register_opts(CONF)
    try:
        server = _find(name_or_id)
        context = lookup.service_context()
    except exception.LookupFailed as exc:
        print(f'nova-multistore-status: {exc}', file=sys.stderr)
        return 255
    print(f'server: {server.uuid} ({server.display_name})')
    orders = opts.orders(CONF)
    refused = False
    for words, operation in _OPERATIONS.items():
        facts = gather(
            context,
            selection.Facts(
                operation=operation,
                image_ref=server.image_ref,
                orders=orders,
            ),
            lookup.disks_in_ceph(),
        )
        print(f'{words}:')
        try:
            selected = selection.select(facts)
        except exception.StoreRefused as exc:
            refused = True
            print(f'    refused: {opts.where(CONF, facts)}: {exc}')
            continue
        wanted = orders.copies_of(operation)
        print(f'    goes to: {selected.destination}')
        print(f'    rule:    {selected.rule.value}')
        print(f'    reason:  {selected.reason}')
        print(f'    copies:  {", ".join(wanted) or "none"}')
    return 2 if refused else 0


def _find(name_or_id: str) -> Instance:
    """Return a server of this host.

    It asks nova-conductor, as nova-compute does: that needs no more than the
    host's own ``nova.conf``.

    :raises LookupFailed: there is no such server, or more than one, or
        nova-conductor does not answer
    """
    conductor.connect()
    context = nova_context.get_admin_context()
    try:
        here = timed_calls.call(
            lambda: list(objects.InstanceList.get_by_host(context, CONF.host)),
            conductor.TIMEOUT,
        )
    except Exception as exc:
        raise exception.LookupFailed(
            f'nova-conductor did not say which servers are here: {exc}'
        ) from exc
    found = [s for s in here if name_or_id in (s.uuid, s.display_name)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ', '.join(s.uuid for s in found)
        raise exception.LookupFailed(
            f"more than one server '{name_or_id}' is here: {ids}"
        )
    raise exception.LookupFailed(
        f"no server '{name_or_id}' is on host {CONF.host}; the nova.conf of "
        "the server's own host decides"
    )
