"""What an audit looks up in Glance and Nova, with retries and a cache."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from typing import Any

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions

from nova_multistore import audit
from nova_multistore import exception
from nova_multistore import opts
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.osc import image_pages
from nova_multistore.osc import nova_conf

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from nova_multistore.osc.cloud import Cloud

#: How many base images, and how many servers, the cache holds.
CACHED = 1024

# What the cache holds of each.
_OF_IMAGE = ('id', 'stores', 'base_image_ref')
_OF_SERVER = ('name', 'status', 'image', 'OS-EXT-STS:task_state')


def add_remote_stores(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the stores of other sites."""
    parser.add_argument(
        '--remote-store',
        metavar='<store>',
        action='append',
        default=[],
        dest='remote_stores',
        help="Store that only another site's Glance has: an image that is "
        'there alone is no problem (repeat for several)',
    )


def settings(
    cloud: Cloud, files: Sequence[str], remote: Sequence[str]
) -> audit.Settings:
    """Return what Glance and ``nova.conf`` say of stores.

    :param cloud: the cloud
    :param files: paths of ``nova.conf``, none if it is not at hand
    :param remote: ids of stores that only another Glance has
    :raises UsageError: the configuration cannot be read
    :raises LookupFailed: Glance's answer cannot be read
    """
    conf = nova_conf.read(files)
    catalogue = cloud.catalogue()
    return audit.Settings(
        catalogue,
        configured=bool(files),
        orders=opts.orders(conf),
        ceph_store=nova_conf.ceph_store(conf),
        cluster=nova_conf.cluster(conf, catalogue.places),
        remote=tuple(remote),
    )


class Source:
    """The base images, servers and tasks that an audit looks up.

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
            look=self._look,
            server=self._server,
            tasks=lambda image_id: image_pages.patiently(
                lambda: self._images.tasks(image_id)
            ),
        )

    def forget_servers(self) -> None:
        """Ask anew for servers: they may have changed."""
        self._server.cache_clear()

    def _look(self, image_id: str) -> dict[str, Any] | None:
        try:
            return image_pages.patiently(lambda: self._images.show(image_id))
        except exception.GlanceRefused as exc:
            if exc.is_gone:
                return None
            raise

    def _ask_image(self, image_id: str) -> dict[str, Any] | None:
        try:
            image = image_pages.patiently(lambda: self._images.show(image_id))
        except exception.GlanceRefused:
            return None
        return {key: image[key] for key in _OF_IMAGE if key in image}

    def _ask_server(self, server_id: str) -> dict[str, Any] | None:
        """Return a server, empty if Nova does not show it."""
        try:
            if not self._silent:
                server = image_pages.patiently(
                    lambda: self._server_now(server_id)
                )
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
            return timed_calls.call(
                lambda: self._cloud.server_now(server_id), stores.TIMEOUT
            )
        except auth_exceptions.ClientException as exc:
            raise exception.LookupFailed(str(exc)) from exc
