"""A real Glance in a process of its own."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import hashlib
import http.client
import http.server
import importlib.metadata
import json
import os
from pathlib import Path
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any
from typing import Callable
import uuid

import fixtures

from tests import patience
from tests.cloud import forks
from tests.cloud import glance_conf
from tests.cloud import identity
from tests.cloud import preloaded
from tests.cloud import web

REPOSITORY = Path(__file__).parents[2]
LOCALHOST = '127.0.0.1'
PROJECT = 'demo'
STORES = {
    'cheap': 'file',
    'fast': 'file',
    'reliable': 'file',
    'web': 'http',
}
#: The package's filter, as a pipeline has it.
FILTER = {'multistore': 'egg:nova-multistore#glance_api'}
_VERSION = int(importlib.metadata.version('glance').split('.')[0])
#: Whether an image in a store of type http needs no `show_locations`.
HAS_LOCATION_API = _VERSION >= 31
#: Whether a member of an image may look at it: these ask for its members in a
#: second transaction, which SQLite does not begin before the first has ended.
HAS_MEMBERS = not 28 <= _VERSION <= 30
#: How long a Glance may take to start, or an image to become active, in
#: seconds.
PATIENCE = 60


def token(
    project: str = PROJECT,
    roles: Iterable[str] = ('member', 'reader'),
    user: str | None = None,
) -> str:
    """Return the token that Glance takes for a user of a project."""
    return f'{user or project}:{project}:{",".join(roles)}'


def _admin(project: str) -> str:
    return token(project, ('admin', 'member', 'reader'))


#: The token of an administrator of a project that has no servers.
ADMIN = _admin('admin')


class GlanceFailed(Exception):
    """Raised if Glance does not come up, or answers with an error."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One request, as it reached Glance.

    Headers that were not sent are None.
    """

    time: float
    method: str
    path: str
    query: str
    token: str | None
    #: The answer's, 0 where there was none.
    status: int
    headers: Mapping[str, str]

    @property
    def store(self) -> str | None:
        return self.headers.get('x-image-meta-store')

    @property
    def base_image_ref(self) -> str | None:
        return self.headers.get('x-openstack-base-image-ref')

    @property
    def announced_size(self) -> int | None:
        size = self.headers.get('x-openstack-image-size')
        return None if size is None else int(size)

    @property
    def content_length(self) -> int | None:
        length = self.headers.get('content-length')
        return None if length is None else int(length)

    @property
    def chunked(self) -> bool:
        return self.headers.get('transfer-encoding') == 'chunked'

    @property
    def is_upload(self) -> bool:
        return self.method == 'PUT' and self.path.endswith('/file')


class Glance(fixtures.Fixture):
    """glance-api on SQLite, behind gunicorn, with `tests.cloud.identity`.

    :param root: an existing directory for all that this Glance writes
    :param stores: the type of each store by its id
    :param default: the id of the default store
    :param multi_store: without it, Glance has the default store alone and
        knows of no stores
    :param show_locations: show an image's locations to everyone
    :param flavor: the pipeline of glance-api-paste.ini that is used, "" for
        the default one; those without "keystone" are everyone's, as admin
    :param filters: paste filters to put after Glance's `context`: what `use`
        or `paste.filter_factory` says of each, or its whole section, by its
        name
    :param launcher: a command that starts the one that is put behind it
    :param workers: how many processes there are behind its port
    :param options: further options of glance-api.conf, as "group.name" or,
        in `[DEFAULT]`, "name"
    """

    def __init__(
        self,
        root: Path,
        stores: Mapping[str, str] = STORES,
        default: str = 'cheap',
        multi_store: bool = True,
        show_locations: bool = not HAS_LOCATION_API,
        flavor: str = 'keystone',
        filters: Mapping[str, str | Mapping[str, str]] | None = None,
        launcher: Iterable[str] = (),
        workers: int = 1,
        **options: object,
    ) -> None:
        self.root = Path(root).resolve()
        self.stores = dict(stores)
        self.default = default
        self.multi_store = multi_store
        self.show_locations = show_locations
        self.flavor = flavor
        self.filters = dict(filters or {})
        self.launcher = tuple(launcher)
        self.workers = workers
        self.options = options
        self.port, self.web_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | forks.Process | None = None
        self._web: http.server.ThreadingHTTPServer | None = None
        self._gates: dict[str, threading.Event] = {}
        #: Whether the server of the stores of type http says how long what
        #: it sends is.
        self.web_lengths = True

    @property
    def url(self) -> str:
        return f'http://{LOCALHOST}:{self.port}'

    @property
    def log(self) -> Path:
        return self.root / 'glance.log'

    @property
    def paste(self) -> Path:
        return self.root / 'etc' / 'glance-api-paste.ini'

    def directory(self, store: str) -> Path:
        """Return where a file store keeps its images, each under its id."""
        return self.root / 'stores' / store

    def _setUp(self) -> None:
        for directory in (
            self.root / 'etc',
            self.root / 'web',
            self.directory('os_glance_staging_store'),
            self.directory('os_glance_tasks_store'),
        ):
            directory.mkdir(parents=True, exist_ok=True)
        database = self.root / 'glance.sqlite'
        if not database.exists():
            shutil.copyfile(preloaded.migrated_database(), database)
        self.forget_requests()
        self.addCleanup(self._stop_web)
        self.addCleanup(self.stop)
        self.start()

    def start(
        self,
        stores: Mapping[str, str] | None = None,
        default: str | None = None,
    ) -> None:
        """Start Glance with what it had, and wait until it answers.

        :param stores: from now on have these stores instead
        :param default: from now on have this default store instead
        """
        if self._process is not None:
            raise GlanceFailed('Glance is running already')
        self.stores = dict(self.stores if stores is None else stores)
        self.default = default or self.default
        for store, kind in self.stores.items():
            if kind == 'file':
                self.directory(store).mkdir(parents=True, exist_ok=True)
        write_sections(self.paste, glance_conf.pipelines(self))
        write_sections(
            self.root / 'etc' / 'glance-api.conf', glance_conf.options(self)
        )
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(('GUNICORN_', 'OS_'))
        }
        path = [str(REPOSITORY), *filter(None, [os.getenv('PYTHONPATH')])]
        environment.update(
            OS_GLANCE_CONFIG_DIR=str(self.root / 'etc'),
            PYTHONPATH=os.pathsep.join(path),
            PYTHONWARNINGS='ignore',
            TESTS_CLOUD_PARENT=str(os.getpid()),
            # glance hands the command line to oslo.config in some releases.
            GUNICORN_CMD_ARGS=(
                f'--config python:tests.cloud.gunicorn '
                f'--bind {LOCALHOST}:{self.port} --workers {self.workers}'
            ),
        )
        self._process = self._launch(environment)
        self._wait_until_it_answers()

    def _launch(
        self, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | forks.Process:
        self.log.touch()
        if not self.launcher:
            return preloaded.start(self.root, environment, self.log)
        command = [*self.launcher, sys.executable, '-m', 'gunicorn']
        return self._run(command, environment)

    def _run(
        self, command: Iterable[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with self.log.open('ab') as log:
            return subprocess.Popen(
                [*command],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextlib.contextmanager
    def configured(
        self,
        filters: Mapping[str, str | Mapping[str, str]] | None = None,
        **options: object,
    ) -> Iterator[None]:
        """Have Glance configured in another way for a while.

        :param filters: as the constructor has them; None leaves them
        :param options: further options, as the constructor has them
        """
        before = self.filters, self.options
        self.stop()
        self.filters = dict(self.filters if filters is None else filters)
        self.options = {**self.options, **options}
        self.start()
        try:
            yield
        finally:
            self.stop()
            self.filters, self.options = before
            self.start()

    def stop(self) -> None:
        """Ask Glance to end, and wait for it; tasks that run are finished."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End Glance at once, in the midst of whatever it does."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Have Glance stand still: it takes connections, and says nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill_worker(self, number: int = 0) -> None:
        """End one of its processes at once; another takes its place.

        :param number: which of them
        """
        assert self._process is not None
        pid = self._process.pid
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(children[number % len(children)]), signal.SIGKILL)

    def requests(self) -> list[Request]:
        """Return what reached Glance, in the order of arrival.

        A request is listed as soon as its answer begins. What this class
        itself asks of Glance is left out.
        """
        lines = self.request_log.read_text().splitlines()
        entries = [Request(**json.loads(line)) for line in lines]
        return sorted(entries, key=lambda entry: entry.time)

    def forget_requests(self) -> None:
        self.request_log.write_text('')

    @property
    def request_log(self) -> Path:
        return self.root / 'requests.jsonl'

    # What a test asks of Glance. Plain HTTP from the standard library: it may
    # be imported before Nova, whichever way Nova then runs its threads.

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        project: str = PROJECT,
        admin: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request.

        :param body: bytes or an open file as they are, else put as JSON
        :returns: the answer's status and body
        """
        sent = {
            'X-Auth-Token': _admin(project) if admin else token(project),
            'User-Agent': identity.TESTS,
            **(headers or {}),
        }
        if body is not None and not (
            isinstance(body, bytes) or hasattr(body, 'read')
        ):
            body = json.dumps(body).encode()
            sent.setdefault('Content-Type', 'application/json')
        connection = http.client.HTTPConnection(
            LOCALHOST, self.port, timeout=PATIENCE
        )
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[Callable[[], bytes]]:
        """Begin a download.

        :returns: what reads on to the end, and returns all that came;
            `http.client.IncompleteRead` if Glance broke off
        """
        connection = http.client.HTTPConnection(
            LOCALHOST, self.port, timeout=PATIENCE
        )
        with contextlib.closing(connection):
            connection.request('GET', path, headers={'X-Auth-Token': token()})
            answer = connection.getresponse()
            if answer.status != 200:
                raise GlanceFailed(f'GET {path}: {answer.status}')
            begin = answer.read(1000)
            yield lambda: begin + answer.read()

    def _ask(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        status, body = self.request(method, path, *args, **kwargs)
        if status >= 400:
            raise GlanceFailed(
                f'{method} {path}: {status} {body.decode(errors="replace")}'
            )
        return json.loads(body) if body else None

    def image(
        self, image_id: str, project: str = PROJECT
    ) -> dict[str, Any] | None:
        """Return an image as a project's member sees it, or None."""
        status, body = self.request(
            'GET', f'/v2/images/{image_id}', project=project
        )
        if status == 404:
            return None
        if status != 200:
            raise GlanceFailed(f'{status} {body.decode(errors="replace")}')
        image: dict[str, Any] = json.loads(body)
        return image

    def images(self, project: str = PROJECT) -> list[dict[str, Any]]:
        """Return the images a project's member sees, the newest first."""
        answer = self._ask('GET', '/v2/images?limit=1000', project=project)
        images: list[dict[str, Any]] = answer['images']
        return images

    def stores_of(self, image_id: str) -> list[str]:
        """Return the ids of the stores in which Glance says an image is."""
        image = self._ask('GET', f'/v2/images/{image_id}', admin=True)
        return list(filter(None, image.get('stores', '').split(',')))

    def change_image(
        self,
        image_id: str,
        *changes: Mapping[str, object],
        project: str = PROJECT,
        admin: bool = False,
    ) -> None:
        """Change an image by operations of a JSON patch."""
        kind = 'application/openstack-images-v2.1-json-patch'
        self._ask(
            'PATCH',
            f'/v2/images/{image_id}',
            list(changes),
            project,
            admin,
            {'Content-Type': kind},
        )

    def create_image(
        self,
        data: Path | bytes,
        stores: Iterable[str] = ('fast',),
        disk_format: str = 'qcow2',
        name: str = 'base',
        visibility: str = 'private',
        project: str = PROJECT,
        **properties: str,
    ) -> str:
        """Create an active image.

        :param stores: the ids of the stores to put it in. It is uploaded
            into the first and copied to the others; in a store of type http
            it is a location, and the only one.
        :returns: the image's id
        """
        first, *others = stores
        image_id = self.create_queued_image(
            disk_format, name, visibility, project, **properties
        )
        if self.stores.get(first) == 'http':
            self._add_location(image_id, first, data, project)
        else:
            self._upload(image_id, first, data, project)
        if others:
            self.copy_image(image_id, others, project)
        return image_id

    def create_queued_image(
        self,
        disk_format: str = 'raw',
        name: str = 'image',
        visibility: str = 'private',
        project: str = PROJECT,
        **properties: str,
    ) -> str:
        """Create an image that waits for its data, and return its id."""
        image = self._ask(
            'POST',
            '/v2/images',
            {
                'name': name,
                'disk_format': disk_format,
                'container_format': 'bare',
                'visibility': visibility,
                **properties,
            },
            project=project,
            admin=True,
        )
        image_id: str = image['id']
        return image_id

    def _upload(
        self, image_id: str, store: str, data: Path | bytes, project: str
    ) -> None:
        headers = {'Content-Type': 'application/octet-stream'}
        if self.multi_store:
            headers['X-Image-Meta-Store'] = store
        path = f'/v2/images/{image_id}/file'
        if isinstance(data, bytes):
            self._ask('PUT', path, data, project, True, headers)
            return
        headers['Content-Length'] = str(data.stat().st_size)
        with data.open('rb') as body:
            self._ask('PUT', path, body, project, True, headers)

    def _add_location(
        self, image_id: str, store: str, data: Path | bytes, project: str
    ) -> None:
        url = self.serve(data)
        if self.show_locations:
            # What there is in releases without an API of its own for it.
            location = {'url': url, 'metadata': {'store': store}}
            self.change_image(
                image_id,
                {'op': 'add', 'path': '/locations/-', 'value': location},
                project=project,
                admin=True,
            )
        else:
            self._ask(
                'POST',
                f'/v2/images/{image_id}/locations',
                {'url': url},
                project,
                True,
            )
        self.finish_tasks(image_id)

    def serve(
        self, data: Path | bytes, gate: threading.Event | None = None
    ) -> str:
        """Serve data over HTTP, where Glance may get them from.

        :param gate: what each request waits for
        :returns: the URL
        """
        name = uuid.uuid4().hex
        if isinstance(data, bytes):
            (self.root / 'web' / name).write_bytes(data)
        else:
            shutil.copyfile(data, self.root / 'web' / name)
        if gate is not None:
            self._gates[f'/{name}'] = gate
        self._start_web()
        return f'http://{LOCALHOST}:{self.web_port}/{name}'

    def copy_image(
        self, image_id: str, stores: Iterable[str], project: str = PROJECT
    ) -> None:
        """Copy an image into further stores, and wait until it is there."""
        wanted = list(stores)
        self._ask(
            'POST',
            f'/v2/images/{image_id}/import',
            {
                'method': {'name': 'copy-image'},
                'stores': wanted,
                'all_stores_must_succeed': True,
            },
            project,
            True,
        )
        self.finish_tasks(image_id)
        if not set(wanted) <= set(self.stores_of(image_id)):
            raise GlanceFailed(f'{image_id} was not copied to {wanted}')

    def finish_tasks(self, image_id: str) -> None:
        """Wait until an image is active, and nothing is done to it.

        :raises GlanceFailed: it is not active in the end
        """
        begin = time.monotonic()
        left = patience.Patience(PATIENCE)
        while left:
            path = f'/v2/images/{image_id}'
            image = self._ask('GET', path, admin=True)
            passed = time.monotonic() - begin
            if passed < 1 and image.get('os_glance_import_task'):
                time.sleep(0.05)
                continue
            # After a failure, the task may hold the image for ever.
            tasks = self._ask('GET', f'{path}/tasks', admin=True)['tasks']
            failed = [t for t in tasks if t['status'] == 'failure']
            if failed:
                raise GlanceFailed(f'task failed: {failed[0]["message"]}')
            if image['status'] == 'active' and all(
                task['status'] == 'success' for task in tasks
            ):
                return
            time.sleep(0.05)
        raise GlanceFailed(f'tasks of {image_id} do not end')

    def delete_image(self, image_id: str) -> None:
        self._ask('DELETE', f'/v2/images/{image_id}', admin=True)

    def clear(self) -> None:
        """Delete all images."""
        for hidden in ('false', 'true'):
            query = f'limit=1000&visibility=all&os_hidden={hidden}'
            found = self._ask('GET', f'/v2/images?{query}', admin=True)
            for image in found['images']:
                self.delete_image(image['id'])

    def flip(self, store: str, image_id: str, place: int = 12345) -> None:
        """Change one bit of an image in a file store, behind Glance's back.

        :param place: of the byte that has it
        """
        path = self.directory(store) / image_id
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    def plant(self, image_id: str, data: bytes) -> None:
        """Have other data in Glance's staging area than an image has.

        Glance takes what has the right size there for what it has to copy.
        """
        path = self.directory('os_glance_staging_store') / image_id
        path.write_bytes(data)

    def size(self, image_id: str) -> int | None:
        """Return an image's size in bytes, as Glance has it."""
        size: int | None = self._ask(
            'GET', f'/v2/images/{image_id}', admin=True
        )['size']
        return size

    def files(self, image_id: str) -> dict[str, Path]:
        """Return the files of an image on disk.

        :returns: the file in each file store that has one, by the store's id
        """
        found = {
            store: self.directory(store) / image_id
            for store, kind in self.stores.items()
            if kind == 'file'
        }
        return {store: path for store, path in found.items() if path.exists()}

    def has_open(self, store: str, image_id: str) -> bool:
        """Tell whether one of its processes has the file of a copy open."""
        assert self._process is not None
        file = (self.directory(store) / image_id).resolve()
        pid = self._process.pid
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text()
        for child in (pid, *children.split()):
            for entry in Path(f'/proc/{child}/fd').iterdir():
                # It may be closed meanwhile.
                with contextlib.suppress(OSError):
                    if entry.readlink() == file:
                        return True
        return False

    def change_database(self, statement: str, *values: object) -> None:
        """Change what Glance has in its database, behind its back.

        :raises GlanceFailed: there was nothing to change
        """
        path = self.root / 'glance.sqlite'
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            changed = database.execute(statement, values).rowcount
            database.commit()
        if changed < 1:
            raise GlanceFailed(f'no row for {statement}')

    def age(self, image_id: str, minutes: int = 121) -> None:
        """Have an image last changed so long ago."""
        self.change_database(
            "UPDATE images SET updated_at = datetime('now', ?) WHERE id = ?",
            f'-{minutes} minutes',
            image_id,
        )

    def age_tasks(self, image_id: str, minutes: int = 61) -> None:
        """Have the tasks of an image last said something so long ago."""
        self.change_database(
            "UPDATE tasks SET updated_at = datetime('now', ?) "
            'WHERE image_id = ?',
            f'-{minutes} minutes',
            image_id,
        )

    def sha256(self, image_id: str) -> dict[str, str]:
        """Return the digest of each of `files`, in hexadecimal."""
        return {
            store: _sha256(path)
            for store, path in self.files(image_id).items()
        }

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        left = patience.Patience(PATIENCE)
        while self._process.poll() is None and left:
            try:
                # The port is open before Glance is loaded.
                if self.request('GET', '/')[0] == 300:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.kill()
        raise GlanceFailed(f'Glance did not come up:\n{self.last_lines()}')

    def last_lines(self) -> str:
        """Return the end of the log, for a test that failed."""
        lines = self.log.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-40:])

    def _start_web(self) -> None:
        if self._web is not None:
            return
        handler = functools.partial(
            web.Files,
            self._gates,
            lambda: self.web_lengths,
            directory=str(self.root / 'web'),
        )
        self._web = http.server.ThreadingHTTPServer(
            (LOCALHOST, self.web_port), handler
        )
        threading.Thread(target=self._web.serve_forever, daemon=True).start()

    def _stop_web(self) -> None:
        if self._web is not None:
            self._web.shutdown()
            self._web.server_close()
            self._web = None


def free_ports(count: int) -> list[int]:
    """Return so many ports that are free."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOCALHOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def write_sections(
    path: Path, sections: Mapping[str, Mapping[str, object]]
) -> None:
    """Write a configuration file."""
    lines = []
    for section, options in sections.items():
        lines.append(f'[{section}]')
        lines += [f'{name} = {value}' for name, value in options.items()]
    path.write_text('\n'.join([*lines, '']))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as data:
        while chunk := data.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
