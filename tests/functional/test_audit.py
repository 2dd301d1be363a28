"""The audit of a real Glance's images, with a real Nova's servers."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import threading
import time
import types
import uuid

from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint
import openstack.connection
from osc_lib import exceptions
import pytest

from nova_multistore import copies
from nova_multistore import image_api
from nova_multistore import lookup
from nova_multistore import record
from nova_multistore.osc import cloud as osc_cloud
from nova_multistore.osc import image_pages
from nova_multistore.osc import snapshot_audit
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.command import by_name
from tests.functional import broken
from tests.functional import equal

MIB = 1 << 20
STORES = {
    'central': 'file',
    'dcn0': 'file',
    'dcn1': 'file',
    'dcn2': 'file',
    'web': 'http',
}
DATA = os.urandom(MIB)


@pytest.fixture(scope='module')
def glance(root):
    """With stores of this module's own."""
    (root / 'glance').mkdir()
    with cloud_glance.Glance(
        root / 'glance', stores=STORES, default='central'
    ) as glance:
        yield glance


class Token(token_endpoint.Token):
    """One whose project is known."""

    def __init__(self, endpoint, project, admin):
        roles = ('member', 'reader') + ('admin',) * admin
        # By this name Nova knows that it is one.
        user = 'admin' if admin else project
        super().__init__(endpoint, cloud_glance.token(project, roles, user))
        self._project = project

    def get_project_id(self, session):
        return self._project


@pytest.fixture(scope='module')
def nova_url(patched_nova):
    """Where Nova takes the tokens that Glance takes."""
    with patched_nova.served() as url:
        yield url


@pytest.fixture
def nova(nova):
    """Nothing is remembered of what Glance said."""
    lookup.forget()
    return nova


@pytest.fixture
def project():
    """A project of the test's own."""
    return uuid.uuid4().hex


class Shown:
    """What the command has shown."""

    def __init__(self, code, stdout, stderr):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    @property
    def rows(self):
        """The rows, where they were shown as JSON."""
        assert self.stdout, self.stderr
        return by_name(json.loads(self.stdout))

    @property
    def ids(self):
        """The images of the rows, where those were shown as CSV."""
        rows = csv.DictReader(io.StringIO(self.stdout))
        return [row['ID'] for row in rows]

    @property
    def problems(self):
        """The problems, by the image's id."""
        return {row['id']: row['problem'] for row in self.rows}


class Watched(io.StringIO):
    """Tells what was written when it is flushed."""

    def __init__(self, flushed):
        super().__init__()
        self._flushed = flushed

    def flush(self):
        super().flush()
        self._flushed(self.getvalue())


@pytest.fixture
def audited(glance, project, nova_url):
    """Run the command, as the project or as an administrator."""

    def audited(
        *args,
        admin=False,
        url=glance.url,
        formatter='json',
        flushed=lambda text: None,
        own=True,
        nova=nova_url,
    ):
        connection = openstack.connection.Connection(
            session=ks_session.Session(
                auth=Token(url, project if own else None, admin)
            ),
            compute_endpoint_override=nova,
            compute_api_version='2',
            image_endpoint_override=url,
            image_api_version='2',
        )
        app = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(
                multistore=osc_cloud.Cloud(connection)
            ),
            stdout=Watched(flushed),
            stderr=io.StringIO(),
        )
        command = snapshot_audit.AuditSnapshots(app, None)
        parser = command.get_parser('audit')
        parsed = parser.parse_args([*args, '-f', formatter])
        try:
            code = command.run(parsed)
        except exceptions.CommandError as exc:
            # As OpenStackClient does.
            code = 1
            app.stderr.write(f'{exc}\n')
        return Shown(code, app.stdout.getvalue(), app.stderr.getvalue())

    return audited


@pytest.fixture
def conf(tmp_path):
    """Write a nova.conf."""

    def conf(store=None, copy_to=(), libvirt=''):
        path = tmp_path / f'{uuid.uuid4().hex}.conf'
        path.write_text(
            (f'[glance]\nstore = {store}\n' if store else '')
            + f'[nova_multistore]\ncopy_to = {",".join(copy_to)}\n'
            + f'[libvirt]\n{libvirt}\n'
        )
        return f'--config-file={path}'

    return conf


@pytest.fixture
def snapshot(glance, project):
    """Create the image that a snapshot is."""

    def snapshot(*stores, data=DATA, image_type='snapshot', **properties):
        return glance.create_image(
            data,
            stores=stores or ('dcn0',),
            disk_format='raw',
            image_type=image_type,
            **{'name': 'nightly', 'project': project, **properties},
        )

    return snapshot


