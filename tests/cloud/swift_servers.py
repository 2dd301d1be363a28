"""The servers of Swift in one process, each as its own file configures it.

Usage: python -m tests.cloud.swift_servers DIRECTORY
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import eventlet
import eventlet.wsgi
from swift.common import http_protocol
from swift.common import ring
from swift.common import utils
from swift.common import wsgi


def make_ring(directory: Path, name: str, port: int) -> None:
    """Have everything of one kind on the only disk there is."""
    builder = ring.RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    builder.add_dev(
        {
            'region': 1,
            'zone': 1,
            'ip': '127.0.0.1',
            'port': port,
            'device': 'disk',
            'weight': 1,
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(directory / f'{name}.ring.gz'))


def serve(conf: dict[str, Any]) -> None:
    """Serve what a file configures, as `swift.common.wsgi.run_server` does."""
    name = conf['log_name']
    eventlet.wsgi.server(
        wsgi.get_socket(conf),
        wsgi.loadapp(conf['__file__'], global_conf={'log_name': name}),
        utils.NullLogger(),
        protocol=http_protocol.SwiftHttpProtocol,
        socket_timeout=float(conf['client_timeout']),
        capitalize_response_headers=False,
    )


def main() -> None:
    """Run them until the process is ended."""
    directory = Path(sys.argv[1])
    utils.set_swift_dir(str(directory))
    utils.eventlet_monkey_patch()
    eventlet.hubs.use_hub(utils.get_hub())
    utils.validate_configuration()
    servers = []
    for name in ('account', 'container', 'object', 'proxy'):
        conf = wsgi.load_app_config(str(directory / f'{name}.conf'))
        if name != 'proxy':
            make_ring(directory, name, int(conf['bind_port']))
        servers.append(eventlet.spawn(serve, conf))
    for server in servers:
        server.wait()


if __name__ == '__main__':
    main()
