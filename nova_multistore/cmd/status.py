"""``nova-multistore-status``: is this compute fit for what it is told?"""

from __future__ import annotations

import contextlib
import sys

import nova.conf
from oslo_upgradecheck import upgradecheck

from nova_multistore import exception
from nova_multistore import selection
from nova_multistore.cmd.checks import GlanceChecks
from nova_multistore.compute import ceph
from nova_multistore.compute import patch

CONF = nova.conf.CONF

Code = upgradecheck.Code
Result = upgradecheck.Result


class Checks(GlanceChecks, upgradecheck.UpgradeCommands):
    """What has to be true before nova-compute is started with the package.

    Glance is asked with the credentials of ``[service_user]``.
    """

    def _check_nova(self) -> Result:
        problems = patch.problems()
        if problems:
            return Result(Code.FAILURE, '; '.join(problems))
        if patch.is_newer():
            return Result(
                Code.WARNING,
                'This Nova is newer than any that was tried; all that is '
                'needed is there.',
            )
        return Result(Code.SUCCESS)

    def _check_glance(self) -> Result:
        try:
            catalogue = self.catalogue()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'{exc}.')
        if not catalogue.stores:
            return Result(
                Code.WARNING,
                'Glance does not have several stores: snapshots go where they '
                'always went.',
            )
        return Result(
            Code.SUCCESS,
            f'Stores that take data: {", ".join(catalogue.writable)}.',
        )

    def _check_store(self) -> Result:
        if not CONF.glance.store:
            return Result(
                Code.SUCCESS, 'It is not set: snapshots follow the base image.'
            )
        try:
            self.catalogue().check_writable(CONF.glance.store)
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        except exception.StoreRefused as exc:
            return Result(Code.FAILURE, f'{exc}.')
        return Result(Code.SUCCESS)

    def _check_ceph_store(self) -> Result:
        if not ceph.is_used():
            return Result(Code.SUCCESS)
        if not ceph.takes_clones():
            return Result(
                Code.WARNING,
                'Disks are in Ceph, but [libvirt] snapshot_image_format is '
                f"'{CONF.libvirt.snapshot_image_format}', and only a raw "
                'image can be a clone. Each snapshot and backup is a full '
                'copy.',
            )
        try:
            cluster = self._cluster()
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        if cluster.lacks(CONF.glance.store):
            return Result(
                Code.WARNING,
                f"Disks are in Ceph, but [glance] store '{CONF.glance.store}' "
                'is elsewhere. Each snapshot and backup is a full copy.',
            )
        if not any(cluster.pool(store) for store in cluster.places):
            return Result(
                Code.WARNING,
                "Disks are in Ceph, but none of Glance's stores is known to "
                'be there. Snapshots are made inside Ceph only where Nova '
                'itself finds a pool.',
            )
        return Result(Code.SUCCESS)

    def _check_copy_image(self) -> Result:
        own = CONF.libvirt.images_rbd_glance_store_name
        store = CONF.glance.store
        if not (ceph.is_used() and own and store and store != own):
            return Result(Code.SUCCESS)
        with contextlib.suppress(exception.LookupFailed):
            if self._cluster().pool(store):
                return Result(Code.SUCCESS)
        return Result(
            Code.WARNING,
            'To start a server from a snapshot that is not in its Ceph, Nova '
            f"asks Glance to copy it to '{own}'. Glance's policy copy_image "
            'is for administrators unless it is changed, and then a server '
            'that a member starts goes to ERROR.',
        )

    def _cluster(self) -> selection.Cluster:
        return ceph.cluster(self.catalogue().places)

    _upgrade_checks = (
        ('Nova', _check_nova),
        ('Glance', _check_glance),
        ('[glance] store', _check_store),
        ('Ceph store', _check_ceph_store),
        ('Policy copy_image', _check_copy_image),
        ('Policy stores_info_detail', GlanceChecks.details),
        ('[glance] api_servers', GlanceChecks.endpoints),
        ('[nova_multistore] copy_to', GlanceChecks.copy_to),
        ('Filter in Glance', GlanceChecks.filter),
    )


def main() -> int:
    """Run ``nova-multistore-status upgrade check``.

    :returns: 0 all is well, 1 a warning, 2 a failure, 255 an error
    """
    code: int = upgradecheck.main(
        CONF,
        project='nova',
        upgrade_command=Checks(),
        argv=sys.argv[1:] or ['--help'],
    )
    return code
