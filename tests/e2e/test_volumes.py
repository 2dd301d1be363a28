"""Volume-backed servers, and volumes that Cinder uploads as images.

What landed where is written to two tables in the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
from pathlib import Path
import subprocess
from typing import Any

import pytest

from nova_multistore import record
from tests.command import by_name
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e import site as e2e_site
from tests.e2e import table
from tests.e2e import tenant as e2e_tenant
from tests.e2e import transcript as e2e_transcript
from tests.e2e.tenant import wait_for

MIB = 1 << 20
ORDERED = 'reliable'
#: The stores that take a base image by upload.
STORES = 'cheap', 'fast', 'reliable'
Run = Callable[..., 'subprocess.CompletedProcess[str]']


class Volumes:
    """The volumes of a tenant."""

    def __init__(self, site: e2e_site.Site, tenant: e2e_tenant.Tenant) -> None:
        self._site = site
        self._tenant = tenant

    def create(self, name: str, image_id: str, *arguments: str) -> str:
        """Make a volume of an image.

        :param arguments: further ones of the command
        :returns: its id
        """
        volume_id: str = self._tenant.create(
            *('volume', 'create', name, '--image', image_id, '--size', '1'),
            *arguments,
        )['id']
        self.wait_for_status(volume_id, 'available')
        return volume_id

    def wait_for_status(self, volume_id: str, status: str) -> Any:
        """Wait until Cinder shows a status of a volume.

        :raises CloudFailed: if it shows an error
        """
        volume = wait_for(
            f'volume {volume_id}',
            lambda: self._ask('GET', f'volumes/{volume_id}')['volume'],
            lambda volume: (
                volume['status'] == status
                or volume['status'].startswith('error')
            ),
        )
        if volume['status'] != status:
            raise e2e_site.CloudFailed(f'volume {volume_id}: {volume}')
        return volume

    def upload(self, volume_id: str, name: str) -> Any:
        """Have Cinder upload a volume as an image.

        :returns: the image, once Cinder is done with the volume
        """
        action = {
            'image_name': name,
            'disk_format': 'qcow2',
            'container_format': 'bare',
        }
        image_id = self._ask(
            'POST',
            f'volumes/{volume_id}/action',
            {'os-volume_upload_image': action},
        )['os-volume_upload_image']['image_id']
        self.wait_for_status(volume_id, 'available')
        return self._tenant.image(image_id)

    def landing(self, image: Any, volume_id: str) -> journey.Landing:
        """Return where the image of a volume is, and whether it is whole."""
        volume = guest.Disk.of_volume(self._site, volume_id)
        return journey.Landing(
            image['stores'],
            image['size'] > 0
            and all(
                guest.Disk.of_image(
                    *(self._site, store, image['id'], image['disk_format'])
                ).is_same(volume)
                for store in image['stores'].split(',')
            ),
        )

    def snapshots(self, volume_id: str) -> list[Any]:
        """Return the snapshots of a volume."""
        found: list[Any] = self._ask(
            'GET', f'snapshots/detail?volume_id={volume_id}'
        )['snapshots']
        return found

    def delete_snapshot(self, snapshot: Any) -> None:
        """Delete a snapshot of a volume, as Cinder shows it."""
        self._tenant.openstack('volume', 'snapshot', 'delete', snapshot['id'])
        self.wait_for_end_of_snapshot(snapshot)

    def wait_for_end_of_snapshot(self, snapshot: Any) -> None:
        """Wait until Cinder has deleted a snapshot."""
        wait_for(
            'the end of the snapshot',
            lambda: self.snapshots(snapshot['volume_id']),
            lambda found: snapshot['id'] not in [s['id'] for s in found],
        )

    def delete(self, volume_id: str) -> None:
        self._tenant.openstack('volume', 'delete', volume_id)
        self.wait_for_end(volume_id)

    def wait_for_end(self, volume_id: str) -> None:
        """Wait until Cinder has deleted a volume."""
        wait_for(
            f'the end of volume {volume_id}',
            self.all,
            lambda found: volume_id not in [v['id'] for v in found],
        )

    def all(self) -> list[Any]:
        """Return all volumes."""
        found: list[Any] = self._ask('GET', 'volumes')['volumes']
        return found

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        return self._tenant.ask('cinder', method, f'/v3/{path}', body)


@pytest.fixture(scope='module')
def demo(cloud: fixture.Cloud) -> e2e_tenant.Tenant:
    """Return a user who is no administrator."""
    return cloud.tenant('demo')


@pytest.fixture(scope='module')
def volumes(cloud: fixture.Cloud, demo: e2e_tenant.Tenant) -> Volumes:
    return Volumes(cloud.site, demo)


@pytest.fixture(scope='module')
def bases(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Return a base image in each store."""
    path = tmp_path_factory.mktemp('base') / 'base.raw'
    guest.write_image(path, 8 * MIB)
    admin = cloud.tenant('admin')
    bases = {
        store: admin.upload(f'volume-{store}', store, path) for store in STORES
    }
    yield bases
    admin.openstack('image', 'delete', *bases.values())


