"""Glance, in processes that need not load it again.

To load it takes most of the three seconds of processor time that its start
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
import functools
import os
from pathlib import Path
import sys
import tempfile

from tests.cloud import forks

template = forks.Template(
    (
        'castellan.key_manager.barbican_key_manager',
        'glance.api.middleware.context',
        'glance.api.middleware.version_negotiation',
        'glance.api.v2.router',
        'glance.api.versions',
        'glance.async_.flows.api_image_import',
        'glance.async_.flows.plugins',
        'glance.async_.taskflow_executor',
        'glance.common.wsgi_app',
        'glance.db.sqlalchemy.api',
        'glance.image_cache.prefetcher',
        'glance_store._drivers.cinder',
        'glance_store._drivers.filesystem',
        'glance_store._drivers.http',
        'glance_store._drivers.rbd',
        'glance_store._drivers.s3',
        'glance_store._drivers.swift',
        'glance_store._drivers.vmware_datastore',
        'gunicorn.app.wsgiapp',
        'gunicorn.workers.gthread',
        'oslo_db.sqlalchemy.enginefacade',
        'oslo_messaging._drivers.impl_rabbit',
        'sqlalchemy.dialects.sqlite.pysqlite',
        'taskflow.engines.action_engine.engine',
        'tests.cloud.identity',
    )
)


def start(
    directory: Path, environment: Mapping[str, str], log: Path
) -> forks.Process:
    """Start glance-api behind gunicorn.

    :param directory: its working directory
    :param environment: all of it
    :param log: what it writes its output to
    """
    return template.fork(f'{__name__}:main', directory, dict(environment), log)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix='glance-database-')


@functools.cache
def migrated_database() -> Path:
    """Migrate an empty database, once a process: it takes seconds.

    :raises RuntimeError: Glance's command fails
    """
    scratch = Path(_scratch().name)
    database = scratch / 'glance.sqlite'
    configuration = scratch / 'glance-manage.conf'
    configuration.write_text(
        '[database]\n'
        f'connection = sqlite:///{database}\n'
        'sqlite_synchronous = False\n'
    )
    log = scratch / 'log'
    if template.fork(f'{__name__}:migrate', configuration, log).wait():
        raise RuntimeError(f'glance-manage db_sync: {log.read_text()}')
    return database


def migrate(configuration: str, log: str) -> None:
    """Become glance-manage."""
    from glance.cmd import manage

    _write_to(log)
    sys.argv = ['glance-manage', '--config-file', configuration, 'db_sync']
    sys.exit(manage.main())


def _write_to(log: str) -> None:
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        (2, log, os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(path, flags, 0o600), number)


def main(directory: str, environment: Mapping[str, str], log: str) -> None:
    """Become it."""
    from gunicorn.app import wsgiapp

    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    # It dies with the process that loaded it, and that dies with the test.
    os.environ['TESTS_CLOUD_PARENT'] = str(os.getppid())
    _write_to(log)
    sys.argv = ['gunicorn']
    sys.exit(wsgiapp.run())
