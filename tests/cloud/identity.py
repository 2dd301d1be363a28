"""A paste filter in Keystone's place, which also keeps the access log.

A token tells who its bearer is, as "user:project:role,role,...", and so does a
service token. Whatever passes is written down, one JSON object a line, so that
a test can say what went over the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
import json
import os
import time
from typing import Any
from typing import Callable

Application = Callable[..., Iterable[bytes]]

#: The User-Agent of requests that are not worth a line.
TESTS = 'tests.cloud'

#: What `Request` in `tests.cloud.glance` shows of a request's headers.
HEADERS = (
    'content-length',
    'transfer-encoding',
    'x-image-meta-store',
    'x-openstack-base-image-ref',
    'x-openstack-image-size',
)


def identify(token: str) -> dict[str, str]:
    """Return what keystonemiddleware would tell about a token.

    :param token: "user:project:role,role,..."
    :returns: WSGI environment keys with their values
    """
    try:
        user, project, roles = token.split(':')
    except ValueError:
        return {'HTTP_X_IDENTITY_STATUS': 'Invalid'}
    return {
        'HTTP_X_IDENTITY_STATUS': 'Confirmed',
        'HTTP_X_USER_ID': user,
        'HTTP_X_USER_NAME': user,
        'HTTP_X_PROJECT_ID': project,
        'HTTP_X_PROJECT_NAME': project,
        'HTTP_X_ROLES': roles,
    }


def identify_service(token: str) -> dict[str, str]:
    """Return what keystonemiddleware would tell about a service token.

    :param token: "user:project:role,role,..."; empty if there is none
    :returns: WSGI environment keys with their values
    """
    try:
        _user, _project, roles = token.split(':')
    except ValueError:
        return {}
    return {
        'HTTP_X_SERVICE_IDENTITY_STATUS': 'Confirmed',
        'HTTP_X_SERVICE_ROLES': roles,
    }


def _header(environ: dict[str, Any], name: str) -> str | None:
    key = name.upper().replace('-', '_')
    value = environ.get(f'HTTP_{key}', environ.get(key))
    return value or None


class Identity:
    """Believe the token, and log the request once its answer begins."""

    def __init__(self, application: Application, log: str) -> None:
        self.application = application
        # Appending lets the reader empty the file behind our back.
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        entry = {
            'time': time.time(),
            'method': environ['REQUEST_METHOD'],
            'path': environ['SCRIPT_NAME'] + environ['PATH_INFO'],
            'query': environ.get('QUERY_STRING', ''),
            'token': _header(environ, 'x-auth-token'),
            'headers': {
                name: value
                for name in HEADERS
                if (value := _header(environ, name)) is not None
            },
        }
        environ.update(identify(entry['token'] or ''))
        environ.update(
            identify_service(_header(environ, 'x-service-token') or '')
        )
        if environ.get('HTTP_USER_AGENT') == TESTS:
            return self.application(environ, start_response)

        def answer(status: str, *args: Any, **kwargs: Any) -> Any:
            self._write(entry, int(status.split()[0]))
            return start_response(status, *args, **kwargs)

        try:
            return self.application(environ, answer)
        except BaseException:
            self._write(entry, 0)
            raise

    def _write(self, entry: dict[str, Any], status: int) -> None:
        line = json.dumps({**entry, 'status': status}) + '\n'
        os.write(self.log, line.encode())


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[Application], Identity]:
    """Make the filter for paste.

    :param local_conf: `log`, the path of the access log
    """
    return lambda application: Identity(application, local_conf['log'])
