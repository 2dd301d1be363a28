"""Snapshots and backups: where the base image is, or where ordered."""

from __future__ import annotations

from typing import Any

from tempest import config
from tempest.common import utils
from tempest.common import waiters
from tempest.lib import decorators
from tempest.lib.common.utils import data_utils

from nova_multistore.tests.tempest.scenario import base

CONF = config.CONF


class SnapshotTest(base.StoresTest):
    """createImage and createBackup of servers with a disk of their own."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.compute_feature_enabled.snapshot:
            raise cls.skipException('Snapshots are not available')

    @decorators.idempotent_id('c7a8827e-0084-4bf5-a0b0-c15ec79eb485')
    @utils.services('compute', 'image')
    def test_snapshot(self) -> None:
        """A server's snapshot, and that of a server started from it."""
        snapshots = self._snapshot(self.create_servers())
        self.assert_ordered(snapshots)

        servers = {
            store: self.create_server(image_id=image['id'])
            for store, image in snapshots.items()
        }
        self.assert_ordered(self._snapshot(servers))

    @decorators.idempotent_id('8c49acc4-4ee3-4293-b73d-be4f4c304754')
    @utils.services('compute', 'image')
    def test_backup(self) -> None:
        """A server's backup, and the one that takes its place."""
        servers = self.create_servers()
        first = self._back_up(servers)
        self.assert_ordered(first)

        self.assert_ordered(self._back_up(servers))
        for image in first.values():
            self.image_client.wait_for_resource_deletion(image['id'])

    def _snapshot(
        self, servers: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        images = {}
        for store, server in servers.items():
            images[store] = self.create_server_snapshot(server)
            # A small cloud has no room for both rounds' servers.
            self.servers_client.delete_server(server['id'])
        return images

    def _back_up(
        self, servers: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        return {
            store: self._create_server_backup(server)
            for store, server in servers.items()
        }

    def _create_server_backup(self, server: dict[str, Any]) -> Any:
        answer = self.servers_client.create_backup(
            server['id'],
            backup_type='daily',
            rotation=1,
            name=data_utils.rand_name(
                prefix=CONF.resource_name_prefix, name='backup'
            ),
        )
        # Microversion 2.45 and later return it in the body.
        image_id = answer.get('image_id') or data_utils.parse_image_id(
            answer.response['location']
        )
        self.addCleanup(self._delete_image, image_id)
        waiters.wait_for_image_status(self.image_client, image_id, 'active')
        self.wait_for_server(server)
        return self.image_client.show_image(image_id)
