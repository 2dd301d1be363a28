"""RabbitMQ, what Nova's processes talk through."""

from __future__ import annotations

import socket

from tests.e2e import site as e2e_site

# What an AMQP 0-9-1 client says first.
_GREETING = b'AMQP\x00\x00\x09\x01'


def start(site: e2e_site.Site) -> None:
    """Start RabbitMQ and wait until it greets."""
    home = site.directory('rabbitmq')
    configuration = home / 'rabbitmq.conf'
    configuration.write_text(
        f'listeners.tcp.1 = {e2e_site.LOCALHOST}:{site.ports["rabbitmq"]}\n'
        'default_user = openstack\n'
        f'default_pass = {site.password}\n'
    )
    (home / 'enabled_plugins').write_text('[].\n')
    site.start(
        'rabbitmq',
        # The script beside this one changes the user with su.
        '/usr/lib/rabbitmq/bin/rabbitmq-server',
        HOME=home,
        ERL_EPMD_ADDRESS=e2e_site.LOCALHOST,
        ERL_EPMD_PORT=site.ports['epmd'],
        RABBITMQ_CONF_ENV_FILE='/dev/null',
        RABBITMQ_CONFIG_FILE=configuration,
        RABBITMQ_DIST_PORT=site.ports['rabbitmq-distribution'],
        RABBITMQ_ENABLED_PLUGINS_FILE=home / 'enabled_plugins',
        RABBITMQ_LOG_BASE=site.logs,
        RABBITMQ_LOGS='-',
        RABBITMQ_MNESIA_BASE=home / 'mnesia',
        RABBITMQ_NODENAME='cloud@localhost',
        RABBITMQ_NODE_IP_ADDRESS=e2e_site.LOCALHOST,
        RABBITMQ_PID_FILE=home / 'pid',
        # Schedulers that do not spin leave the processor to the others.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
            '-kernel inet_dist_use_interface {127,0,0,1} +sbwt none'
        ),
    )

    def greets() -> bool:
        address = (e2e_site.LOCALHOST, site.ports['rabbitmq'])
        with socket.create_connection(address, 5) as connection:
            connection.sendall(_GREETING)
            return bool(connection.recv(1))

    site.wait('rabbitmq', greets)
