"""A real nova-api behind uWSGI, with one server and no nova-compute.

It answers requests, and what it then asks of a nova-compute, nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping
import configparser
import contextlib
import datetime
import http.client
import json
import os
from pathlib import Path
import sqlite3
import subprocess
import sys
import time
from typing import Any

import fixtures

from nova_multistore.cmd import paste
from tests.cloud import daemon
from tests.cloud import glance as cloud_glance
from tests.cloud import uwsgi

#: The id of the server.
SERVER = '5eb1c0de-0000-4000-8000-000000000001'
_APPLICATION = 'tests.cloud.uwsgi_nova'
#: What the tools have for nova-api unlike for glance-api: Debian's file for it
#: lacks these.
_TOOLS: Mapping[str, Mapping[str, object]] = {
    'Debian': dict.fromkeys(
        (
            *('add-header', 'close-on-exec', 'close-on-exec2'),
            *('exit-on-reload', 'http-auto-chunked', 'http-chunked-input'),
            *('http-keepalive', 'http-raw-body', 'socket-timeout'),
            'wsgi-manage-chunked-input',
        )
    ),
    'Kolla': {'chunked-input-limit': None},
}


class Databases(fixtures.Fixture):
    """The databases of a Nova that has one server of a project.

    :param root: an existing directory
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

    def _setUp(self) -> None:
        _write_configuration(self.root, self.root, 'http://127.0.0.1:1', {})
        subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', __name__, self.root],
            cwd=cloud_glance.REPOSITORY,
            env=_environment(self.root),
            check=True,
        )

    def settle(self) -> None:
        """Have the server be idle, whatever was asked of nova-compute."""
        path = self.root / 'cell.sqlite'
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as cell:
            cell.execute('UPDATE instances SET task_state = NULL')
            cell.commit()


