"""What a tenant does with a server, and what has to be true afterwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path
import shutil
from typing import Any

from tests.e2e import ceph
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import site as e2e_site
from tests.e2e import tenant as e2e_tenant
from tests.e2e.tenant import wait_for

#: A disk as large as its image, and one of 1 GiB.
TINY, SMALL = 'tiny', 'small'
#: What an image has as long as Glance works on it.
LOCK = 'os_glance_import_task'


@dataclasses.dataclass(frozen=True)
class Landing:
    """Where an image is, and whether it is what it should be."""

    stores: str
    whole: bool

    def __str__(self) -> str:
        return self.stores if self.whole else f'{self.stores}, not whole'


class Server:
    """A tenant's server.

    :param image_id: the image that it is started from
    :param starts: how often a guest was started from that image before
    :param flavor: `TINY` or `SMALL`
    :param volume_size: of a volume that is to be its disk, in GiB; 0 if its
        disk is to be Nova's own
    """

    def __init__(
        self,
        site: e2e_site.Site,
        tenant: e2e_tenant.Tenant,
        name: str,
        image_id: str,
        starts: int = 0,
        flavor: str = TINY,
        volume_size: int = 0,
    ) -> None:
        self._site = site
        self._tenant = tenant
        self._starts = starts
        self.name = name
        self.image_id = image_id
        volume = ('--boot-from-volume', str(volume_size))
        self.id: str = tenant.create(
            *('server', 'create', name, '--image', image_id),
            *('--flavor', flavor, '--nic', 'none'),
            *(volume if volume_size else ()),
        )['id']
        self.wait_for_status('ACTIVE')
        self._wait_for_guest()

    @property
    def disk(self) -> guest.Disk:
        for volume_id in self.volumes:
            return guest.Disk.of_volume(self._site, volume_id)
        return guest.Disk.of_server(self._site, self.id)

    @property
    def volumes(self) -> list[str]:
        """The ids of its volumes."""
        attached = self._tenant.server(self.id)[
            'os-extended-volumes:volumes_attached'
        ]
        return [volume['id'] for volume in attached]

    def _wait_for_guest(self) -> None:
        """Wait until the guest has written that it was started."""
        self._starts += 1
        wait_for(
            f'the guest of {self.name}',
            lambda: self.disk.starts,
            lambda starts: starts == self._starts,
        )

    def data(self, image: Any) -> list[guest.Disk]:
        """Return an image's data in each of its stores.

        :param image: as Glance shows it
        """
        return [
            guest.Disk.of_image(
                self._site, store, image['id'], image['disk_format']
            )
            for store in image['stores'].split(',')
        ]

    def landing(self, image: Any, like: guest.Disk | None = None) -> Landing:
        """Look at an image that was made of it.

        :param image: as Glance shows it
        :param like: what its data has to equal, the disk if it is None
        """
        whole = image['size'] > 0 and all(
            each.starts == self._starts and each.is_same(like or self.disk)
            for each in self.data(image)
        )
        return Landing(image['stores'], whole)

    def active(self, image_id: str) -> Any:
        """Return an image once it is active, and Glance is done with it.

        :raises CloudFailed: if it is not there, or does not become so
        """
        image = self._tenant.wait_for_image(
            f'image {image_id} of {self.name}',
            image_id,
            # An active image that was made inside Ceph is hashed still. To
            # delete it then may fail, with an error of Glance's database.
            lambda image: (
                image is None
                or (image['status'] == 'active' and LOCK not in image)
            ),
        )
        if image is None:
            raise e2e_site.CloudFailed(
                f'image {image_id} of {self.name} is gone'
            )
        return image

    def snapshot(self) -> tuple[Any, Landing]:
        """Make a snapshot.

        :returns: the image, and what became of it
        """
        image = self.active(self.start_snapshot())
        self.wait_for_status('ACTIVE')
        return image, self.landing(image)

    def start_snapshot(self) -> str:
        """Ask for a snapshot.

        The command would look at the image, which may be gone by then.

        :returns: the image's id
        """
        image_id: str = self._tenant.ask(
            'nova',
            'POST',
            f'/v2.1/servers/{self.id}/action',
            {'createImage': {'name': f'{self.name}-snapshot'}},
            {'OpenStack-API-Version': 'compute 2.45'},
        )['image_id']
        return image_id

    def back_up(self) -> Landing:
        """Make two backups, of which Nova is to keep one."""
        older, newer = (self._back_up(number) for number in range(2))
        self._wait_until_gone(older)
        return self.landing(newer)

    def _back_up(self, number: int) -> Any:
        image_id = self._tenant.create(
            *('server', 'backup', 'create', '--type', 'daily'),
            *('--name', f'{self.name}-backup-{number}'),
            *('--rotate', '1', self.id),
        )['id']
        image = self.active(image_id)
        self.wait_for_status('ACTIVE')
        return image

    def shelve(self, like: guest.Disk) -> Landing:
        """Shelve it and start it again.

        :param like: what has the same bytes as its disk; Nova deletes that
        """
        self._tenant.openstack('server', 'shelve', self.id)
        self.wait_for_status('SHELVED_OFFLOADED')
        (image,) = self._tenant.images(name=f'{self.name}-shelved')
        landing = self.landing(self.active(image['id']), like)
        self._tenant.openstack('server', 'unshelve', self.id)
        self.wait_for_status('ACTIVE')
        self._wait_for_guest()
        self._wait_until_gone(image)
        return landing

    def _wait_until_gone(self, image: Any) -> None:
        self._tenant.wait_for_image(
            f'the end of image {image["name"]}',
            image['id'],
            lambda image: image is None,
        )

    def wait_for_status(self, status: str) -> None:
        """Wait until Nova has nothing to do with it and shows a status.

        :raises CloudFailed: if it shows an error
        """
        server = self._tenant.wait_for_server(
            f'server {self.name}',
            self.id,
            lambda server: (
                server['status'] in (status, 'ERROR')
                and server['OS-EXT-STS:task_state'] is None
            ),
        )
        if server['status'] != status:
            raise e2e_site.CloudFailed(
                f'server {self.name}: {server["fault"]}'
            )

    def descendant(self, image_id: str) -> Server:
        """Start a server from a snapshot that was made before a shelving."""
        return Server(
            self._site,
            self._tenant,
            f'{self.name}-again',
            image_id,
            self._starts - 1,
        )

    def delete(self) -> None:
        self._tenant.openstack('server', 'delete', '--wait', self.id)


def remains(
    site: e2e_site.Site, admin: e2e_tenant.Tenant
) -> dict[str, list[str]]:
    """Return what must not be there once all servers are deleted.

    :returns: what was found, by what it is
    """
    images = {
        image['id']: image
        for status in ('active', 'queued', 'saving')
        for image in admin.images(status=status)
    }
    in_ceph = {
        image_id
        for image_id, image in images.items()
        if 'fast' in image.get('stores', '').split(',')
    }
    found = {
        'images that are not complete': [
            image_id
            for image_id, image in images.items()
            if image['status'] != 'active'
        ],
        'files of a snapshot': _names(_snapshots(site)),
        'disks in Ceph': ceph.images(site, ceph.DISKS),
        'volumes in Ceph': ceph.images(site, ceph.VOLUMES),
        'images in Ceph that Glance does not know': sorted(
            set(ceph.images(site, ceph.IMAGES)) - in_ceph
        ),
        **{
            f'files in {store} that Glance does not know': sorted(
                set(_names(site.root / 'stores' / store)) - set(images)
            )
            for store, kind in glance.STORES.items()
            if kind == 'file'
        },
    }
    return {what: which for what, which in found.items() if which}


def clean_up(site: e2e_site.Site) -> None:
    """Delete what a nova-compute that was killed had made of a snapshot."""
    shutil.rmtree(_snapshots(site))


def _snapshots(site: e2e_site.Site) -> Path:
    return site.root / 'nova' / 'instances' / 'snapshots'


def _names(directory: Path) -> list[str]:
    if not directory.exists():
        return []
    return sorted(each.name for each in directory.iterdir())
