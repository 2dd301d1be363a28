"""A real Glance behind uWSGI, as Kolla and Debian have it.

uWSGI loads Debian's own Python, so the virtualenv has to be made with that.
"""

from __future__ import annotations

from collections.abc import Mapping
import subprocess
import sys
from typing import Any

from tests.cloud import daemon
from tests.cloud import glance as cloud_glance

#: Where its program comes from.
PACKAGES = 'Debian packages uwsgi-core and uwsgi-plugin-python3'
#: The largest piece of a body that it takes, in bytes, as Kolla sets it.
#: uWSGI's own 1 MiB is less than the pieces that OpenStack's clients send.
CHUNK = 64 << 20
#: What has gunicorn end with the process of that id.
PARENT = 'TESTS_CLOUD_PARENT'


class Glance(cloud_glance.Glance):
    """glance-api on SQLite, behind uWSGI.

    :param socket: what clients talk to: "http", a process of uWSGI that
        passes on what it reads (Kolla), or "http-socket", the process that
        runs Glance (Debian, devstack)
    :param chunk: the largest piece of a body that it takes, in bytes
    :param settings: further settings of uwsgi.ini
    :param arguments: as the other constructor has them
    """

    def __init__(
        self,
        *arguments: Any,
        socket: str = 'http',
        chunk: int = CHUNK,
        workers: int = 2,
        settings: Mapping[str, object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, workers=workers, **options)
        self.socket = socket
        self.chunk = chunk
        self.settings = dict(settings or {})

    def _launch(
        self, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        settings: dict[str, object] = {
            'plugins': 'http,python3',
            self.socket: f'{cloud_glance.LOCALHOST}:{self.port}',
            'virtualenv': sys.prefix,
            'module': 'tests.cloud.uwsgi_app',
            'processes': self.workers,
            'master': 'true',
            'need-app': 'true',
            'lazy-apps': 'true',
            'enable-threads': 'true',
            'thunder-lock': 'true',
            'die-on-term': 'true',
            'no-orphans': 'true',
            'buffer-size': 65535,
            'add-header': 'Connection: close',
            'worker-reload-mercy': 5,
            'chunked-input-limit': self.chunk,
        }
        if self.socket == 'http':
            # Not in one piece, whose length Glance would be told.
            settings['http-chunked-input'] = 'true'
            settings['http-auto-chunked'] = 'true'
        # The plugins come first, as they know what the others mean.
        settings.update(self.settings)
        path = self.root / 'etc' / 'uwsgi.ini'
        cloud_glance.write_sections(path, {'uwsgi': settings})
        self.log.touch()
        # uWSGI sees to it that its processes end with the first.
        return self._run(
            (*daemon.TIED, 'uwsgi', '--ini', str(path)),
            {k: v for k, v in environment.items() if k != PARENT},
        )
