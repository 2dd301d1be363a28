"""Shelving: where the base image is, whatever ``[glance] store`` says."""

from __future__ import annotations

from tempest import config
from tempest.common import compute
from tempest.common import utils
from tempest.lib import decorators

from nova_multistore.tests.tempest.scenario import base

CONF = config.CONF


class ShelveTest(base.StoresTest):
    """The image that Nova makes of a server, and needs to bring it back."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.compute_feature_enabled.shelve:
            raise cls.skipException('Shelving is not available')

    @decorators.idempotent_id('328872e7-6002-4845-a32f-5d9e2c938734')
    @utils.services('compute', 'image')
    def test_shelve(self) -> None:
        """Shelved servers, and back again."""
        servers = self.create_servers()
        images = {}
        for store, server in servers.items():
            compute.shelve_server(
                self.servers_client, server['id'], force_shelve_offload=True
            )
            [images[store]] = self.image_client.list_images(
                {'name': f'{server["name"]}-shelved'}
            )['images']
        self.assert_follows_base(images)

        for server in servers.values():
            self.servers_client.unshelve_server(server['id'])
        for store, server in servers.items():
            self.wait_for_server(server)
            self.image_client.wait_for_resource_deletion(images[store]['id'])
