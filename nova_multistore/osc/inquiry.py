"""What an audit asks of Glance and Nova, patiently."""

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

#: How long to wait each time before what did not answer is asked again, in
#: seconds: as long as a Glance takes to start anew.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: How many base images, and how many servers, are remembered.
REMEMBERED = 1024

# What is remembered of each.
_OF_IMAGE = ('id', 'stores', 'base_image_ref')
_OF_SERVER = ('name', 'status', 'image', 'OS-EXT-STS:task_state')


class Inquiry:
    """Asks, again if need be, and remembers a little.

    :param cloud: what to ask
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._images = cloud.images
        self._server = functools.lru_cache(REMEMBERED)(self._ask_server)
        self._silent = False
        #: How many times Nova did not tell of a server.
        self.untold = 0
        #: What judgements may hang on.
        self.records = audit.Records(
            image=functools.lru_cache(REMEMBERED)(self._ask_image),
            server=self._server,
            tasks=lambda image_id: _patiently(
                lambda: self._images.tasks(image_id)
            ),
        )

    def pages(self, **filters: str) -> Iterator[list[dict[str, Any]]]:
        """List images, one page at a time, each asked for when it is due.

        :param filters: what the images have in common
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
        """Ask for the page after the images before, the last of which may be
        deleted by now.
        """
        while True:
            marker = before[-1] if before else None
            try:
                return _patiently(
                    functools.partial(self._images.page, marker, **filters)
                )
            except exception.GlanceRefused as exc:
                # So Glance answers where there is no such marker.
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
        """Return a server; of one that Nova does not tell of, nothing."""
        try:
            if not self._silent:
                server = _patiently(lambda: self._server_now(server_id))
                return server and {
                    key: server[key] for key in _OF_SERVER if key in server
                }
        except sdk_exceptions.HttpException:
            pass
        except exception.LookupFailed:
            # Every further question would take as long.
            self._silent = True
        self.untold += 1
        return {}

    def _server_now(self, server_id: str) -> dict[str, Any] | None:
        try:
            return bounded.wait(
                bounded.start(lambda: self._cloud.server_now(server_id)),
                stores.TIMEOUT,
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
