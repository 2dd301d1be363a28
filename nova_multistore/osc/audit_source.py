"""What an audit asks Glance and Nova, with retries and a cache."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions

from nova_multistore import audit
from nova_multistore import bounded
from nova_multistore import exception
from nova_multistore import stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from nova_multistore.osc.cloud import Cloud

T = TypeVar('T')

#: The pauses before each retry of a question without an answer, in seconds.
#: Together they are longer than a restart of Glance.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: How many base images, and how many servers, the cache holds.
CACHED = 1024

# What the cache holds of each.
_OF_IMAGE = ('id', 'stores', 'base_image_ref')
_OF_SERVER = ('name', 'status', 'image', 'OS-EXT-STS:task_state')


class Source:
    """The images, servers and tasks that an audit looks up.

    :param cloud: the cloud
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._images = cloud.images
        self._server = functools.lru_cache(CACHED)(self._ask_server)
        self._silent = False
        #: How many servers Nova did not show.
        self.untold = 0
        #: How to look up what a judgement depends on.
        self.lookups = audit.Lookups(
            image=functools.lru_cache(CACHED)(self._ask_image),
            server=self._server,
            tasks=lambda image_id: _patiently(
                lambda: self._images.tasks(image_id)
            ),
        )

    def pages(self, **filters: str) -> Iterator[list[dict[str, Any]]]:
        """List images page by page, and ask for each page when it is needed.

        :param filters: filters of Glance's API
        :returns: images, as Glance's API has them
        :raises LookupFailed: Glance did not answer
        :raises GlanceRefused: it will not list them
        """
        before: list[str] = []
        more = True
        while more:
            images, more = self._page(before, filters)
            before = [image['id'] for image in images]
            self._server.cache_clear()
            yield images

    def _page(
        self, before: list[str], filters: dict[str, str]
    ) -> tuple[list[dict[str, Any]], bool]:
        """Ask for the page that follows some images.

        :param before: ids of these images; any may be deleted by now
        """
        while True:
            marker = before[-1] if before else None
            try:
                return _patiently(
                    functools.partial(self._images.page, marker, **filters)
                )
            except exception.GlanceRefused as exc:
                # Glance's answer if the marker was deleted.
                if exc.status != 400 or len(before) < 2:
                    raise
                before.pop()

    def _ask_image(self, image_id: str) -> dict[str, Any] | None:
        try:
            image = _patiently(lambda: self._images.show(image_id))
        except exception.GlanceRefused:
            return None
        return {key: image[key] for key in _OF_IMAGE if key in image}

    def _ask_server(self, server_id: str) -> dict[str, Any] | None:
        """Return a server, empty if Nova does not show it."""
        try:
            if not self._silent:
                server = _patiently(lambda: self._server_now(server_id))
                return server and {
                    key: server[key] for key in _OF_SERVER if key in server
                }
        except sdk_exceptions.HttpException:
            pass
        except exception.LookupFailed:
            # Further questions would take as long.
            self._silent = True
        self.untold += 1
        return {}

    def _server_now(self, server_id: str) -> dict[str, Any] | None:
        try:
            return bounded.call(
                lambda: self._cloud.server_now(server_id), stores.TIMEOUT
            )
        except auth_exceptions.ClientException as exc:
            raise exception.LookupFailed(str(exc)) from exc


def _patiently(ask: Callable[[], T]) -> T:
    for pause in PAUSES:
        try:
            return ask()
        except exception.LookupFailed:
            time.sleep(pause)
    return ask()