@pytest.fixture
def queued(glance, project):
    """Create a snapshot that waits for its data."""

    def queued(**properties):
        return glance.create_queued_image(
            **{'project': project, 'image_type': 'snapshot', **properties}
        )

    return queued


def age(glance, image_id, hours=2):
    """Have an image last changed so long ago."""
    glance.change_database(
        "UPDATE images SET updated_at = datetime('now', ?) WHERE id = ?",
        f'-{hours} hours',
        image_id,
    )


def age_tasks(glance, image_id):
    glance.change_database(
        "UPDATE tasks SET updated_at = datetime('now', '-61 minutes') "
        'WHERE image_id = ?',
        image_id,
    )


def test_nothing_wrong(glance, audited, snapshot, conf, project):
    """Only snapshots and backups count, and only one's own."""
    snapshot()
    snapshot(image_type='backup')
    # An image that is no snapshot, and another project's.
    glance.create_image(
        DATA, stores=['dcn1'], disk_format='raw', project=project
    )
    snapshot('dcn1', project='another')

    shown = audited(conf(store='dcn0'))

    assert (shown.code, shown.rows) == (0, [])
    assert shown.stderr.splitlines() == [
        'central: 0 images, 0 bytes',
        f'dcn0: 2 images, {2 * MIB} bytes',
        'dcn1: 0 images, 0 bytes',
        'dcn2: 0 images, 0 bytes',
        'web: 0 images, 0 bytes',
        '0 images with a record of the decision, 2 without',
        '0 problems, 0 mended',
    ]


def test_all_projects(audited, snapshot, conf):
    """An administrator may look at them all, and nobody else."""
    others = snapshot('dcn1', project='another')
    own = snapshot('dcn1')

    denied = audited(conf(store='dcn0'), '--all-projects')
    assert (denied.code, denied.stdout) == (2, '')

    shown = audited(conf(store='dcn0'), '--all-projects', admin=True)

    assert {own, others} <= set(shown.problems)
    owners = {row['project_id'] for row in shown.rows if row['id'] == others}
    assert owners == {'another'}


def test_wrong_store(audited, snapshot, conf, project):
    """It is never moved by the command."""
    image_id = snapshot('dcn1', image_type='backup')

    shown = audited(conf(store='dcn0'), '--fix')

    assert shown.code == 1
    assert shown.rows == [
        {
            'id': image_id,
            'name': 'nightly',
            'project_id': project,
            'status': 'active',
            'stores': ['dcn1'],
            'problem': 'it is in dcn1, not in dcn0: [glance] store names it',
            'remedy': f'openstack multistore image relocate {image_id} '
            '--to dcn0 --from dcn1',
        }
    ]


def test_hidden(glance, audited, snapshot, conf, project):
    """Glance lists such images only where they are asked for."""
    image_id = snapshot('dcn1', os_hidden=True)

    assert list(audited(conf(store='dcn0')).problems) == [image_id]


def test_without_configuration(audited, snapshot):
    """It is not known what is the right store."""
    snapshot('dcn1', base_image_ref=str(uuid.uuid4()))
    wanting = snapshot(**{copies.PROPERTY: 'central'})

    shown = audited()

    assert shown.problems == {
        wanting: 'no copy in central: none is being made'
    }


def test_missing_copies(glance, audited, snapshot, conf):
    """They are made, where that is asked for."""
    image_id = snapshot()
    copy_to = conf(copy_to=['central', 'dcn0', 'dcn1'])
    command = f'openstack multistore image copy {image_id}'

    for args, remedy in (
        ([], f'{command} --store central --store dcn1'),
        (['--dry-run'], f'{command} --store central --store dcn1'),
        (['--fix', '--dry-run'], 'to be copied to central, dcn1'),
    ):
        shown = audited(copy_to, *args, admin=True)
        assert shown.code == 1
        assert [row['remedy'] for row in shown.rows] == [remedy]
        assert glance.stores_of(image_id) == ['dcn0']

    shown = audited(copy_to, '--fix', admin=True)

    assert shown.code == 0
    assert [(row['problem'], row['remedy']) for row in shown.rows] == [
        (
            'no copy in central, dcn1: none is being made',
            'copied to central; copied to dcn1',
        )
    ]
    assert shown.stderr.splitlines()[0] == (
        f'copying image {image_id} to central, dcn1'
    )
    equal(glance, image_id, 'central', 'dcn0', 'dcn1')
    shown = audited(copy_to)
    assert (shown.code, shown.rows) == (0, [])


