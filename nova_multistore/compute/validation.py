"""``[glance] store`` checked when nova-compute starts."""

from __future__ import annotations

import nova.conf
from oslo_log import log as logging

from nova_multistore import bounded
from nova_multistore import exception
from nova_multistore import lookup

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


def start() -> None:
    """Check the option in the background: nova-compute starts either way."""
    if CONF.glance.store:
        bounded.start(_check)


def _check() -> None:
    store = CONF.glance.store
    try:
        lookup.catalogue(lookup.service_context()).check_writable(store)
    except exception.StoreRefused as exc:
        LOG.error(
            '[glance] store is wrong, every snapshot and backup will fail: %s',
            exc,
        )
    except Exception as exc:
        LOG.warning(
            "[glance] store is '%(store)s', which could not be checked now: "
            '%(reason)s',
            {'store': store, 'reason': exc},
        )
