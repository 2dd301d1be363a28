"""Volume-backed servers, whose images have no data of their own."""

from __future__ import annotations

from tempest import config
from tempest.common import utils
from tempest.lib import decorators

from nova_multistore import stores
from nova_multistore.tests.tempest.scenario import base

CONF = config.CONF


class VolumeBackedTest(base.StoresTest):
    """createImage of servers whose disk is a volume."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.service_available.cinder:
            raise cls.skipException('Cinder is not available')
        if not CONF.volume_feature_enabled.snapshot:
            raise cls.skipException('Snapshots of volumes are not available')

    @decorators.idempotent_id('aafe350b-6149-4fde-a59c-4bec3c2854ae')
    @utils.services('compute', 'image', 'volume')
    def test_snapshot(self) -> None:
        """The empty image is in the default store."""
        for store, image_id in self.base_images.items():
            server = self.create_server(image_id=image_id, volume_backed=True)
            image = self.create_server_snapshot(server)

            self.assertEqual('active', image['status'])
            self.assertEqual(0, image['size'])
            self.assertEqual(
                (self.catalogue.default,), stores.of_image(image), store
            )
