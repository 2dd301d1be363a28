"""What tenants do, on stock Nova and on a patched one.

Each test that has run writes what it saw to a table in the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
import dataclasses
from pathlib import Path

import pytest

from tests.e2e import fixture
from tests.e2e import guest
from tests.e2e import journey
from tests.e2e import table

MIB = 1 << 20
#: How large a disk is whose upload takes some seconds, in bytes.
UPLOAD = 256 * MIB
ORDERED = 'reliable'
#: The image of a server that was started from a snapshot.
AGAIN = 'snapshot of its snapshot'
UNKNOWN = 'nosuch'
#: How many tenants are at work at the same time.
TENANTS = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A server, and what is snapshotted of it.

    :param user: whose server it is; "demo" is no administrator
    :param deleted: whether the base image is deleted once the server runs
    """

    base: str
    user: str
    deleted: bool = False

    def __str__(self) -> str:
        return f'{self.base}, deleted' if self.deleted else self.base

    @property
    def flavor(self) -> str:
        # A large disk has Glance read a lot: one of them is enough.
        return journey.SMALL if self.base == 'cheap' else journey.TINY


#: The one of a user who is no administrator, on disks of every type.
MEMBERS = Case('fast', 'demo')


@dataclasses.dataclass(frozen=True)
class Compute:
    """One way to run nova-compute."""

    images_type: str
    patched: bool

    def __str__(self) -> str:
        return f'{"patched" if self.patched else "stock"}-{self.images_type}'

    @property
    def cases(self) -> tuple[Case, ...]:
        # Nova has Glance copy an image into its own Ceph store before a
        # server is started from it. Members may not do that.
        others = 'admin' if self.images_type == 'rbd' else 'demo'
        return (
            Case('cheap', others),
            MEMBERS,
            Case('reliable', others),
            Case('web', others),
            Case('fast', others, deleted=True),
        )

    def expected(self, case: Case, image: str = 'snapshot') -> str:
        """Return where the images made of a server have to land.

        :param image: what it was made for
        """
        if self.images_type == 'rbd':
            # They are cloned inside Ceph, as the disks were. Stock Nova finds
            # no pool where the base image does not tell. To start a server
            # from its upload, Nova has it copied into Ceph.
            lost = case.deleted and not self.patched and image != AGAIN
            return 'cheap' if lost else 'fast'
        if self.patched and not case.deleted and case.base != 'web':
            return case.base
        return 'cheap'


COMPUTES = [
    Compute(images_type, patched)
    for images_type in ('qcow2', 'rbd')
    for patched in (False, True)
]


def start(
    cloud: fixture.Cloud, name: str, case: Case, base: Path
) -> journey.Server:
    """Start a server from a base image of its own.

    :param base: the data of that
    """
    image_id = cloud.tenant('admin').upload(f'{name}-base', case.base, base)
    return journey.Server(
        cloud.site,
        cloud.tenant(case.user),
        name,
        image_id,
        flavor=case.flavor,
    )


class Tour:
    """All that is done to one server, and what became of its images.

    :param twice: whether a server is started from its snapshot, too
    """

    def __init__(
        self,
        cloud: fixture.Cloud,
        name: str,
        case: Case,
        base: Path,
        twice: bool = True,
    ) -> None:
        self.landings: dict[str, journey.Landing] = {}
        server = start(cloud, name, case, base)
        if case.deleted:
            # Ceph keeps an image that a disk was cloned from, until the disk
            # is a whole one: unshelving makes it so.
            snapshot, _ = server.snapshot()
            server.shelve(server.data(snapshot)[0])
            cloud.tenant('admin').openstack('image', 'delete', server.image_id)
        snapshot, self.landings['snapshot'] = server.snapshot()
        self.landings['backup'] = server.back_up()
        # Shelving deletes the disk. The guest wrote nothing since.
        self.landings['shelve'] = server.shelve(server.data(snapshot)[0])
        if twice:
            again = server.descendant(snapshot['id'])
            self.landings[AGAIN] = again.snapshot()[1]
            again.delete()
        server.delete()


