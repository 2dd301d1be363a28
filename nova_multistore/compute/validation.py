"""A check of the stores in ``nova.conf``, when nova-compute starts."""

from __future__ import annotations

import nova.conf
from oslo_log import log as logging

from nova_multistore import exception
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore import selection
from nova_multistore import timed_calls

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


def start() -> None:
    """Check the stores in the background. nova-compute starts either way."""
    if opts.orders(CONF) != selection.Orders():
        timed_calls.start(_check)


def _check() -> None:
    orders = opts.orders(CONF)
    if store := orders.store:
        _check_store(
            '[glance] store', store, 'every snapshot and backup will fail'
        )
    if store := orders.move_to:
        if orders.store:
            LOG.error(
                '[nova_multistore] move_to is ignored: [glance] store is set, '
                'too, and nothing moves from there'
            )
        _check_store(
            '[nova_multistore] move_to',
            store,
            'every snapshot and backup will fail',
        )
    for store in orders.copy_to:
        _check_store(
            '[nova_multistore] copy_to', store, 'no copy will be made there'
        )


def _check_store(option: str, store: str, effect: str) -> None:
    try:
        lookup.catalogue(lookup.service_context()).check_writable(store)
    except exception.StoreRefused as exc:
        LOG.error(
            '%(option)s is wrong, %(effect)s: %(reason)s',
            {'option': option, 'effect': effect, 'reason': exc},
        )
    except Exception as exc:
        LOG.warning(
            "%(option)s is '%(store)s', which could not be checked now: "
            '%(reason)s',
            {'option': option, 'store': store, 'reason': exc},
        )
