"""Nova's objects, by way of nova-conductor.

nova-compute gets them in the same way, which needs no more than ``nova.conf``.
"""

from __future__ import annotations

from nova import objects
from nova import rpc
from nova.conductor import rpcapi
import nova.conf
from nova.objects import base as nova_objects

CONF = nova.conf.CONF

#: How long nova-conductor may take to answer, in seconds.
TIMEOUT = 60.0


def connect() -> None:
    """Have this process get Nova's objects from nova-conductor."""
    objects.register_all()
    # As nova.config.parse_args() does.
    rpc.set_defaults(control_exchange='nova')
    rpc.init(CONF)
    nova_objects.NovaObject.indirection_api = rpcapi.ConductorAPI()