@pytest.fixture(scope='module')
def results() -> Iterator[table.Table]:
    """Return the table that the tests fill."""
    with table.Table.written(
        'end-to-end.csv',
        *('Disks', 'Base image in', 'Images', 'Stock Nova', 'Patched'),
    ) as results:
        yield results


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk to start guests from."""
    path = tmp_path_factory.mktemp('images') / 'base.raw'
    guest.write_image(path, 8 * MIB)
    return path


@pytest.fixture(scope='module', params=COMPUTES, ids=str)
def compute(request: pytest.FixtureRequest, cloud: fixture.Cloud) -> Compute:
    """Return how nova-compute runs.

    A stock one is told of a store that it does not know of.
    """
    compute: Compute = request.param
    run(cloud, compute, None if compute.patched else ORDERED)
    return compute


def run(cloud: fixture.Cloud, compute: Compute, store: str | None) -> None:
    options = {'glance.store': store} if store else {}
    cloud.run_compute(compute.patched, compute.images_type, **options)


@pytest.fixture(scope='module')
def tours(
    cloud: fixture.Cloud, compute: Compute, base: Path
) -> dict[Case, futures.Future[Tour]]:
    """Return what came of every case, a few at a time."""
    with futures.ThreadPoolExecutor(TENANTS) as pool:
        return {
            case: pool.submit(Tour, cloud, f'{compute}-{number}', case, base)
            for number, case in enumerate(compute.cases)
        }


@pytest.mark.parametrize('number', range(5))
def test_images_land_where_they_should(
    compute: Compute,
    tours: dict[Case, futures.Future[Tour]],
    results: table.Table,
    number: int,
) -> None:
    """Patched, they go where the base image is, and are whole."""
    case = compute.cases[number]
    landings = tours[case].result().landings
    for image, landing in landings.items():
        row = compute.images_type, str(case), image
        results.add(row, compute.patched, landing)
    assert landings == {
        image: journey.Landing(compute.expected(case, image), whole=True)
        for image in landings
    }


def test_nothing_is_left(
    cloud: fixture.Cloud, tours: dict[Case, futures.Future[Tour]]
) -> None:
    """No image is half made, no disk and no file stays behind."""
    assert journey.remains(cloud.site, cloud.tenant('admin')) == {}


def test_ordered_store_takes_them(
    cloud: fixture.Cloud,
    compute: Compute,
    tours: dict[Case, futures.Future[Tour]],
    base: Path,
    results: table.Table,
) -> None:
    """What a user keeps goes there, what Nova keeps for itself does not."""
    # A stock one has made its tours with this store in its configuration.
    tour = tours[MEMBERS].result()
    if compute.patched:
        run(cloud, compute, ORDERED)
        # No member could start a server from a snapshot outside Ceph.
        tour = Tour(cloud, f'{compute}-ordered', MEMBERS, base, twice=False)
    landings = {
        image: tour.landings[image]
        for image in ('snapshot', 'backup', 'shelve')
    }
    for image, landing in landings.items():
        base_in = f'{MEMBERS}, [glance] store = {ORDERED}'
        row = compute.images_type, base_in, image
        results.add(row, compute.patched, landing)
    follows = compute.expected(MEMBERS)
    for image, landing in landings.items():
        kept = compute.patched and image != 'shelve'
        store = ORDERED if kept else follows
        assert landing == journey.Landing(store, whole=True), image


@pytest.mark.parametrize('compute', COMPUTES[3:], ids=str, indirect=True)
def test_images_in_a_format_that_is_not_raw(
    cloud: fixture.Cloud, compute: Compute, base: Path
) -> None:
    """A clone cannot be one: they are uploaded, and a server comes back."""
    cloud.run_compute(
        compute.patched,
        compute.images_type,
        **{'libvirt.snapshot_image_format': 'qcow2'},
    )
    tour = Tour(cloud, f'{compute}-format', MEMBERS, base)
    assert tour.landings == {
        image: journey.Landing(compute.expected(MEMBERS), whole=True)
        for image in ('snapshot', 'backup', 'shelve', AGAIN)
    }
    assert journey.remains(cloud.site, cloud.tenant('admin')) == {}


def test_unknown_store_is_refused(
    cloud: fixture.Cloud, compute: Compute, base: Path, results: table.Table
) -> None:
    """The image vanishes, the operator is told why, the server stays."""
    run(cloud, compute, UNKNOWN)
    admin = cloud.tenant('admin')
    server = start(cloud, f'{compute}-unknown', MEMBERS, base)
    log = cloud.site.log('nova-compute')
    before = log.stat().st_size
    image_id = server.start_snapshot()
    server.wait_for_status('ACTIVE')
    said = log.read_bytes()[before:].decode()
    image = admin.image(image_id)
    if compute.patched:
        outcome = 'refused'
        assert image is None
        (line,) = [each for each in said.splitlines() if ' ERROR ' in each]
        assert (
            f"Image {image_id} (snapshot) is not made: store '{UNKNOWN}' is "
            "not one of Glance's stores; the stores that can be written are "
            'cheap, fast, reliable'
        ) in line
    else:
        landing = server.landing(server.active(image_id))
        outcome = str(landing)
        assert landing == journey.Landing(
            compute.expected(MEMBERS), whole=True
        )
    base_in = f'{MEMBERS}, [glance] store = {UNKNOWN}'
    row = compute.images_type, base_in, 'snapshot'
    results.add(row, compute.patched, outcome)
    server.delete()
    assert journey.remains(cloud.site, admin) == {}


@pytest.mark.parametrize('compute', COMPUTES[:2], ids=str, indirect=True)
@pytest.mark.parametrize('kill', [False, True], ids=['stopped', 'killed'])
def test_compute_restarts_during_an_upload(
    cloud: fixture.Cloud,
    compute: Compute,
    results: table.Table,
    tmp_path: Path,
    kill: bool,
) -> None:
    """Stopped, it ends the upload first. Killed, it makes no image of it.

    A snapshot inside Ceph is no upload.
    """
    run(cloud, compute, None)
    large = tmp_path / 'large.raw'
    guest.write_image(large, UPLOAD)
    admin = cloud.tenant('admin')
    name = f'{compute}-{"killed" if kill else "stopped"}'
    case = Case(ORDERED, MEMBERS.user)
    server = start(cloud, name, case, large)
    image_id = server.start_snapshot()
    admin.wait_for_image(
        f'the upload of {name}',
        image_id,
        lambda image: image['status'] == 'saving',
    )
    cloud.stop_compute(kill)
    run(cloud, compute, None)
    server.wait_for_status('ACTIVE')
    if kill:
        # Nobody is left to delete it. What Nova had on its disk stays, too.
        image = admin.image(image_id)
        outcome = f'{image["status"]}, no data'
        assert (image['status'], image['size']) == ('queued', None)
        admin.openstack('image', 'delete', image_id)
        journey.clean_up(cloud.site)
    else:
        landing = server.landing(server.active(image_id))
        outcome = str(landing)
        assert landing == journey.Landing(compute.expected(case), whole=True)
    server.delete()
    assert journey.remains(cloud.site, admin) == {}
    how = 'killed' if kill else 'stopped'
    image_of = f'snapshot, nova-compute {how} during the upload'
    row = compute.images_type, ORDERED, image_of
    results.add(row, compute.patched, outcome)