def audited(run: Run) -> Any:
    """Return what an audit finds."""
    return by_name(json.loads(run('snapshot', 'audit', '-f', 'json').stdout))


@pytest.fixture(scope='module')
def servers(cloud: fixture.Cloud) -> Iterator[table.Table]:
    with table.Table.written(
        'volume-backed.csv', 'Of the server', 'Stock Nova', 'Patched'
    ) as rows:
        yield rows


@pytest.mark.parametrize('patched', [False, True], ids=['stock', 'patched'])
def test_volume_backed_server(
    cloud: fixture.Cloud,
    run: Run,
    demo: e2e_tenant.Tenant,
    volumes: Volumes,
    bases: dict[str, str],
    servers: table.Table,
    patched: bool,
) -> None:
    """The package leaves it as it is, whatever store is ordered."""
    cloud.run_compute(patched, **{'glance.store': ORDERED})
    name = f'volume-backed-{"patched" if patched else "stock"}'
    server = journey.Server(
        cloud.site, demo, name, bases['fast'], volume_size=1
    )
    (volume_id,) = server.volumes
    volume = guest.Disk.of_volume(cloud.site, volume_id)

    image = server.active(server.start_snapshot())
    server.wait_for_status('ACTIVE')
    (mapping,) = json.loads(image['block_device_mapping'])
    (snapshot,) = volumes.snapshots(volume_id)
    assert mapping['snapshot_id'] == snapshot['id']
    assert (image['size'], image['stores']) == (0, glance.DEFAULT)
    assert not set(image) & set(record.PROPERTIES)
    data = guest.Disk.of_volume(cloud.site, volume_id, snapshot['id'])
    assert data.is_same(volume)
    assert volume.starts == 1
    servers.add(
        ('snapshot: the image, without data',), patched, image['stores']
    )
    servers.add(
        ('snapshot: the data, as a snapshot of the volume',), patched, 'Cinder'
    )
    assert audited(run) == []

    with pytest.raises(e2e_site.CloudFailed, match='volume-backed') as refused:
        server.back_up()
    assert 'Backup is not supported' in str(refused.value)
    servers.add(('backup',), patched, 'refused by Nova')

    images = {each['id'] for each in demo.images()}
    demo.openstack('server', 'shelve', server.id)
    server.wait_for_status('SHELVED_OFFLOADED')
    assert {each['id'] for each in demo.images()} == images
    servers.add(('shelve',), patched, 'no image; the volume stays')
    demo.openstack('server', 'unshelve', server.id)
    server.wait_for_status('ACTIVE')
    wait_for('the guest', lambda: volume.starts, lambda starts: starts == 2)

    again = journey.Server(cloud.site, demo, f'{name}-again', image['id'], 1)
    (second,) = again.volumes
    assert again.disk.starts == 2
    again.delete()
    server.delete()
    volumes.delete(second)
    demo.openstack('image', 'delete', image['id'])
    volumes.delete_snapshot(snapshot)
    volumes.delete(volume_id)
    assert journey.remains(cloud.site, cloud.tenant('admin')) == {}