def test_property(glance, audited, snapshot, conf):
    """A user's wish counts as far as nova.conf goes along with it."""
    image_id = snapshot(**{copies.PROPERTY: 'dcn2,dcn1'})

    shown = audited(conf(copy_to=['central', 'dcn1']), '--fix', admin=True)

    assert shown.code == 3
    assert [row['problem'] for row in shown.rows] == [
        'no copy in dcn2: the image alone names it, copy_to in nova.conf does '
        'not',
        'no copy in dcn1: none is being made',
    ]
    equal(glance, image_id, 'dcn0', 'dcn1')


def test_refused_stores(glance, audited, snapshot, conf):
    """--fix does not even try."""
    image_id = snapshot()
    before = len(glance.requests())

    shown = audited(conf(copy_to=['nosuch', 'web']), '--fix', admin=True)

    assert shown.code == 1
    valid = 'the stores that can be written are central, dcn0, dcn1, dcn2'
    assert [row['problem'] for row in shown.rows] == [
        "no copy in nosuch: store 'nosuch' is not one of Glance's stores; "
        f'{valid}',
        f"no copy in web: store 'web' is read-only; {valid}",
    ]
    methods = {r.method for r in glance.requests()[before:]}
    assert methods == {'GET'}
    assert glance.stores_of(image_id) == ['dcn0']


def test_failed_import(glance, audited, snapshot, conf):
    """It says why, as far as Glance does; it is tried again by --fix."""
    image_id = snapshot()
    copy_to = conf(copy_to=['central', 'dcn1'])

    with broken(glance, 'dcn1'):
        first = audited(copy_to, '--fix', admin=True)
        second = audited(copy_to, admin=True)
        third = audited(copy_to, '--fix', admin=True)
    elsewhere = audited(conf(copy_to=[]), '--fix', admin=True)
    last = audited(copy_to, '--fix', admin=True)

    assert first.code == 3
    [row] = first.rows
    assert 'copied to central; not copied to dcn1: ' in row['remedy']
    for shown in (second, third, elsewhere):
        assert shown.code == 1
        assert 'no copy in dcn1: the import failed' in shown.problems[image_id]
    assert 'not copied to dcn1' in third.rows[0]['remedy']
    # Nobody wants that one: it is named, not made.
    assert elsewhere.rows[0]['remedy'].startswith('openstack multistore')
    assert last.code == 0
    equal(glance, image_id, 'central', 'dcn0', 'dcn1')


def test_member_may_not_copy(audited, snapshot, conf):
    """Glance says so, and the next image gets its turn."""
    images = {snapshot(), snapshot()}

    shown = audited(conf(copy_to=['central']), '--fix')

    assert shown.code == 1
    assert set(shown.problems) == images
    for row in shown.rows:
        assert '(HTTP 403)' in row['remedy']


def test_time_over(glance, audited, snapshot, conf):
    """What goes on then is not waited for."""
    image_id = snapshot(data=os.urandom(256 * MIB))
    copy_to = conf(copy_to=['central', 'dcn1'])

    shown = audited(copy_to, '--fix', '--timeout', '1', admin=True)

    assert shown.code == 1
    assert 'not copied to dcn1: ' in shown.rows[0]['remedy']
    glance.finish_tasks(image_id)
    equal(glance, image_id, 'central', 'dcn0', 'dcn1')


@pytest.fixture
def killed(glance, snapshot):
    """An image whose copy to ``dcn1`` ended when Glance was killed."""
    image_id = snapshot(data=os.urandom(256 * MIB))
    body = {'method': {'name': 'copy-image'}, 'stores': ['dcn1']}
    status, _ = glance.request(
        'POST', f'/v2/images/{image_id}/import', body, admin=True
    )
    assert status == 202
    staged = glance.directory('os_glance_staging_store') / image_id
    while not staged.exists():
        time.sleep(0.001)
    glance.kill()
    glance.start()
    assert staged.stat().st_size < 256 * MIB
    yield image_id
    glance.delete_image(image_id)


