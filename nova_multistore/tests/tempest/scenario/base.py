"""Base images in several stores, and servers that are started from them."""

from __future__ import annotations

import shutil
import tempfile
from typing import IO
from typing import Any

from tempest import config
from tempest.common import waiters
from tempest.lib import exceptions as lib_exc
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils
from tempest.scenario import manager

from nova_multistore import stores

CONF = config.CONF

# What makes an image one that can be started, by the beginnings of the names.
_BOOTABLE = (
    'architecture',
    'container_format',
    'disk_format',
    'hw_',
    'img_',
    'kernel_id',
    'min_',
    'os_type',
    'ramdisk_id',
)
_CHUNK = 1 << 16


class StoresTest(manager.ScenarioTest):
    """The image that ``[compute] image_ref`` names, once in each store."""

    credentials = ('primary',)

    #: The stores of the Glance that is tested.
    catalogue: stores.Catalogue
    #: The id of the base image, by the store that it was put into.
    base_images: dict[str, str]

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.service_available.glance:
            raise cls.skipException('Glance is not available')

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        try:
            cls.catalogue = stores.parse(cls.image_client.info_stores())
        except lib_exc.NotFound as exc:
            raise cls.skipException(
                'Glance does not have several stores'
            ) from exc
        writable = cls.catalogue.writable
        if len(writable) < 2:
            raise cls.skipException(
                'Glance has fewer than two stores that take data'
            )
        chosen = CONF.nova_multistore.stores or writable
        for store in chosen:
            cls.catalogue.check_writable(store)
        with tempfile.TemporaryFile() as data:
            image = cls._download(data)
            cls.base_images = {
                store: cls._upload(image, data, store) for store in chosen
            }

    @classmethod
    def _download(cls, data: IO[bytes]) -> dict[str, Any]:
        image_id = CONF.compute.image_ref
        answer = cls.image_client.show_image_file(image_id, chunked=True)
        try:
            shutil.copyfileobj(answer, data)
        finally:
            answer.release_conn()
        image: dict[str, Any] = cls.image_client.show_image(image_id)
        return {
            name: value
            for name, value in image.items()
            if name.startswith(_BOOTABLE) and value is not None
        }

    @classmethod
    def _upload(
        cls, image: dict[str, Any], data: IO[bytes], store: str
    ) -> str:
        name = data_utils.rand_name(
            prefix=CONF.resource_name_prefix, name=f'base-{store}'
        )
        image_id: str = cls.image_client.create_image(
            name=name, visibility='private', **image
        )['id']
        cls.addClassResourceCleanup(cls._delete_image, image_id)
        data.seek(0)
        # As ImagesClient.store_image_file does, which takes no store.
        answer, _ = cls.image_client.request(
            'PUT',
            f'images/{image_id}/file',
            headers={
                'Content-Type': 'application/octet-stream',
                'X-Image-Meta-Store': store,
            },
            body=iter(lambda: data.read(_CHUNK), b''),
            chunked=True,
        )
        cls.image_client.expected_success(204, answer.status)
        return image_id

    @classmethod
    def _delete_image(cls, image_id: str) -> None:
        test_utils.call_and_ignore_notfound_exc(
            cls.image_client.delete_image, image_id
        )

    def create_servers(self) -> dict[str, dict[str, Any]]:
        """Start a server from the base image in each store.

        :returns: the servers, active, by the base image's store
        """
        servers = {
            store: self.create_server(image_id=image_id, wait_until=None)
            for store, image_id in self.base_images.items()
        }
        for server in servers.values():
            self.wait_for_server(server)
        return servers

    def wait_for_server(self, server: dict[str, Any]) -> None:
        """Wait until a server is active, and nothing is done to it."""
        waiters.wait_for_server_status(
            self.servers_client, server['id'], 'ACTIVE'
        )

    def assert_follows_base(self, images: dict[str, dict[str, Any]]) -> None:
        """Assert that images are where their base images are.

        :param images: what Glance shows of them, by the store that the base
            image was put into
        """
        expected = {}
        for store in images:
            # Nova may have copied the base image into further stores.
            base = self.image_client.show_image(self.base_images[store])
            expected[store] = stores.of_image(base)
        self._assert_landed(images, expected)

    def assert_ordered(self, images: dict[str, dict[str, Any]]) -> None:
        """Assert that images are where ``[glance] store`` sends them.

        If it is not set, they are where their base images are.

        :param images: as for :meth:`assert_follows_base`
        """
        ordered = CONF.nova_multistore.ordered_store
        if ordered:
            self._assert_landed(images, dict.fromkeys(images, (ordered,)))
        else:
            self.assert_follows_base(images)

    def _assert_landed(
        self,
        images: dict[str, dict[str, Any]],
        expected: dict[str, tuple[str, ...]],
    ) -> None:
        landed = {}
        for store, image in images.items():
            self.assertEqual('active', image['status'], image)
            self.assertGreater(image['size'], 0, image)
            landed[store] = stores.of_image(image)
        strayed = {
            store: found
            for store, found in landed.items()
            if not set(found) & set(expected[store])
        }
        self.assertEqual(
            {},
            strayed,
            'By the store that the base image was put into, images were '
            f'expected in one of {expected} and are in {landed}',
        )
