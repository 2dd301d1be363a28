"""The process that starts all services, and is the parent of each."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import socket
import sys
import time
from typing import Any

from tests.e2e import ceph
from tests.e2e import cinder
from tests.e2e import glance
from tests.e2e import keystone
from tests.e2e import libvirt
from tests.e2e import mariadb
from tests.e2e import neutron
from tests.e2e import nova
from tests.e2e import placement
from tests.e2e import rabbitmq
from tests.e2e import site as e2e_site
from tests.e2e import web

#: The line that tells the starter that the cloud can be used.
READY = 'ready'
#: Where the cloud is told what to change.
SOCKET = 'control'


def start(site: e2e_site.Site) -> None:
    """Start all services.

    :raises CloudFailed: if one does not come up
    """

    def step(name: str, call: Callable[[e2e_site.Site], None]) -> None:
        begin = time.monotonic()
        call(site)
        print(f'  {name} {time.monotonic() - begin:.1f} s', flush=True)

    def with_databases() -> None:
        step('mariadb', mariadb.start)
        e2e_site.in_parallel(
            with_identity,
            lambda: step('cinder database', cinder.prepare),
            lambda: step('glance database', glance.prepare),
            lambda: step('neutron database', neutron.prepare),
            lambda: step('nova databases', nova.prepare),
            lambda: step('placement database', placement.prepare),
        )

    def with_identity() -> None:
        step('keystone database', keystone.prepare)
        step('keystone', keystone.start)

    e2e_site.in_parallel(
        lambda: step('ceph', ceph.start),
        with_databases,
        lambda: step('libvirt', libvirt.start),
        lambda: step('rabbitmq', rabbitmq.start),
        lambda: step('web', web.start),
    )
    e2e_site.in_parallel(
        lambda: step('cinder', cinder.start),
        lambda: step('glance', glance.start),
        lambda: step('neutron', neutron.start),
        lambda: step('nova', nova.start),
        lambda: step('placement', placement.start),
    )


def main() -> int:
    """Start the cloud, and stay.

    :returns: 1, if a service does not come up
    """
    site = e2e_site.Site.load(Path(sys.argv[1]))
    try:
        start(site)
    except e2e_site.CloudFailed as exc:
        print(exc, flush=True)
        return 1
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.root / SOCKET))
        server.listen()
        print(READY, flush=True)
        # A service may be stopped now, to see what the others make of it.
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile('rw') as file:
                file.write(_obey(site, file.readline()))


def _obey(site: e2e_site.Site, line: str) -> str:
    """Stop or restart nova-compute or Glance, as a line of JSON says.

    :returns: what went wrong, or nothing
    """
    try:
        what, arguments = json.loads(line)
        {
            'stop': nova.stop_compute,
            'restart': nova.restart_compute,
            'glance': glance.restart,
        }[what](site, **arguments)
    except Exception as exc:
        return str(exc) or repr(exc)
    return ''


def tell(root: Path, what: str, **arguments: Any) -> None:
    """Have a running cloud do something about nova-compute or Glance.

    :param root: the cloud's directory
    :param what: "stop" or "restart" nova-compute, or restart "glance"
    :param arguments: of what `tests.e2e.nova` or `tests.e2e.glance` has for it
    :raises CloudFailed: if that fails
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(root / SOCKET))
        with connection.makefile('rw') as file:
            json.dump([what, arguments], file)
            file.write('\n')
            file.flush()
            failure = file.read()
    if failure:
        raise e2e_site.CloudFailed(failure)


if __name__ == '__main__':
    sys.exit(main())