def test_stale_import(glance, audited, killed, conf):
    """It is left alone for an hour, then it is taken over."""
    copy_to = conf(copy_to=['dcn1'])

    young = audited(copy_to, admin=True)
    age_tasks(glance, killed)
    old = audited(copy_to, admin=True)
    mended = audited(copy_to, '--fix', admin=True)

    assert (young.code, young.rows) == (0, [])
    assert old.code == 1
    assert (
        'no copy in dcn1: the import has said nothing since 2'
        in (old.problems[killed])
    )
    assert mended.code == 0
    assert mended.rows[0]['remedy'] == 'copied to dcn1'
    equal(glance, killed, 'dcn0', 'dcn1')


def test_remains_in_a_store(glance, audited, snapshot, conf):
    """A Glance that was killed while it wrote leaves what keeps it out."""
    image_id = snapshot()
    remains = glance.directory('dcn1') / image_id
    remains.write_bytes(DATA[: MIB // 2])
    copy_to = conf(copy_to=['dcn1'])

    first = audited(copy_to, '--fix', admin=True)
    second = audited(copy_to, admin=True)
    remains.unlink()
    last = audited(copy_to, '--fix', admin=True)

    assert (first.code, second.code, last.code) == (1, 1, 0)
    assert first.rows[0]['remedy'] == 'not copied to dcn1: failed'
    assert "in Glance's log" in second.problems[image_id]
    assert 'already exists' in glance.log.read_text(errors='replace')
    equal(glance, image_id, 'dcn0', 'dcn1')


def test_copies_are_kept(audited, snapshot, conf):
    """What mends the store takes no copy away."""
    image_id = snapshot('dcn1', 'central')

    [row] = audited(conf(store='dcn0', copy_to=['central'])).rows

    assert row['remedy'] == (
        f'openstack multistore image relocate {image_id} --to dcn0 --from dcn1'
    )


def test_truncated(glance, audited, snapshot, conf):
    """What is not whole is not copied either."""
    image_id = snapshot()
    empty = snapshot(data=b'')
    nowhere = snapshot()
    volumes = snapshot(data=b'', block_device_mapping='[{}]')
    glance.change_database(
        'UPDATE images SET size = size - 512 WHERE id = ?', image_id
    )
    glance.change_database(
        'DELETE FROM image_locations WHERE image_id = ?', nowhere
    )

    shown = audited(conf(copy_to=['central']), '--fix', admin=True)

    assert shown.code == 1
    assert volumes not in shown.problems
    assert shown.problems == {
        image_id: f'it has {MIB - 512} bytes of a disk of {MIB}',
        empty: 'it is active without data',
        nowhere: 'it is active and is in no store',
    }


def test_formats(audited, snapshot, conf):
    """Programs can read each of them."""
    images = {snapshot('dcn1', name='a "name", of sorts'), snapshot('dcn1')}
    order = conf(store='dcn0')

    rows = list(
        csv.DictReader(io.StringIO(audited(order, formatter='csv').stdout))
    )
    values = audited(order, '-c', 'id', formatter='value').stdout
    table = audited(order, formatter='table').stdout

    assert {row['ID'] for row in rows} == images
    assert 'a "name", of sorts' in {row['Name'] for row in rows}
    assert set(values.split()) == images
    assert all(image_id in table for image_id in images)


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['--config-file=/no/such'], '/no/such'),
        ([], '--all-projects'),
    ],
)
def test_usage(audited, caplog, args, words):
    with caplog.at_level(logging.ERROR):
        shown = audited(*args, own=False)

    assert shown.code == 2
    assert words in caplog.text
    assert shown.stdout == ''


# Through a Glance that fails.


@pytest.fixture
def many(glance, snapshot, conf, monkeypatch):
    """Ten images on five pages, all in a wrong store."""
    monkeypatch.setattr(image_api, 'PAGE', 2)
    monkeypatch.setattr(image_pages, 'PAUSES', (0.5, 0.5, 1.0, 2.0, 4.0))
    return [snapshot('dcn1') for _ in range(10)], conf(store='dcn0')


@pytest.fixture
def proxy(glance):
    with cloud_proxy.Proxy(glance.url) as proxy:
        yield proxy


AWAY = cloud_proxy.Answer(502)
LISTING = ('GET', r'/v2/images\?.*marker=')


@pytest.mark.parametrize(
    'fault',
    [
        cloud_proxy.LoseAnswer(),
        cloud_proxy.Answer(503),
        cloud_proxy.Answer(200, b'{"images": ['),
        cloud_proxy.Answer(200, b'<html>'),
        cloud_proxy.Answer(200, b'[]'),
        cloud_proxy.Hang(1.5),
    ],
)
def test_listing_fails_for_a_while(audited, many, proxy, fault, monkeypatch):
    """It goes on where it stood: each image once."""
    images, order = many
    monkeypatch.setattr(image_api, 'PAGE_TIMEOUT', 1.0)
    proxy.fail(*LISTING, fault, times=3)

    shown = audited(order, url=proxy.url)

    assert proxy.met == 3
    assert [row['id'] for row in shown.rows] == images[::-1]


