"""A check of the stores in ``nova.conf``, when nova-compute starts."""

from __future__ import annotations

import nova.conf
from oslo_log import log as logging

from nova_multistore import bounded
from nova_multistore import exception
from nova_multistore import lookup

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


def start() -> None:
    """Check them in the background. nova-compute starts either way."""
    ours = CONF.nova_multistore
    if CONF.glance.store or ours.copy_to or ours.move_to:
        bounded.start(_check)


def _check() -> None:
    if store := CONF.glance.store:
        _check_store(
            '[glance] store', store, 'every snapshot and backup will fail'
        )
    if store := CONF.nova_multistore.move_to:
        if CONF.glance.store:
            LOG.error(
                '[nova_multistore] move_to is ignored: [glance] store is set, '
                'too, and nothing moves from there'
            )
        _check_store(
            '[nova_multistore] move_to',
            store,
            'every snapshot and backup will fail',
        )
    for store in CONF.nova_multistore.copy_to:
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
