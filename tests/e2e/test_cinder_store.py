"""A store of type cinder: an image in it is a volume of Cinder's, in Ceph."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import json
import subprocess
from typing import Any

import pytest

from tests.command import by_name
from tests.e2e import ceph
from tests.e2e import fixture
from tests.e2e import glance
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e.tenant import wait_for

MIB = 1 << 20
STORE = glance.VOLUMES
Run = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture(scope='module')
def server(
    cloud: fixture.Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[journey.Server]:
    """Return a server whose base image is in the store.

    Glance has the store for a while only: no other test has to expect it.
    """
    cloud.run_glance(filtered=True, volumes=True)
    cloud.run_compute(True)
    path = tmp_path_factory.mktemp('base') / 'base.raw'
    guest.write_image(path, 16 * MIB)
    admin = cloud.tenant('admin')
    base = admin.upload('in-cinder', STORE, path)
    server = journey.Server(
        cloud.site, cloud.tenant('demo'), 'in-cinder', base
    )
    yield server
    server.delete()
    admin.openstack('image', 'delete', base)
    wait_for_volumes(cloud, 0)
    assert journey.remains(cloud.site, admin) == {}
    cloud.run_glance(filtered=False)


@pytest.fixture
def snapshot(
    cloud: fixture.Cloud, server: journey.Server
) -> Iterator[dict[str, Any]]:
    """Return a snapshot of it."""
    image, landing = server.snapshot()
    assert landing == journey.Landing(STORE, whole=True)
    yield image
    cloud.tenant('demo').openstack('image', 'delete', image['id'])


@pytest.fixture
def change(run: Run) -> Callable[..., dict[str, str]]:
    """Run a command for images as an administrator."""

    def change(*command: str) -> dict[str, str]:
        done = run(*command, '-f', 'json', user='admin')
        assert done.returncode == 0, done.stderr
        rows = by_name(json.loads(done.stdout))
        return {row['store']: row['state'] for row in rows}

    return change


def wait_for_volumes(cloud: fixture.Cloud, count: int) -> None:
    """Wait until Cinder has so many volumes.

    Glance does not wait until Cinder has deleted one.
    """
    wait_for(
        'volumes of Cinder',
        lambda: ceph.images(cloud.site, ceph.VOLUMES),
        lambda found: len(found) == count,
    )


def lands(
    cloud: fixture.Cloud, server: journey.Server, image: Any, *stores: str
) -> bool:
    """Tell whether an image of a server is in these stores alone, whole."""
    landing = server.landing(cloud.tenant('demo').image(image['id']))
    return landing.whole and sorted(landing.stores.split(',')) == [*stores]


def test_copy(
    cloud: fixture.Cloud,
    server: journey.Server,
    snapshot: dict[str, Any],
    change: Callable[..., dict[str, str]],
) -> None:
    """The image is a volume, and what it is copied to has the same bytes."""
    wait_for_volumes(cloud, 2)
    image_id = snapshot['id']

    copied = change(
        *('image', 'copy', image_id, '--store', 'reliable', '--wait')
    )
    read = change('image', 'verify', image_id)

    assert copied == {'reliable': 'done'}
    assert read == {'reliable': 'good', STORE: 'good'}
    assert lands(cloud, server, snapshot, 'reliable', STORE)


def test_relocate(
    cloud: fixture.Cloud,
    server: journey.Server,
    snapshot: dict[str, Any],
    change: Callable[..., dict[str, str]],
) -> None:
    """From the store, and to it: the volume goes, and comes."""
    for source, target, volumes in ((STORE, 'cheap', 1), ('cheap', STORE, 2)):
        states = change('image', 'relocate', snapshot['id'], '--to', target)

        assert states == {target: 'done', source: 'deleted'}
        assert lands(cloud, server, snapshot, target)
        wait_for_volumes(cloud, volumes)


def test_order(
    cloud: fixture.Cloud,
    run: Run,
    server: journey.Server,
    change: Callable[..., dict[str, str]],
) -> None:
    """A request names it, and the base image is elsewhere by then."""
    states = change('image', 'relocate', server.image_id, '--to', 'cheap')
    assert states == {'cheap': 'done', STORE: 'deleted'}

    made = run(
        *('snapshot', 'create', '--store', STORE, '--wait'),
        *(server.name, '-f', 'json'),
    )

    assert made.returncode == 0, made.stderr
    image = server.active(by_name(json.loads(made.stdout))['id'])
    assert lands(cloud, server, image, STORE)
    cloud.tenant('demo').openstack('image', 'delete', image['id'])
