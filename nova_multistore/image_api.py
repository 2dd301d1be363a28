"""Requests to Glance's image API, for Nova's services and for the commands."""

from __future__ import annotations

import hashlib
import html
import re
import time
from typing import TYPE_CHECKING
from typing import Any
import urllib.parse

from keystoneauth1 import exceptions as auth_exceptions

from nova_multistore import digests
from nova_multistore import exception
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator
    from collections.abc import Iterator
    from collections.abc import Sequence
    from typing import BinaryIO

    from keystoneauth1 import adapter

#: How long Glance may take to answer once it has all of a file, in seconds.
STAGING = 600.0
# Type of a change of an image, in Glance's API.
_PATCH = 'application/openstack-images-v2.1-json-patch'
#: How many images Glance lists at once, at most; its configuration may say
#: fewer.
PAGE = 1000
#: How long it may take to list them, in seconds.
PAGE_TIMEOUT = 60.0
#: How long Glance may be silent while it sends data, in seconds.
READ_TIMEOUT = 60.0
#: The status with which a Glance without the filter refuses to read one copy:
#: it knows the path for another method.
NO_FILTER = 405
#: How long to ask for a digest while Glance computes others, in seconds. After
#: that, the data are read.
BUSY_TIMEOUT = 600.0
# What Glance says if one of its policies does not allow an action.
_DENIED = re.compile(r'not authorized to complete (\w+) action')
# What these policies are about.
_ACTIONS = {
    'add_image': 'create images',
    'communitize_image': 'share images with everybody',
    'copy_image': 'copy images to other stores',
    'delete_image': 'delete this image',
    'delete_image_location': 'delete an image from a store',
    'download_from_store': 'choose the store that an image is read from',
    'download_image': 'read the data of this image',
    'get_image': 'see this image',
    'get_images': 'list images',
    'modify_image': 'change this image',
    'publicize_image': 'make images public',
    'upload_image': 'send the data of an image',
}
_FOR_ADMINISTRATORS = (
    'copy_image',
    'delete_image_location',
    'publicize_image',
)
# An id that no image has.
_NOBODY = '00000000-0000-0000-0000-000000000000'
# How much of the data is taken at once, in bytes.
_PIECE = 1 << 20


