"""Sites with a Ceph and a Glance of their own, far from the centre.

Their Glances share the cloud's database. Each knows the store of its site and
the central one.
"""

from __future__ import annotations

from collections.abc import Mapping
import configparser
import json
from pathlib import Path
import signal

import fixtures

from tests.cloud import ceph as cloud_ceph
from tests.e2e import ceph
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import nova
from tests.e2e import site as e2e_site

CENTRAL = 'central'
#: The site that the documentation has the configuration of.
SHOWN = 'dcn0'
#: Where the documentation has the Glance of a site.
SHOWN_URL = 'http://glance.{}.example.com:9292'
_DOCUMENTATION = e2e_site.REPOSITORY / 'doc' / 'source'


class Edge(fixtures.Fixture):
    """One such site.

    :param name: of its store, and of its cloud in a clouds.yaml
    :param root: a directory for its Ceph
    """

    def __init__(self, site: e2e_site.Site, name: str, root: Path) -> None:
        self.name = name
        self._site = site
        self._ceph = cloud_ceph.Ceph(root, (ceph.IMAGES, ceph.DISKS))

    def _setUp(self) -> None:
        self.useFixture(self._ceph)
        service = f'glance-{self.name}'
        glance.configure(self._site, service, self._read('edge-glance.conf'))
        self.addCleanup(self._stop, service)
        glance.start(self._site, service)

    def _stop(self, service: str) -> None:
        if process := self._site.processes.pop(service, None):
            process.send_signal(signal.SIGTERM)
            process.wait()

    @property
    def url(self) -> str:
        """Where its Glance is."""
        return self._site.url(f'glance-{self.name}')

    @property
    def options(self) -> dict[str, str]:
        """What its nova-compute is configured with, each as "group.name"."""
        sections = self._read('edge-nova.conf')
        return {
            **{
                f'{section}.{option}': str(value)
                for section, options in sections.items()
                for option, value in options.items()
            },
            **nova.copy_credentials(self._site),
        }

    def _read(self, name: str) -> Mapping[str, Mapping[str, object]]:
        """Read a file of the documentation, with what differs here."""
        text = (_DOCUMENTATION / name).read_text().replace(SHOWN, self.name)
        for shown, here in {
            f'/etc/ceph/{self.name}.conf': self._ceph.configuration,
            SHOWN_URL.format(self.name): self.url,
            '/mnt/central/images': glance.directory(self._site, CENTRAL),
            'rbd_store_user = glance': 'rbd_store_user = admin',
        }.items():
            text = text.replace(shown, str(here))
        parser = configparser.RawConfigParser(default_section='')
        parser.read_string(text)
        return {name: dict(parser[name]) for name in parser.sections()}

    def disk(self, server_id: str) -> guest.Disk:
        """Return the disk of a server at this site."""
        return self._in_ceph(f'{ceph.DISKS}/{server_id}_disk')

    def image(self, image_id: str) -> guest.Disk:
        """Return a raw image's data in its store."""
        return self._in_ceph(f'{ceph.IMAGES}/{image_id}')

    def _in_ceph(self, name: str) -> guest.Disk:
        return guest.Disk.in_ceph(self._ceph.configuration, 'raw', name)

    def parent(self, server_id: str) -> str | None:
        """Return the image that a server's disk is a clone of."""
        disk = f'{ceph.DISKS}/{server_id}_disk'
        shown = json.loads(self._ceph.rbd('--format', 'json', 'info', disk))
        parent = shown.get('parent')
        return parent and str(parent['image'])

    @property
    def images(self) -> list[str]:
        """The ids of the images in its store."""
        return self._ceph.images(ceph.IMAGES)
