"""Every operation, with each type of store.

What came of it is a table in the documentation.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import pathlib
import textwrap

import pytest

from nova_multistore import copies
from nova_multistore import opts
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from nova_multistore.osc import snapshot_audit
from nova_multistore.osc import store_drain
from nova_multistore.osc.placement import apply as placement_apply
from nova_multistore.osc.placement import plan as placement_plan
from tests import command
from tests.cloud import glance as cloud_glance
from tests.cloud import nova as cloud_nova
from tests.functional import connect
from tests.functional import end_background
from tests.servers import DISKS
from tests.servers import POOL
from tests.servers import SERVICE

MIB = 1 << 20
#: The store of each type, and what the table calls it.
TYPES = {'file': 'Files', 'rbd': 'Ceph (rbd)', 's3': 'S3', 'swift': 'Swift'}
#: The size of an image that is one object in S3 and Swift, and of one that is
#: several.
SMALL, LARGE = MIB, 6 * MIB
#: From which size on it is several, in MiB.
FROM = 2
PAGE = pathlib.Path(__file__).parents[2] / 'doc' / 'source' / 'stores.csv'


class Table:
    """What came of each operation, by type of store."""

    def __init__(self):
        self._outcomes = {}

    def add(self, operation, store, outcome='yes'):
        self._outcomes.setdefault(operation, {})[store] = outcome

    def write(self):
        """Write it, unless a part is missing."""
        with PAGE.open(newline='') as file:
            written = {row[0] for row in csv.reader(file)} - {''}
        if not written <= self._outcomes.keys() or any(
            TYPES.keys() != row.keys() for row in self._outcomes.values()
        ):
            return
        with PAGE.open('w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(['', *TYPES.values()])
            for operation, row in self._outcomes.items():
                writer.writerow([operation, *(row[s] for s in TYPES)])


@pytest.fixture(scope='module')
def table():
    table = Table()
    yield table
    table.write()


class Data:
    """What each store has, seen past Glance."""

    def __init__(self, glance, ceph, s3, swift):
        self._glance = glance
        self._ceph = ceph
        self._objects = {'s3': s3, 'swift': swift}
        self._s3 = s3.client()
        self._swift = swift.connection()

    def digest(self, store, image_id):
        """Return the digest of what a store has of an image."""
        if store == 'rbd':
            return self._ceph.sha256(f'{POOL}/{image_id}@snap')
        return hashlib.sha256(self._read(store, image_id)).hexdigest()

    def flip(self, store, image_id):
        """Change one bit of a small image."""
        if store == 'rbd':
            self._ceph.flip(f'{POOL}/{image_id}')
            return
        data = bytearray(self._read(store, image_id))
        data[12345] ^= 1
        data = bytes(data)
        if store == 's3':
            self._s3.put_object(Bucket='glance', Key=image_id, Body=data)
        elif store == 'swift':
            self._swift.put_object('glance', image_id, data)
        else:
            (self._glance.directory(store) / image_id).write_bytes(data)

    def names(self, store):
        """Return the names of what a store has."""
        if store == 'rbd':
            return set(self._ceph.images(POOL))
        if store == 's3':
            listed = self._s3.list_objects_v2(Bucket='glance')
            return {entry['Key'] for entry in listed.get('Contents', ())}
        if store == 'swift':
            return {e['name'] for e in self._swift.get_container('glance')[1]}
        return {path.name for path in self._glance.directory(store).iterdir()}

    def _read(self, store, image_id):
        if store in self._objects:
            return self._objects[store].read(image_id)
        return (self._glance.directory(store) / image_id).read_bytes()


@pytest.fixture(scope='module')
def cloud(tmp_path_factory, ceph, s3, swift, running):
    """A store of each type, and one for files that is the default."""
    with cloud_glance.Glance(
        tmp_path_factory.mktemp('glance'),
        stores={'cheap': 'file', **{store: store for store in TYPES}},
        default='cheap',
        filters=cloud_glance.FILTER,
        **ceph.store('rbd', POOL),
        **s3.store('s3', large=FROM),
        **swift.store('swift', large=FROM),
    ) as glance:
        cloud_nova.register_credentials('service_user')
        cloud_nova.register_credentials(opts.COPY_GROUP)
        with running(
            glance,
            small_disks=True,
            **{
                **ceph.disks(DISKS),
                'workarounds.disable_libvirt_livesnapshot': False,
                'service_user.send_service_user_token': True,
                **cloud_nova.credentials('service_user', glance.url, SERVICE),
                **cloud_nova.credentials(
                    opts.COPY_GROUP, glance.url, cloud_glance.ADMIN
                ),
            },
        ) as cloud:
            cloud.ceph = ceph
            cloud.data = Data(glance, ceph, s3, swift)
            cloud.servers = {}
            yield cloud


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Glance is asked more often what became of an image."""
    monkeypatch.setattr(copies, 'PAUSES', (0.05, 1.0))
    monkeypatch.setattr(relocation, 'PAUSE', 0.05)
    monkeypatch.setattr(relocation, 'GRACE', 0.0)


