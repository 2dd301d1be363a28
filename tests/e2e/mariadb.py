"""MariaDB: Neutron's migrations do not run on SQLite."""

from __future__ import annotations

import contextlib
from typing import Any

import pymysql

from tests.e2e import site as e2e_site

DATABASES = (
    'cinder',
    'glance',
    'keystone',
    'neutron',
    'nova',
    'nova_api',
    'nova_cell0',
    'placement',
)


def start(site: e2e_site.Site) -> None:
    """Start MariaDB with an empty database for each service."""
    home = site.directory('mariadb')
    data = home / 'data'
    site.run(
        'mariadb',
        '/usr/bin/mariadb-install-db',
        '--no-defaults',
        '--user=root',
        f'--datadir={data}',
        f'--tmpdir={home}',
        '--skip-test-db',
        '--auth-root-authentication-method=normal',
    )
    statements = [
        f"CREATE USER openstack@'%' IDENTIFIED BY '{site.password}'",
        "GRANT ALL ON *.* TO openstack@'%'",
        *(f'CREATE DATABASE {name} CHARACTER SET utf8' for name in DATABASES),
    ]
    script = home / 'init.sql'
    script.write_text(''.join(f'{line};\n' for line in statements))
    site.start(
        'mariadb',
        '/usr/sbin/mariadbd',
        '--no-defaults',
        '--user=root',
        f'--datadir={data}',
        # Killed, it leaves tables there.
        f'--tmpdir={home}',
        f'--socket={home / "socket"}',
        f'--pid-file={home / "pid"}',
        f'--bind-address={e2e_site.LOCALHOST}',
        f'--port={site.ports["mariadb"]}',
        f'--init-file={script}',
        '--max-connections=1000',
        '--skip-name-resolve',
        # The data need not survive a power cut.
        '--innodb-flush-log-at-trx-commit=0',
        '--innodb-doublewrite=0',
    )

    def answers() -> bool:
        try:
            rows(site, 'SELECT 1')
        except pymysql.Error:
            return False
        return True

    site.wait('mariadb', answers)


def rows(
    site: e2e_site.Site, statement: str, *values: object
) -> tuple[tuple[Any, ...], ...]:
    """Return what a database has.

    :param statement: in SQL; its tables are named as "database.table"
    :param values: for its placeholders, "%s"
    """
    with (
        contextlib.closing(
            pymysql.connect(
                host=e2e_site.LOCALHOST,
                port=site.ports['mariadb'],
                user='openstack',
                password=site.password,
                database=DATABASES[-1],
                connect_timeout=5,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)
        return cursor.fetchall()
