"""``nova-multistore-status``: is this compute fit for what it is told?"""

from __future__ import annotations

import sys

import nova.conf
from oslo_upgradecheck import upgradecheck

from nova_multistore import exception
from nova_multistore import stores
from nova_multistore.compute import lookup
from nova_multistore.compute import patch

CONF = nova.conf.CONF

Code = upgradecheck.Code
Result = upgradecheck.Result


class Checks(upgradecheck.UpgradeCommands):
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
            catalogue = self._catalogue()
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
            self._catalogue().check_writable(CONF.glance.store)
        except exception.LookupFailed as exc:
            return Result(Code.WARNING, f'It cannot be checked: {exc}.')
        except exception.StoreRefused as exc:
            return Result(Code.FAILURE, f'{exc}.')
        return Result(Code.SUCCESS)

    def _check_ceph_store(self) -> Result:
        if not self._leaves_ceph():
            return Result(Code.SUCCESS)
        return Result(
            Code.WARNING,
            f"Disks are in Ceph with Glance's store "
            f"'{CONF.libvirt.images_rbd_glance_store_name}', but [glance] "
            f"store is '{CONF.glance.store}'. A snapshot that Nova makes "
            'inside Ceph stays there; any other is a full copy.',
        )

    def _check_copy_image(self) -> Result:
        if not self._leaves_ceph():
            return Result(Code.SUCCESS)
        return Result(
            Code.WARNING,
            'To start a server from such a copy, Nova asks Glance to copy it '
            f"to '{CONF.libvirt.images_rbd_glance_store_name}'. Glance's "
            'policy copy_image is for administrators unless it is changed, '
            'and then a server that a member starts goes to ERROR.',
        )

    @staticmethod
    def _catalogue() -> stores.Catalogue:
        return lookup.catalogue(lookup.service_context())

    @staticmethod
    def _leaves_ceph() -> bool:
        own = CONF.libvirt.images_rbd_glance_store_name
        return bool(
            CONF.libvirt.images_type == 'rbd'
            and own
            and CONF.glance.store
            and CONF.glance.store != own
        )

    _upgrade_checks = (
        ('Nova', _check_nova),
        ('Glance', _check_glance),
        ('[glance] store', _check_store),
        ('Ceph store', _check_ceph_store),
        ('Policy copy_image', _check_copy_image),
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
