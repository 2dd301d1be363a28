"""Glance, in processes that need not load it again.

To load it takes most of the three seconds of processor time that its start
takes.
"""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import sys

from tests.cloud import forks

_template = forks.Template(
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
    return _template.fork(
        f'{__name__}:main', directory, dict(environment), log
    )


def main(directory: str, environment: Mapping[str, str], log: str) -> None:
    """Become it."""
    from gunicorn.app import wsgiapp

    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    # It dies with the process that loaded it, and that dies with the test.
    os.environ['TESTS_CLOUD_PARENT'] = str(os.getppid())
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_APPEND),
        (2, log, os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(path, flags), number)
    sys.argv = ['gunicorn']
    sys.exit(wsgiapp.run())