def test_listing_fails(audited, many, proxy):
    """What was found is shown, and that it is not all."""
    images, order = many

    def flushed(text):
        # Behind the second page.
        if images[6] in text:
            proxy.fail(*LISTING, cloud_proxy.LoseAnswer(), times=None)

    shown = audited(order, url=proxy.url, formatter='csv', flushed=flushed)

    assert shown.code == 4
    assert shown.ids == images[:5:-1]
    assert 'Glance did not answer' in shown.stderr
    assert 'not all images were audited' in shown.stderr


def test_glance_killed_while_listing(glance, audited, many, monkeypatch):
    """A Glance that comes back is taken up again."""
    images, order = many
    pauses = []

    def flushed(text):
        if images[6] in text and not pauses:
            glance.kill()

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            glance.start()

    monkeypatch.setattr(
        image_pages, 'time', types.SimpleNamespace(sleep=sleep)
    )

    shown = audited(order, formatter='csv', flushed=flushed)

    assert shown.ids == images[::-1]
    assert len(pauses) == 2


def test_image_deleted_while_listing(glance, audited, many):
    """The listing goes on from the one before it."""
    images, order = many
    deleted = []

    def flushed(text):
        if images[8] in text and not deleted:
            deleted.append(images[8])
            glance.delete_image(images[8])

    shown = audited(order, formatter='csv', flushed=flushed)

    assert shown.ids == images[::-1]


# With a Nova.


@pytest.fixture(scope='module')
def base(glance, qcow2):
    """Make, once each, base images by the stores in which they are."""
    made = {}

    def base(*stores):
        if stores not in made:
            made[stores] = glance.create_image(
                qcow2, stores=stores, visibility='public'
            )
        return made[stores]

    return base


@pytest.fixture
def server(boot, base):
    """A server whose base image is in ``dcn0``."""
    return boot(base('dcn0'))


@pytest.fixture
def problems(audited, nova):
    """Return the problems of one image."""

    def problems(image_id, *args):
        shown = audited(*args, '--all-projects', admin=True)
        return [
            (row['problem'], row['remedy'])
            for row in shown.rows
            if row['id'] == image_id
        ]

    return problems


@pytest.fixture
def unrecorded(glance):
    """Remove the record, as if the package had not made the image."""

    def unrecorded(image_id):
        image = glance.image(image_id)
        present = [name for name in record.PROPERTIES if name in image]
        assert record.RULE in present
        glance.change_image(
            image_id,
            *({'op': 'remove', 'path': f'/{name}'} for name in present),
        )
        return image_id

    return unrecorded


def test_recorded(nova, problems, conf, server):
    """An order that was met is right, whatever nova.conf says."""
    right = nova.snapshot(server)
    nova.conf(**{'glance.store': 'dcn1'})
    ordered = nova.backup(server)
    nova.conf(**{'glance.store': None})

    for in_force in ((conf(),), (conf(store='dcn2'),), ()):
        assert problems(right, *in_force) == []
        assert problems(ordered, *in_force) == []


def test_glance_that_could_not_be_asked(
    nova, base, problems, conf, server, proxy
):
    """Once it says where the base image is, so does the audit."""
    proxy.fail('GET', f'/v2/images/{base("dcn0")}$', AWAY, times=None)
    nova.conf(**{'glance.api_servers': [proxy.url]})

    image_id = nova.snapshot(server)

    reason = 'the base image is in it'
    assert problems(image_id, conf()) == [
        (
            f'it is in central, not in dcn0: {reason}',
            f'openstack multistore image relocate {image_id} --to dcn0 '
            '--from central',
        )
    ]
    [(problem, remedy)] = problems(image_id)
    assert problem.startswith('it is in central: Glance could not be asked: ')
    assert '--config-file' in remedy


