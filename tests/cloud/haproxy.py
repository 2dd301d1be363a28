"""A real HAProxy before some glance-api, with the time-outs of Kolla."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fixtures

from tests.cloud import daemon
from tests.cloud import glance as cloud_glance

#: Where its program comes from.
PACKAGE = 'Debian package haproxy'
# From Kolla-Ansible: roles/loadbalancer/templates/haproxy/haproxy_main.cfg.j2,
# with the values in roles/loadbalancer/defaults/main.yml, and what
# roles/glance/defaults/main.yml has for glance-api: the two time-outs of 6 h,
# the request of the health check, and how often that is asked. What is said of
# TLS comes from there and from
# roles/haproxy-config/templates/haproxy_single_service_split.cfg.j2.
_CONFIGURATION = """
global
    maxconn 1000
    nbthread 1
    ssl-default-bind-ciphers DEFAULT:!MEDIUM:!3DES
    ssl-default-bind-options no-sslv3 no-tlsv10 no-tlsv11

defaults
    mode http
    option redispatch
    retries 3
    timeout http-request 10s
    timeout http-keep-alive 10s
    timeout queue {queue}
    timeout connect 10s
    timeout client {client}
    timeout server {server}
    timeout check 10s
    balance roundrobin

listen glance
    bind {host}:{port}
    {secure}
    http-request del-header X-Forwarded-Proto
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    option httpchk GET /healthcheck
    http-check expect status 200
    default-server check inter {check} rise 2 fall 5{server_options}
"""


class HAProxy(fixtures.Fixture):
    """HAProxy, up as soon as it answers, be it that no server is there.

    :param root: an existing directory for all that it writes
    :param ports: of the glance-api on this machine that are behind it
    :param client: how long it waits for the client, as HAProxy writes it
    :param server: how long it waits for Glance
    :param queue: how long a request waits for a server that takes it
    :param check: how often it looks whether a server is there
    :param server_options: what is said of each server besides
    :param certificate: a file with its certificate and key, for TLS
    """

    def __init__(
        self,
        root: Path,
        ports: Iterable[int],
        client: str = '6h',
        server: str = '6h',
        queue: str = '1m',
        check: str = '2s',
        server_options: str = '',
        certificate: Path | None = None,
    ) -> None:
        self.root = Path(root).resolve()
        self.servers = tuple(ports)
        self._settings = {
            'client': client,
            'server': server,
            'queue': queue,
            'check': check,
            'server_options': server_options and f' {server_options}',
        }
        self._certificate = certificate
        self.port, self._secure_port = cloud_glance.free_ports(2)

    @property
    def url(self) -> str:
        if self._certificate:
            return f'https://{cloud_glance.LOCALHOST}:{self._secure_port}'
        return f'http://{cloud_glance.LOCALHOST}:{self.port}'

    @property
    def _secure(self) -> str:
        if not self._certificate:
            return ''
        address = f'{cloud_glance.LOCALHOST}:{self._secure_port}'
        return f'bind {address} ssl crt {self._certificate}'

    def _setUp(self) -> None:
        text = _CONFIGURATION.format(
            host=cloud_glance.LOCALHOST,
            port=self.port,
            secure=self._secure,
            **self._settings,
        )
        lines = [
            f'    server api{number} {cloud_glance.LOCALHOST}:{port}'
            for number, port in enumerate(self.servers)
        ]
        path = self.root / 'haproxy.cfg'
        path.write_text('\n'.join([text.rstrip(), *lines, '']))
        self.useFixture(
            daemon.Daemon(
                ('haproxy', '-db', '-f', path),
                self.root / 'haproxy.log',
                lambda: daemon.status(self.port) > 0,
            )
        )
