"""A real Glance behind uWSGI, as the tools that deploy OpenStack have it.

uWSGI loads Debian's own Python, so the virtualenv has to be made with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import subprocess
import sys
from typing import Any

from tests.cloud import daemon
from tests.cloud import glance as cloud_glance

#: Where its program comes from.
PACKAGES = 'Debian packages uwsgi-core and uwsgi-plugin-python3'
#: What has gunicorn end with the process of that id.
PARENT = 'TESTS_CLOUD_PARENT'
_COMMON = {
    'master': 'true',
    'lazy-apps': 'true',
    'enable-threads': 'true',
    'thunder-lock': 'true',
    'die-on-term': 'true',
    'buffer-size': 65535,
    'add-header': 'Connection: close',
}
_CHUNKED = {
    'http-auto-chunked': 'true',
    'http-chunked-input': 'true',
    'http-raw-body': 'true',
}
_GRACEFUL = {'hook-master-start': 'unix_signal:15 gracefully_kill_them_all'}
#: What each tool writes for glance-api, by the tool, without names, paths and
#: the number of processes; for the tests, processes that hang end after 5 s.
#: "http" is a process of uWSGI that passes on what it reads; "http-socket" is
#: the process that runs Glance. Sources:
#:
#: - Kolla-Ansible: roles/service-uwsgi-config/templates/uwsgi.ini.j2, and
#:   roles/glance/tasks/config.yml;
#: - devstack: `write_local_uwsgi_http_config` in lib/apache;
#: - OpenStack-Ansible: templates/uwsgi.ini.j2 of ansible-role-uwsgi;
#: - Debian 13: /etc/glance/glance-api-uwsgi.ini in its package glance-api, and
#:   what its init script adds where uWSGI is switched on.
TOOLS: Mapping[str, Mapping[str, object]] = {
    'Kolla': {
        'http': '{address}',
        **_COMMON,
        **_CHUNKED,
        **_GRACEFUL,
        # The largest piece of a body that it takes, in bytes. uWSGI's own
        # 1 MiB is less than the pieces that glanceclient sends.
        'chunked-input-limit': 64 << 20,
        'socket-timeout': 30,
        'worker-reload-mercy': 5,
    },
    'devstack': {
        'http-socket': '{address}',
        **_COMMON,
        **_CHUNKED,
        **_GRACEFUL,
        'http-keepalive': 'false',
        'socket-timeout': 30,
        'worker-reload-mercy': 5,
    },
    'OpenStack-Ansible': {
        'http-socket': '{address}',
        **_COMMON,
        'http-auto-chunked': 'true',
        'http-raw-body': 'true',
        'threads': 1,
        'socket-timeout': 10,
        'ignore-sigpipe': 'true',
        'ignore-write-errors': 'true',
        'disable-write-exception': 'true',
    },
    'Debian': {
        'http-socket': '{address}',
        **_COMMON,
        **_CHUNKED,
        'rem-header': 'Content-Length',
        'http-keepalive': 'true',
        'close-on-exec': 'true',
        'close-on-exec2': 'true',
        'exit-on-reload': 'true',
        'threads': 1,
        'listen': 100,
        'socket-timeout': 10,
        'wsgi-manage-chunked-input': 'true',
    },
}
#: What the tests run: the tool whose settings uWSGI has, and other settings.
CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    **{tool: (tool, {}) for tool in TOOLS},
    'loaded before the fork': ('Kolla', {'lazy-apps': None}),
    'no threads': ('Kolla', {'enable-threads': None}),
}


class Glance(cloud_glance.Glance):
    """glance-api on SQLite, behind uWSGI.

    :param tool: whose settings uWSGI has
    :param settings: other settings, by their name; without the one that is
        None
    :param arguments: as the other constructor has them
    """

    def __init__(
        self,
        *arguments: Any,
        tool: str = 'Kolla',
        workers: int = 2,
        settings: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, workers=workers, **options)
        self.tool = tool
        self.settings = dict(settings or {})

    def _launch(
        self, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        path = self.root / 'etc' / 'uwsgi.ini'
        address = f'{cloud_glance.LOCALHOST}:{self.port}'
        write(path, self.tool, address, self.workers, self.settings)
        self.log.touch()
        return self._run(
            (*daemon.TIED, 'uwsgi', '--ini', str(path)),
            {k: v for k, v in environment.items() if k != PARENT},
        )


def write(
    path: Path,
    tool: str,
    address: str,
    processes: int,
    settings: Mapping[str, object],
    module: str = 'tests.cloud.uwsgi_app',
) -> None:
    """Write the file that uWSGI reads.

    :param tool: as in `TOOLS`
    :param address: where it listens, with its port
    :param processes: how many there are
    :param settings: other settings, by their name; without the one that is
        None
    :param module: has the application
    """
    # The plugins come first, as they know what the others mean.
    wanted: dict[str, object] = {
        'plugins': 'http,python3',
        'virtualenv': sys.prefix,
        'module': module,
        'processes': processes,
        'need-app': 'true',
        # They end with the first, however that ends.
        'no-orphans': 'true',
        **TOOLS[tool],
        **settings,
    }
    found = {
        name: str(value).format(address=address)
        for name, value in wanted.items()
        if value is not None
    }
    cloud_glance.write_sections(path, {'uwsgi': found})