def test_snapshots_of_nova(
    nova, base, boot, problems, conf, server, unrecorded
):
    """Without a record, one that was made under an order is not right."""
    right = [nova.snapshot(server), nova.backup(server)]
    nova.conf(**{'glance.store': 'dcn1'})
    ordered = [nova.snapshot(server), nova.backup(server, backup_type='x')]
    nova.conf(**{'glance.store': None})
    for image_id in (*right, *ordered):
        unrecorded(image_id)

    for image_id in right:
        assert problems(image_id, conf()) == []
        assert len(problems(image_id, conf(store='dcn1'))) == 1
    for image_id in ordered:
        assert problems(image_id, conf(store='dcn1')) == []
        assert problems(image_id, conf()) == [
            (
                'it is in dcn1, not in dcn0: the base image is in it',
                f'openstack multistore image relocate {image_id} --to dcn0 '
                '--from dcn1',
            )
        ]
    # Without its server, there is nothing to go by.
    nova.delete_server(server)
    for image_id in ordered:
        assert problems(image_id, conf()) == []


def test_snapshot_of_a_snapshot(
    nova, problems, conf, server, boot, unrecorded
):
    """Its base image is the first one, not what base_image_ref says."""
    nova.conf(**{'glance.store': 'dcn1'})
    first = nova.snapshot(server)
    nova.conf(**{'glance.store': None})

    image_id = unrecorded(nova.snapshot(boot(first)))

    image = nova.glance.image(image_id)
    assert image['base_image_ref'] != first
    assert image['stores'] == 'dcn1'
    assert problems(image_id, conf()) == []


def test_rebuilt_server(nova, base, problems, conf, server, unrecorded):
    """Its snapshots of before followed another image."""
    nova.conf(**{'glance.store': 'dcn2'})
    image_id = unrecorded(nova.snapshot(server))
    nova.conf(**{'glance.store': None})
    assert len(problems(image_id, conf())) == 1

    rebuild = {'rebuild': {'imageRef': base('dcn1')}}
    nova.api.post_server_action(server, rebuild)
    nova.wait(server, 'ACTIVE')

    assert problems(image_id, conf()) == []
    # And those of afterwards follow this one.
    assert problems(unrecorded(nova.snapshot(server)), conf()) == []


def test_shelved_server(nova, problems, conf, server, unrecorded):
    """Its image is Nova's for a while: no order, and no copies."""
    nova.conf(**{'glance.store': 'dcn1'})

    image_id = unrecorded(nova.shelve(server))

    in_force = conf(store='dcn1', copy_to=['central'])
    assert nova.glance.image(image_id)['stores'] == 'dcn0'
    assert problems(image_id, in_force) == []


def test_only_read_only_stores(nova, glance, boot, problems, conf, unrecorded):
    """The base image cannot tell: it is the default store."""
    raw = glance.create_image(
        DATA, stores=['web'], disk_format='raw', visibility='public'
    )

    image_id = unrecorded(nova.snapshot(boot(raw)))

    assert glance.stores_of(image_id) == ['central']
    assert problems(image_id, conf()) == []


@pytest.mark.parametrize('gone', [False, True])
def test_stuck(glance, nova, queued, problems, server, gone):
    """It is named, not deleted."""
    image_id = queued(
        instance_uuid=str(uuid.uuid4()) if gone else server,
        project=nova.project,
    )
    assert problems(image_id) == []
    age(glance, image_id)

    [(problem, remedy)] = problems(image_id, '--fix')

    assert problem.startswith('queued since 2')
    assert remedy == f'openstack image delete {image_id}'
    assert glance.image(image_id)['status'] == 'queued'


def test_slow_snapshot(glance, nova, problems, server, proxy):
    """As long as Nova is at it, it may become something."""
    reached, go_on = threading.Event(), threading.Event()
    proxy.fail('PUT', '/file$', cloud_proxy.Pause(None, reached, go_on))
    nova.conf(**{'glance.api_servers': [proxy.url]})
    image_id = nova.start_snapshot(server)
    try:
        assert reached.wait(60)
        age(glance, image_id)

        assert problems(image_id) == []
    finally:
        go_on.set()
        nova.wait(server)


def test_nova_does_not_answer(glance, audited, queued, snapshot, monkeypatch):
    """What hangs on it is not judged, and that is said."""
    monkeypatch.setattr(image_pages, 'PAUSES', (0.1,))
    image_id = queued(instance_uuid=str(uuid.uuid4()))
    age(glance, image_id)
    wanting = snapshot(**{copies.PROPERTY: 'central'})
    [port] = cloud_glance.free_ports(1)

    shown = audited('--fix', admin=True, nova=f'http://127.0.0.1:{port}/v2.1')

    assert list(shown.problems) == [wanting]
    assert shown.code == 4
    assert 'Nova did not show 1 server:' in shown.stderr
