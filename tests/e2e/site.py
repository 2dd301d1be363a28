"""What every service of the cloud has to know, and how one is run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import configparser
import dataclasses
import http.client
import json
import os
from pathlib import Path
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from tests import patience

REPOSITORY = Path(__file__).parents[2]
LOCALHOST = '127.0.0.1'
REGION = 'RegionOne'
#: The names that need a port of their own.
PORTS = (
    'ceph',
    'ceph-legacy',
    'cinder',
    'epmd',
    'glance',
    'glance-dcn0',
    'glance-dcn1',
    'keystone',
    'mariadb',
    'neutron',
    'nova',
    'placement',
    'rabbitmq',
    'rabbitmq-distribution',
    'web',
)
#: How long a service may take to answer, in seconds.
PATIENCE = 90
#: How much of a log is shown where something failed, in lines.
TAIL = 25

Sections = Mapping[str, Mapping[str, object]]


class CloudFailed(Exception):
    """Raised if a part of the cloud does not come up."""


def free_ports() -> dict[str, int]:
    """Return a free port for each name, no two the same."""
    sockets = {name: socket.socket() for name in PORTS}
    try:
        for each in sockets.values():
            each.bind((LOCALHOST, 0))
        return {name: each.getsockname()[1] for name, each in sockets.items()}
    finally:
        for each in sockets.values():
            each.close()


def tail(log: Path) -> str:
    """Return the last lines of a log, under its name."""
    lines: list[str] = []
    if log.exists():
        lines = log.read_text(errors='replace').splitlines()[-TAIL:]
    return '\n'.join([f'The end of {log}:', *lines])


@dataclasses.dataclass
class Site:
    """One cloud: where it is, its ports, its secret, what runs.

    :param root: the directory for all that the cloud writes
    :param password: of every user of every service
    :param images_type: nova-compute's `[libvirt] images_type`
    :param patched: whether nova-compute is started with the package
    """

    root: Path
    password: str
    ports: dict[str, int]
    images_type: str = 'qcow2'
    patched: bool = True
    processes: dict[str, subprocess.Popen[bytes]] = dataclasses.field(
        default_factory=dict
    )

    @classmethod
    def load(cls, root: Path) -> Site:
        """Read what `save` wrote."""
        settings = json.loads((root / 'site.json').read_text())
        return cls(root, **settings)

    def save(self) -> None:
        path = self.root / 'site.json'
        path.touch(0o600)
        settings = {
            'password': self.password,
            'ports': self.ports,
            'images_type': self.images_type,
            'patched': self.patched,
        }
        path.write_text(json.dumps(settings))

    @property
    def logs(self) -> Path:
        return self.root / 'logs'

    @property
    def openrc(self) -> Path:
        return self.root / 'openrc'

    @property
    def bin(self) -> Path:
        """Where the virtualenv has its commands."""
        return Path(sys.prefix) / 'bin'

    def log(self, name: str) -> Path:
        return self.logs / f'{name}.log'

    def directory(self, *names: str) -> Path:
        """Return a directory of the cloud's own, made if need be."""
        path = self.root.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def url(self, name: str) -> str:
        return f'http://{LOCALHOST}:{self.ports[name]}'

    def database(self, name: str) -> str:
        return (
            f'mysql+pymysql://openstack:{self.password}@{LOCALHOST}:'
            f'{self.ports["mariadb"]}/{name}?charset=utf8'
        )

    @property
    def transport(self) -> str:
        return (
            f'rabbit://openstack:{self.password}@{LOCALHOST}:'
            f'{self.ports["rabbitmq"]}/'
        )

    def credentials(self, user: str) -> dict[str, object]:
        """Return keystoneauth's options for a service's own user."""
        return {
            'auth_type': 'password',
            'auth_url': f'{self.url("keystone")}/v3',
            'username': user,
            'password': self.password,
            'user_domain_name': 'Default',
            'project_name': 'service',
            'project_domain_name': 'Default',
            'region_name': REGION,
        }

    def environment(self, **more: object) -> dict[str, str]:
        """Return the environment of a process of the cloud.

        What a caller has set for a cloud or a gunicorn of their own is kept
        out, and so is a proxy.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('GUNICORN_', 'OS_', 'PYTHON'))
        }
        environment.update(
            HOME=str(self.directory('home')),
            LC_ALL='C.UTF-8',
            NO_PROXY=LOCALHOST,
            PATH=f'{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin',
            PYTHONPATH=str(REPOSITORY),
            PYTHONUNBUFFERED='1',
            PYTHONWARNINGS='ignore',
            no_proxy=LOCALHOST,
        )
        environment.update({name: str(value) for name, value in more.items()})
        return environment

    def run(self, name: str, *command: object, **environment: object) -> None:
        """Run a command to its end.

        :param name: of the log that it writes to
        :raises CloudFailed: if it fails
        """
        arguments = [str(part) for part in command]
        with self.log(name).open('ab') as log:
            status = subprocess.run(
                arguments,
                cwd=self.root,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            ).returncode
        if status:
            raise CloudFailed(
                f'{Path(arguments[0]).name} {" ".join(arguments[1:3])} '
                f'failed ({status}). {tail(self.log(name))}'
            )

    def start(
        self, name: str, *command: object, **environment: object
    ) -> None:
        """Start a process that is to run as long as the cloud does."""
        with self.log(name).open('ab') as log:
            self.processes[name] = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.root,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def serve(
        self, name: str, application: str, **environment: object
    ) -> None:
        """Start a WSGI application behind gunicorn."""
        # The applications hand the command line to oslo.config: it has to be
        # bare.
        self.start(
            name,
            self.bin / 'gunicorn',
            GUNICORN_CMD_ARGS='--config python:tests.e2e.gunicorn',
            E2E_APPLICATION=application,
            E2E_BIND=f'{LOCALHOST}:{self.ports[name]}',
            **environment,
        )

    def wait(self, name: str, answers: Callable[[], bool]) -> None:
        """Wait until a process does what it is for.

        :param answers: tells whether it does; an OSError means not yet
        :raises CloudFailed: if it ends, or takes too long
        """
        left = patience.Patience(PATIENCE)
        while left:
            process = self.processes.get(name)
            if process is not None and process.poll() is not None:
                raise CloudFailed(f'{name} ended. {tail(self.log(name))}')
            try:
                if answers():
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.2)
        raise CloudFailed(
            f'{name} does not answer after {PATIENCE} s. '
            f'{tail(self.log(name))}'
        )

    def wait_for_http(self, name: str, path: str = '/') -> None:
        # gunicorn opens the port before it loads the application.
        self.wait(name, lambda: self.request(name, 'GET', path)[0] < 500)

    def request(
        self,
        name: str,
        method: str,
        path: str,
        body: object = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], Any]:
        """Send a service one request.

        :param body: bytes, or what is sent as JSON
        :returns: the answer's status, headers and, from JSON, body
        """
        connection = http.client.HTTPConnection(
            LOCALHOST, self.ports[name], timeout=30
        )
        kind = 'application/json'
        if isinstance(body, bytes):
            kind = 'application/octet-stream'
        elif body is not None:
            body = json.dumps(body)
        headers = {'Content-Type': kind, **(headers or {})}
        if token:
            headers['X-Auth-Token'] = token
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        is_json = 'json' in answer.headers.get('Content-Type', '')
        return (
            answer.status,
            answer.headers,
            json.loads(data) if data and is_json else data,
        )

    def write(self, path: Path, sections: Sections) -> Path:
        """Write a configuration file.

        Options that are None are left out.
        """
        parser = configparser.RawConfigParser()
        for section, options in sections.items():
            # configparser has a DEFAULT of its own that need not be added.
            if section != 'DEFAULT':
                parser.add_section(section)
            for name, value in options.items():
                if value is not None:
                    parser.set(section, name, str(value))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('w') as file:
            parser.write(file)
        return path

    def authtoken(self, user: str) -> dict[str, object]:
        """Return what keystonemiddleware needs to check tokens."""
        return {
            **self.credentials(user),
            'www_authenticate_uri': f'{self.url("keystone")}/v3',
            'service_token_roles': 'service',
            'service_token_roles_required': True,
        }

    def privsep(self, path: Path, *sections: str) -> Sections:
        """Return what has privileged helpers be started without sudo.

        :param path: of the configuration file
        :param sections: of the helpers
        """
        command = f'{self.bin / "privsep-helper"} --config-file {path}'
        return {section: {'helper_command': command} for section in sections}


def in_parallel(*calls: Callable[[], object]) -> None:
    """Make the calls side by side; raise what the first to fail raised."""
    failures: list[BaseException] = []

    def make(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as exc:
            failures.append(exc)

    threads = [
        threading.Thread(target=make, args=[call], daemon=True)
        for call in calls
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not failures:
        time.sleep(0.05)
    if failures:
        raise failures[0]