def test_store_of_a_volume_backed_snapshot_cannot_be_named(
    cloud: fixture.Cloud,
    run: Run,
    demo: e2e_tenant.Tenant,
    volumes: Volumes,
    bases: dict[str, str],
) -> None:
    """nova-api says why, and no image is made."""
    server = journey.Server(
        cloud.site, demo, 'volume-backed', bases['cheap'], volume_size=1
    )
    images = {each['id'] for each in demo.images()}

    refused = run('snapshot', 'create', '--store', ORDERED, server.id)

    assert refused.returncode != 0
    assert 'volume-backed' in refused.stderr
    assert {each['id'] for each in demo.images()} == images
    (volume_id,) = server.volumes
    server.delete()
    volumes.delete(volume_id)


def test_image_that_a_volume_was_made_from(
    run: Run, volumes: Volumes, bases: dict[str, str]
) -> None:
    """It stays in Ceph: the volume may be a clone of it."""
    image_id = bases['fast']
    volume_id = volumes.create('made', image_id)
    relocate = 'image', 'relocate', image_id, '--to', 'cheap', '--dry-run'

    found, overruled = (
        by_name(
            json.loads(
                run(*relocate, *more, '-f', 'json', user='admin').stdout
            )
        )
        for more in ([], ['--even-in-use'])
    )

    states = [
        {row['store']: row['state'] for row in f} for f in (found, overruled)
    ]
    assert states == [
        {'cheap': 'to be copied', 'fast': 'kept'},
        {'cheap': 'to be copied', 'fast': 'to be deleted'},
    ]
    assert f'volume {volume_id} was made from it' in found[1]['reason']
    volumes.delete(volume_id)


@pytest.fixture(scope='module')
def uploads() -> Iterator[table.Table]:
    with table.Table.written(
        'cinder.csv',
        *('The volume was made from', 'Its type names'),
        *('Stock Glance', 'Glance with the filter'),
    ) as rows:
        yield rows


@pytest.fixture(scope='module')
def typed(cloud: fixture.Cloud) -> Iterator[str]:
    """Return a type of volumes that names a store."""
    admin = cloud.tenant('admin')
    admin.openstack(
        *('volume', 'type', 'create', 'typed'),
        *('--property', f'image_service:store_id={ORDERED}'),
    )
    yield 'typed'
    admin.openstack('volume', 'type', 'delete', 'typed')


@pytest.fixture(scope='module')
def snapshot(
    cloud: fixture.Cloud, demo: e2e_tenant.Tenant, bases: dict[str, str]
) -> Iterator[Any]:
    """Return a server's snapshot, where its base image is."""
    cloud.run_compute(True)
    server = journey.Server(cloud.site, demo, 'uploaded', bases['reliable'])
    image, landing = server.snapshot()
    assert landing == journey.Landing('reliable', whole=True)
    server.delete()
    yield image
    demo.openstack('image', 'delete', image['id'])


