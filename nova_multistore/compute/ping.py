"""What a running nova-compute says of the package when it is asked.

Every service of Nova answers to a ping on the message bus. The answer of a
nova-compute with the package has one part more, so that the computes of a
cloud can be told apart.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

from nova import version as nova_version
import nova.conf

import nova_multistore
from nova_multistore import lookup
from nova_multistore import opts
from nova_multistore.compute import ceph

if TYPE_CHECKING:
    from collections.abc import Callable

CONF = nova.conf.CONF

#: The key of that part in the answer.
KEY = 'nova_multistore'


def ping(
    proceed: Callable[..., dict[str, Any]], _api: Any, /, **_arguments: Any
) -> dict[str, Any]:
    """Answer to a ping.

    Wraps ``nova.baserpc.BaseRPCAPI.ping``.

    :returns: Nova's own answer, and :func:`report` in it
    """
    return {**proceed(), KEY: report()}


def report() -> dict[str, Any]:
    """Return which version runs here, and what ``nova.conf`` orders."""
    return {
        'version': nova_multistore.__version__,
        'nova': nova_version.version_string(),
        'ceph_store': ceph.named_store() if lookup.disks_in_ceph() else None,
        **dataclasses.asdict(opts.orders(CONF)),
    }