class Images:
    """Glance's image API.

    :param connect: returns the adapter that sends the next request, to paths
        below the root of version 2 of the API
    :param timeout: how long Glance may take to answer, in seconds
    """

    def __init__(
        self,
        connect: Callable[[], adapter.Adapter],
        timeout: float = stores.TIMEOUT,
    ) -> None:
        self._connect = connect
        self._timeout = timeout

    def show(self, image_id: str) -> dict[str, Any]:
        """Return an image, as Glance's API has it.

        :param image_id: its id
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: it does not exist or is not visible
        """
        image = self.ask('GET', f'/images/{image_id}')
        if not isinstance(image, dict):
            raise exception.LookupFailed('the answer is not an image')
        return image

    def create(self, **attributes: Any) -> dict[str, Any]:
        """Create an image that waits for its data.
        :param attributes: those of the image, as Glance's API names them
        :returns: the image, as Glance's API has it
        :param attributes: those of the image, as Glance's API names them
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused
        """
        image: dict[str, Any] = self.ask('POST', '/images', attributes)
        return image

    def stage(self, image_id: str, data: BinaryIO) -> None:
        """Send the data of an image, for an import by glance-direct.

        :param image_id: the image's id
        :param data: an open file, whose length is announced
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused the data
        """
        self._send(
            'PUT',
            f'/images/{image_id}/stage',
            data=data,
            headers={'Content-Type': 'application/octet-stream'},
            timeout=STAGING,
            # A second try would lack what was already read from the file.
            allow_reauth=False,
            connect_retries=0,
            status_code_retries=0,
            redirect=False,
        )

    def delete(self, image_id: str) -> None:
        """Delete an image.

        :param image_id: the image's id
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused
        """
        self.ask('DELETE', f'/images/{image_id}')

    def page(
        self, marker: str | None = None, **filters: str
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return one page of a listing, the newest image first.

        :param marker: id of the image after which it begins
        :param filters: what the images have in common
        :returns: images, as Glance's API has them, and whether there are more
        :raises LookupFailed: Glance did not answer, or sent no list
        :raises GlanceRefused: Glance refused, or there is no such marker
        """
        query = {'limit': str(PAGE), **filters}
        if marker is not None:
            query['marker'] = marker
        try:
            body = self._send(
                'GET',
                f'/images?{urllib.parse.urlencode(query)}',
                timeout=PAGE_TIMEOUT,
            )
            return list(body['images']), 'next' in body
        except (KeyError, TypeError) as exc:
            raise exception.LookupFailed(
                'the answer holds no list of images'
            ) from exc

    def tasks(self, image_id: str) -> list[dict[str, Any]]:
        """Return the tasks of an image, none if they are not visible.

        :param image_id: its id
        :raises LookupFailed: Glance did not answer
        """
        try:
            found: list[dict[str, Any]] = self.ask(
                'GET', f'/images/{image_id}/tasks'
            )['tasks']
        except exception.GlanceRefused:
            return []
        return found

    def import_data(
        self,
        image_id: str,
        wanted: Sequence[str],
        must_succeed: bool = False,
        **method: str,
    ) -> None:
        """Ask for an import; Glance does it in the background.

        :param image_id: the image's id
        :param wanted: store ids
        :param must_succeed: whether one store that fails undoes the others
        :param method: ``name`` of the import method, and its arguments
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused
        """
        self.ask(
            'POST',
            f'/images/{image_id}/import',
            {
                'method': method,
                'stores': list(wanted),
                'all_stores_must_succeed': must_succeed,
            },
        )

    def set_property(self, image_id: str, name: str, value: str) -> None:
        """Write one property of an image.

        :param image_id: the image's id
        :param name: name of the property
        :param value: its value
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused
        """
        self._change(image_id, op='add', path=f'/{name}', value=value)

    def remove_property(self, image_id: str, name: str) -> None:
        """Remove one property of an image.

        :param image_id: the image's id
        :param name: name of the property
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused, or there is no such property
        """
        self._change(image_id, op='remove', path=f'/{name}')

    def _change(self, image_id: str, **operation: str) -> None:
        self._send(
            'PATCH',
            f'/images/{image_id}',
            json=[operation],
            headers={'Content-Type': _PATCH},
            timeout=self._timeout,
        )

    def delete_from(self, image_id: str, store: str) -> None:
        """Delete the data of an image in one store.

        :param image_id: the image's id
        :param store: store id
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: Glance refused; always for the last store
        """
        self.ask('DELETE', f'/stores/{store}/{image_id}')

    def digest(
        self,
        image_id: str,
        store: str,
        algorithm: str,
        report: Callable[[int], None] = lambda received: None,
    ) -> Generator[float, None, digests.Digest]:
        """Return the digest of an image as one store has it.

        The package's filter in Glance's pipeline answers this request; a
        Glance without the filter refuses. The filter computes the digest. If
        it does not, as its earlier versions, it sends the data, which are
        hashed here. While it computes others, it is asked again.

        :param image_id: the image's id
        :param store: store id
        :param algorithm: name of the hash, as hashlib has it
        :param report: called with the size of each piece that was read, in
            bytes
        :returns: yields for how long to pause before the next step, in
            seconds, and returns the digest
        :raises LookupFailed: Glance did not answer, or not with all data, or
            not with such a digest
        :raises GlanceRefused: Glance refused; 410 if the store lost the data
        """
        began = time.monotonic()
        while True:
            wish = {digests.PARAMETER: algorithm}
            if time.monotonic() - began > BUSY_TIMEOUT:
                wish = {}
            try:
                answer = self._open_copy(image_id, store, **wish)
                break
            except exception.GlanceRefused as exc:
                if exc.status != digests.BUSY or not wish:
                    raise
            yield digests.RETRY_AFTER
        kind = answer.headers.get('Content-Type', '').partition(';')[0]
        if wish and kind == digests.CONTENT_TYPE:
            told = digests.read(
                _lines(answer), image_id, store, algorithm, report
            )
            return (yield from told)
        hashed = hashlib.new(algorithm, usedforsecurity=False)
        size = 0
        for piece in _data(answer):
            hashed.update(piece)
            size += len(piece)
            report(len(piece))
            yield 0.0
        return digests.Digest(
            image_id, store, algorithm, hashed.hexdigest(), size
        )

    def _open_copy(self, image_id: str, store: str, **query: str) -> Any:
        """Ask for a copy of an image; return an answer that is to be read."""
        path = f'/stores/{urllib.parse.quote(store, safe="")}/{image_id}'
        if query:
            path += f'?{urllib.parse.urlencode(query)}'
        return self._request('GET', path, timeout=READ_TIMEOUT, stream=True)

    def reads_copies(self) -> bool:
        """Tell whether Glance has the filter that reads one copy.

        :raises LookupFailed: Glance did not answer
        """
        try:
            with self._open_copy(_NOBODY, 'none'):
                return True
        except exception.GlanceRefused as exc:
            return exc.status != NO_FILTER

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request.

        :param method: the HTTP method
        :param path: below the root of version 2
        :param body: what is sent as JSON
        :returns: the decoded answer, None if it is empty
        :raises ServiceAway: Glance did not answer, or failed
        :raises LookupFailed: Glance's answer is not JSON, or Keystone gives
            no token
        :raises GlanceRefused: Glance refused
        """
        return self._send(method, path, json=body, timeout=self._timeout)

    def _send(self, method: str, path: str, **how: Any) -> Any:
        """Return the decoded answer, None if it is empty."""
        answer = self._request(method, path, **how)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as exc:
            raise exception.LookupFailed('the answer is not JSON') from exc

    def _request(self, method: str, path: str, **how: Any) -> Any:
        try:
            answer = self._connect().request(
                path, method, raise_exc=False, **how
            )
        except auth_exceptions.ClientException as exc:
            away = isinstance(
                exc,
                (
                    auth_exceptions.ConnectionError,
                    auth_exceptions.HttpServerError,
                ),
            )
            kind = (
                exception.ServiceAway
                if away
                else exception.AuthenticationFailed
            )
            raise kind(
                f'Glance did not answer ({" ".join(str(exc).split())})'
            ) from exc
        status = answer.status_code
        if status >= 500:
            raise exception.ServiceAway(f'Glance answered {status}', status)
        if status >= 400:
            raise exception.GlanceRefused(status, _explanation(answer))
        return answer


def _data(answer: Any) -> Iterator[bytes]:
    """Return the body of an answer, in pieces.

    :raises LookupFailed: Glance did not send all of it
    """
    received = 0
    try:
        with answer:
            expected = _length(answer)
            for piece in answer.iter_content(_PIECE):
                received += len(piece)
                yield piece
    except OSError as exc:
        raise exception.ServiceAway(
            f'Glance broke off after {received} of {expected} bytes'
        ) from exc
    if received != expected:
        raise exception.ServiceAway(
            f'Glance broke off after {received} of {expected} bytes'
        )


def _lines(answer: Any) -> Iterator[bytes]:
    """Return the body of an answer, in lines, each as soon as it comes.

    :raises LookupFailed: Glance did not send all of it
    """
    try:
        with answer:
            # With more at once, a line would wait for the next ones.
            yield from answer.iter_lines(chunk_size=1)
    except OSError as exc:
        raise exception.ServiceAway(digests.BROKEN_OFF) from exc


def _length(answer: Any) -> int:
    """Return how long an answer's body is, in bytes.

    :raises LookupFailed: Glance does not tell, or something on the way to it
        has removed the header
    """
    try:
        return int(answer.headers['Content-Length'])
    except (KeyError, ValueError) as exc:
        raise exception.LookupFailed(
            'Glance does not say how long the data are'
        ) from exc


def _explanation(answer: Any) -> str:
    """Return why Glance refuses, without HTML and schemas."""
    try:
        text = str(answer.json()['message'])
    except (ValueError, KeyError, TypeError):
        text = re.sub(r'(?s)<head>.*</head>', '', answer.text)
    text = re.sub(r'<h1>.*?</h1>|^\d{3} [^<]*<br */?>', '', text)
    text = html.unescape(re.sub(r'<[^>]*>', ' ', text))
    text = ' '.join(text.partition('Failed validating')[0].split())
    if denied := _DENIED.search(text):
        return _not_allowed(denied[1])
    return text


def _not_allowed(policy: str) -> str:
    """Say what a policy of Glance does not allow.

    :param policy: its name
    """
    words = _ACTIONS.get(policy, 'do this')
    default = ''
    if policy in _FOR_ADMINISTRATORS:
        default = ', by default for administrators alone'
    return f'this user may not {words} (policy {policy}{default})'