@pytest.mark.parametrize('filtered', [False, True], ids=['stock', 'filter'])
def test_uploaded_volume(
    cloud: fixture.Cloud,
    demo: e2e_tenant.Tenant,
    volumes: Volumes,
    bases: dict[str, str],
    typed: str,
    snapshot: Any,
    uploads: table.Table,
    filtered: bool,
) -> None:
    """With the filter, it lands beside its base image."""
    cloud.run_glance(filtered)
    sources = [
        *((f'an image in {store}', bases[store], '') for store in STORES),
        ("a server's snapshot in reliable", snapshot['id'], ''),
        ('an image in fast', bases['fast'], ORDERED),
    ]
    for made_from, image_id, store in sources:
        kind = ('--type', typed) if store else ()
        volume_id = volumes.create('uploaded', image_id, *kind)
        image = volumes.upload(volume_id, 'uploaded')
        landing = volumes.landing(image, volume_id)
        beside = demo.image(image_id)['stores']
        expected = store or (beside if filtered else glance.DEFAULT)
        assert landing == journey.Landing(expected, whole=True), made_from
        uploads.add((made_from, store or 'no store'), filtered, landing)
        demo.openstack('image', 'delete', image['id'])
        volumes.delete(volume_id)
    assert journey.remains(cloud.site, cloud.tenant('admin')) == {}


@pytest.mark.parametrize(
    ('store', 'words'),
    [('nosuch', 'nosuch not enabled'), ('web', 'web is read-only')],
)
def test_type_cannot_name_any_store(
    cloud: fixture.Cloud, store: str, words: str
) -> None:
    """Cinder itself asks Glance, before there is a volume."""
    admin = cloud.tenant('admin')
    admin.openstack('volume', 'type', 'create', 'refused')

    with pytest.raises(e2e_site.CloudFailed, match=words):
        admin.openstack(
            *('volume', 'type', 'set', 'refused'),
            *('--property', f'image_service:store_id={store}'),
        )

    admin.openstack('volume', 'type', 'delete', 'refused')


def test_image_of_a_volume_backed_server(
    cloud: fixture.Cloud,
    clouds: Path,
    demo: e2e_tenant.Tenant,
    volumes: Volumes,
    bases: dict[str, str],
) -> None:
    """What the documentation shows."""
    cloud.run_glance(filtered=True)
    server = journey.Server(
        cloud.site, demo, 'web-1', bases['fast'], volume_size=1
    )
    (volume_id,) = server.volumes
    shown = e2e_transcript.Transcript(
        'volume-guide.txt',
        ('image', 'clean'),
        cloud.site.root,
        cloud.site.environment(OS_CLIENT_CONFIG_FILE=clouds, OS_CLOUD='demo'),
    )
    few = '-c', 'id', '-c', 'name', '-c', 'status'
    with shown.section('image'):
        shown.run(
            *('server', 'image', 'create', '--name', 'monday', 'web-1', *few)
        )
        server.wait_for_status('ACTIVE')
        (snapshot,) = volumes.snapshots(volume_id)
        shown.run('volume', 'snapshot', 'list')
        shown.run(
            *('volume', 'create', '--snapshot', 'snapshot for monday'),
            *('copy-of-web-1', *few),
        )
        (copy,) = (
            each for each in volumes.all() if each['name'] == 'copy-of-web-1'
        )
        volumes.wait_for_status(copy['id'], 'available')
        shown.run(
            *('image', 'create', '--volume', 'copy-of-web-1'),
            *('--disk-format', 'qcow2', 'web-1-monday'),
            *('-c', 'image_id', '-c', 'image_name', '-c', 'status'),
        )
        volumes.wait_for_status(copy['id'], 'available')
        shown.run('multistore', 'image', 'show', 'web-1-monday')
    (image,) = demo.images(name='web-1-monday')
    assert volumes.landing(image, copy['id']) == journey.Landing(
        'fast', whole=True
    )
    with shown.section('clean'):
        shown.run('volume', 'delete', 'copy-of-web-1')
        volumes.wait_for_end(copy['id'])
        shown.run('image', 'delete', 'monday')
        shown.run('volume', 'snapshot', 'delete', 'snapshot for monday')
        volumes.wait_for_end_of_snapshot(snapshot)
    shown.write()

    server.delete()
    demo.openstack('image', 'delete', image['id'])
    volumes.delete(volume_id)
    assert journey.remains(cloud.site, cloud.tenant('admin')) == {}