class NovaAPI(fixtures.Fixture):
    """nova-api, with the package's filter in its pipelines.

    :param root: an existing directory for all that it writes
    :param databases: what it knows
    :param url: of Glance
    :param tool: whose settings uWSGI has, as in `tests.cloud.uwsgi.TOOLS`
    :param settings: other settings, by their name; without the one that is
        None
    :param options: further options of nova.conf, as "group.name"
    """

    def __init__(
        self,
        root: Path,
        databases: Databases,
        url: str,
        tool: str = 'Kolla',
        settings: Mapping[str, object] | None = None,
        **options: object,
    ) -> None:
        self.root = Path(root).resolve()
        self.tool = tool
        self._databases = databases
        self._url = url
        self._settings = {**_TOOLS.get(tool, {}), **(settings or {})}
        self._options = options
        [self.port] = cloud_glance.free_ports(1)

    @property
    def log(self) -> Path:
        return self.root / 'nova-api.log'

    def _setUp(self) -> None:
        _write_configuration(
            self.root, self._databases.root, self._url, self._options
        )
        path = self.root / 'uwsgi.ini'
        address = f'{cloud_glance.LOCALHOST}:{self.port}'
        uwsgi.write(path, self.tool, address, 2, self._settings, _APPLICATION)
        self.useFixture(
            daemon.Daemon(
                ('uwsgi', '--ini', path),
                self.log,
                lambda: daemon.status(self.port) == 200,
                _environment(self.root),
            )
        )

    def act(
        self, name: str, entity: Mapping[str, Any]
    ) -> tuple[int, Any, float]:
        """Ask for an action on the server.

        :returns: the answer's status and body, and how long it took, in
            seconds
        """
        connection = http.client.HTTPConnection(
            cloud_glance.LOCALHOST, self.port, timeout=60
        )
        headers = {
            'Content-Type': 'application/json',
            'OpenStack-API-Version': 'compute 2.93',
            'X-Auth-Token': cloud_glance.token(),
        }
        body = json.dumps({name: {'name': 'x', **entity}})
        begin = time.monotonic()
        path = f'/v2.1/servers/{SERVER}/action'
        connection.request('POST', path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        seconds = time.monotonic() - begin
        return answer.status, json.loads(text) if text else None, seconds


def _environment(root: Path) -> dict[str, str]:
    path = [str(cloud_glance.REPOSITORY), *sys.path]
    return {
        **os.environ,
        'OS_NOVA_CONFIG_DIR': str(root),
        'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
        'PYTHONPATH': os.pathsep.join(filter(None, path)),
        'PYTHONWARNINGS': 'ignore',
    }


def _write_configuration(
    root: Path, databases: Path, url: str, options: Mapping[str, object]
) -> None:
    sections: dict[str, dict[str, object]] = {
        'DEFAULT': {'transport_url': 'fake:///', 'state_path': root},
        'api_database': {
            'connection': f'sqlite:///{databases / "api.sqlite"}',
            'sqlite_synchronous': False,
        },
        'database': {
            'connection': f'sqlite:///{databases / "cell.sqlite"}',
            'sqlite_synchronous': False,
        },
        'glance': {'api_servers': url},
        'oslo_concurrency': {'lock_path': root / 'locks'},
    }
    for name, value in options.items():
        group, _, option = name.rpartition('.')
        sections.setdefault(group, {})[option] = value
    cloud_glance.write_sections(root / 'nova.conf', sections)
    stock = Path(sys.prefix, 'etc', 'nova', 'api-paste.ini').read_text()
    pipelines = configparser.RawConfigParser(default_section='')
    pipelines.read_string(paste.insert(stock, paste.FILTERS['nova']))
    found = {name: dict(pipelines[name]) for name in pipelines.sections()}
    found['filter:authtoken'] = {
        'paste.filter_factory': 'tests.cloud.identity:filter_factory',
        'log': str(root / 'requests.jsonl'),
    }
    cloud_glance.write_sections(root / 'api-paste.ini', found)


def _fill(root: Path) -> None:
    """Make the databases, with a cell and a server in it."""
    from nova import config
    from nova import context as nova_context
    from nova import objects
    from nova.db import migration

    conf = str(root / 'nova.conf')
    config.parse_args(['nova', '--config-file', conf])
    objects.register_all()
    migration.db_sync(database='api')
    migration.db_sync(database='main')
    context = nova_context.RequestContext(
        cloud_glance.PROJECT, cloud_glance.PROJECT, is_admin=True
    )
    cell = {
        'transport_url': 'fake:///',
        'database_connection': f'sqlite:///{root / "cell.sqlite"}',
    }
    # The first one is for servers that have no host.
    for cell_id in (objects.CellMapping.CELL0_UUID, SERVER):
        mapping = objects.CellMapping(context, uuid=cell_id, **cell)
        mapping.create()
    objects.InstanceMapping(
        context,
        instance_uuid=SERVER,
        cell_mapping=mapping,
        project_id=cloud_glance.PROJECT,
        user_id=cloud_glance.PROJECT,
        queued_for_delete=False,
    ).create()
    with nova_context.target_cell(context, mapping) as targeted:
        objects.Instance(
            targeted,
            uuid=SERVER,
            project_id=cloud_glance.PROJECT,
            user_id=cloud_glance.PROJECT,
            host='compute1',
            vm_state='active',
            launched_at=datetime.datetime.now(datetime.timezone.utc),
            image_ref=SERVER,
            display_name='server',
            system_metadata={},
            flavor=objects.Flavor(
                id=1,
                flavorid='1',
                name='small',
                memory_mb=64,
                vcpus=1,
                root_gb=1,
                ephemeral_gb=0,
                swap=0,
                rxtx_factor=1.0,
                vcpu_weight=1,
                disabled=False,
                is_public=True,
                extra_specs={},
                projects=[],
            ),
        ).create()
        objects.BlockDeviceMapping(
            targeted,
            instance_uuid=SERVER,
            source_type='image',
            destination_type='local',
            device_type='disk',
            boot_index=0,
            image_id=SERVER,
            delete_on_termination=True,
        ).create()


if __name__ == '__main__':
    _fill(Path(sys.argv[1]))