@pytest.fixture
def boot(cloud):
    """Boot a server from an image in a store, once for all tests.

    Its disk is in Ceph, and no clone.
    """

    def boot(store, size=SMALL):
        if (store, size) not in cloud.servers:
            base = create(cloud.glance, size, store)
            server = cloud.nova.create_server(base)
            cloud.nova.write_disk(server, os.urandom(MIB // 2), MIB // 4)
            cloud.servers[store, size] = server
        return cloud.servers[store, size]

    return boot


@pytest.fixture
def run(cloud):
    """Run a command as an administrator."""
    with cloud.nova.served() as url:
        shown = connect(cloud.glance.url, compute=url)
        yield lambda name, *args: command.run(name, shown, *args)


@pytest.fixture
def make(cloud):
    """Make an image of random data, which is deleted in the end."""
    made = []

    def make(*stores, size=SMALL, **properties):
        made.append(create(cloud.glance, size, *stores, **properties))
        return made[-1]

    yield make
    for image_id in made:
        cloud.glance.delete_image(image_id)
    for store in TYPES:
        # Pieces of a large object begin with its name.
        left = {n for n in cloud.data.names(store) if n[:36] in made}
        assert left == set()


def create(glance, size, first, *others, **properties):
    """Create an image of random data.

    How long they are is not said: see `test_swift`.
    """
    # Glance looks there for what they are.
    data = bytes(512) + os.urandom(size - 512)
    image_id = glance.create_queued_image(**properties)
    headers = {
        'Content-Type': 'application/octet-stream',
        'X-Image-Meta-Store': first,
    }
    path = f'/v2/images/{image_id}/file'
    answer = glance.request(
        'PUT', path, io.BytesIO(data), admin=True, headers=headers
    )
    assert answer == (204, b'')
    if others:
        glance.copy_image(image_id, others)
    return image_id


def are_whole(cloud, image_id, *stores):
    """See that an image is in these stores alone, whole."""
    assert sorted(cloud.glance.stores_of(image_id)) == sorted(stores)
    shown = cloud.glance.image(image_id)
    digests = {store: cloud.data.digest(store, image_id) for store in stores}
    assert len(set(digests.values())) == 1, digests
    if shown['os_hash_algo'] == 'sha256':
        assert set(digests.values()) == {shown['os_hash_value']}
    return digests[stores[0]]


def snapshot(cloud, server, *stores):
    """Take a snapshot, which has to be in these stores, and delete it."""
    digest = cloud.ceph.sha256(f'{DISKS}/{server}_disk')
    image_id = cloud.nova.snapshot(server)
    end_background()
    assert are_whole(cloud, image_id, *stores) == digest
    # Glance may hash what was made in Ceph still.
    cloud.glance.finish_tasks(image_id)
    found = cloud.glance.image(image_id)
    cloud.glance.delete_image(image_id)
    for store in stores:
        left = [n for n in cloud.data.names(store) if n.startswith(image_id)]
        assert left == []
    return found


each_type = pytest.mark.parametrize('store', TYPES)


@each_type
def test_derived(cloud, boot, table, store):
    """It is several objects in S3 and Swift."""
    found = snapshot(cloud, boot(store, LARGE), store)

    assert record.DIFFERENCE not in found
    table.add('snapshot, to the store of the base image', store)


@each_type
def test_ordered(cloud, boot, table, store):
    cloud.nova.conf(**{'glance.store': store})
    try:
        snapshot(cloud, boot('cheap'), store)
    finally:
        cloud.nova.conf(**{'glance.store': None})
    table.add('snapshot, to the store of an order', store)


@each_type
def test_copy_to(cloud, boot, table, store):
    cloud.nova.conf(**{'nova_multistore.copy_to': [store]})
    try:
        snapshot(cloud, boot('cheap'), 'cheap', store)
    finally:
        cloud.nova.conf(**{'nova_multistore.copy_to': []})
    table.add('copy_to', store)


@each_type
def test_move_to(cloud, boot, table, store):
    """A snapshot is made in Ceph, and moves."""
    cloud.nova.records.clear()
    cloud.nova.conf(**{'nova_multistore.move_to': store})
    try:
        found = snapshot(cloud, boot('rbd'), store)
    finally:
        cloud.nova.conf(**{'nova_multistore.move_to': None})
    assert record.MOVE_FROM not in found
    moved = any('has moved from' in line for line in cloud.nova.log_lines())
    assert moved == (store != 'rbd')
    table.add('move_to', store, 'yes' if moved else 'it is made there')


@each_type
def test_copy(cloud, run, make, table, store):
    """To the store, and from it."""
    for source, target in (('cheap', store), (store, 'cheap')):
        image_id = make(source)

        result = run(
            image_copy.CopyImage, image_id, '--wait', '--store', target
        )

        assert result.code == 0, result
        are_whole(cloud, image_id, source, target)
    table.add('image copy', store)


@each_type
def test_copy_large(cloud, run, make, table, store, monkeypatch):
    """Glance cannot copy a large object to Swift.

    It knows how long it is, with which glance_store 5.2 and newer fail.
    """
    monkeypatch.setattr(copies, 'TRIES', 1)
    image_id = make(store, size=LARGE)
    result = run(image_copy.CopyImage, image_id, '--wait', '--store', 'cheap')
    assert result.code == 0, result
    are_whole(cloud, image_id, store, 'cheap')
    image_id = make('cheap', size=LARGE)

    result = run(image_copy.CopyImage, image_id, '--wait', '--store', store)

    if store == 'swift':
        assert (result.code, result.states) == (1, {store: 'failed'})
        are_whole(cloud, image_id, 'cheap')
        outcome = 'from it alone'
    else:
        assert result.code == 0, result
        are_whole(cloud, image_id, 'cheap', store)
        outcome = 'yes'
    table.add('image copy, of several objects', store, outcome)


@each_type
def test_relocate(cloud, run, make, table, store):
    """To the store, and from it."""
    image_id = make('cheap')

    for source, target in (('cheap', store), (store, 'cheap')):
        result = run(image_relocate.RelocateImage, image_id, '--to', target)

        assert result.code == 0, result
        assert result.states == {target: 'done', source: 'deleted'}
        are_whole(cloud, image_id, target)
        assert image_id not in cloud.data.names(source)
    table.add('image relocate', store)


@each_type
def test_drain(cloud, run, make, table, store):
    """From the store, with a copy elsewhere and without."""
    alone, twice = make(store, name='a'), make(store, 'cheap', name='b')
    bases = [
        i['id']
        for i in cloud.glance.images()
        if store in cloud.glance.stores_of(i['id'])
    ]

    # What another test's Glance has left in the same bucket.
    foreign = {
        name
        for name in cloud.data.names(store)
        if not name.startswith(tuple(bases))
    }

    result = run(store_drain.DrainStore, store, '--to', 'cheap')

    stay = {row['id']: row['reason'] for row in result.rows}
    if store == 'rbd':
        # Servers were made from them.
        assert result.code == (3 if stay else 0)
        assert all('a disk that is a clone' in why for why in stay.values())
    else:
        assert (result.code, stay) == (0, {}), result
    assert {alone, twice} <= {*bases} - {*stay}
    for image_id in {*bases} - {*stay}:
        are_whole(cloud, image_id, 'cheap')
    assert cloud.data.names(store) == {*stay} | foreign
    table.add('store drain', store)


@each_type
def test_verify(cloud, run, make, table, store):
    """One bit of one copy is wrong."""
    image_id = make('cheap', store)
    assert run(image_verify.VerifyImages, image_id).states == {
        'cheap': 'good',
        store: 'good',
    }
    cloud.data.flip(store, image_id)

    found = run(image_verify.VerifyImages, image_id)
    fixed = run(image_verify.VerifyImages, image_id, '--fix')

    assert (found.code, found.states[store]) == (1, 'damaged')
    assert (fixed.code, fixed.states[store]) == (0, 'repaired'), fixed
    are_whole(cloud, image_id, 'cheap', store)
    table.add('image verify, --fix', store)


@each_type
def test_placement(cloud, run, make, table, store, tmp_path):
    image_id = make('cheap', name='golden')
    path = tmp_path / 'placements.yaml'

    for source, target in (('cheap', store), (store, 'cheap')):
        path.write_text(
            textwrap.dedent(f"""
                placements:
                - {{name: x, images: {{name: golden}}, stores: [{target}]}}
            """)
        )
        planned = run(placement_plan.PlanPlacements, str(path), '--prune')
        applied = run(placement_apply.ApplyPlacements, str(path), '--prune')

        [row] = planned.rows
        assert (row['copy_to'], row['delete_from']) == ([target], [source])
        assert applied.code == 0, applied
        assert applied.states == {target: 'done', source: 'deleted'}
        are_whole(cloud, image_id, target)
        assert image_id not in cloud.data.names(source)
    table.add('placement plan, apply --prune', store)


@each_type
def test_audit(cloud, run, make, table, store, tmp_path):
    """A copy that is missing is made."""
    image_id = make('cheap', image_type='snapshot', **{copies.PROPERTY: store})
    path = tmp_path / 'nova.conf'
    path.write_text(f'[nova_multistore]\ncopy_to = {store}\n')

    result = run(
        snapshot_audit.AuditSnapshots,
        *('--all-projects', '--config-file', str(path), '--fix'),
    )

    [row] = [row for row in result.rows if row['id'] == image_id]
    assert row['problem'] == f'no copy in {store}: none is being made'
    assert row['remedy'] == f'copied to {store}'
    are_whole(cloud, image_id, 'cheap', store)
    table.add('snapshot audit --fix', store)


@each_type
def test_one_copy(cloud, make, table, store):
    """What the filter in Glance sends is what that store has."""
    image_id = make(store, size=LARGE)
    cloud.glance.copy_image(image_id, ['cheap'])
    path = cloud.glance.directory('cheap') / image_id
    path.write_bytes(bytes(LARGE))

    status, data = cloud.glance.request(
        'GET', f'/v2/stores/{store}/{image_id}', admin=True
    )

    assert status == 200
    assert hashlib.sha256(data).hexdigest() == cloud.data.digest(
        store, image_id
    )
    assert data != bytes(LARGE)
    table.add('download of one copy', store)
