"""What the audit finds out from images alone, and mends."""

from __future__ import annotations

import csv
import io
import os
import time
import types
import uuid

import pytest

from nova_multistore import copies
from nova_multistore import image_api
from nova_multistore.osc import image_pages
from tests.cloud import proxy as cloud_proxy
from tests.functional import broken
from tests.functional import equal
from tests.functional.audit import DATA
from tests.functional.audit import MIB
from tests.functional.audit import problems_of


def ids(result):
    """Return the images of what was shown as CSV."""
    rows = csv.DictReader(io.StringIO(result.shown))
    return [row['ID'] for row in rows]


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
    assert shown.progress.splitlines() == [
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
    assert (denied.code, denied.shown) == (2, '')

    shown = audited(conf(store='dcn0'), '--all-projects', admin=True)

    assert {own, others} <= set(problems_of(shown))
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

    assert list(problems_of(audited(conf(store='dcn0')))) == [image_id]


def test_without_configuration(audited, snapshot):
    """It is not known what is the right store."""
    snapshot('dcn1', base_image_ref=str(uuid.uuid4()))
    wanting = snapshot(**{copies.PROPERTY: 'central'})

    shown = audited()

    assert problems_of(shown) == {
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
    assert shown.progress.splitlines()[0] == (
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
        assert (
            'no copy in dcn1: the import failed'
            in problems_of(shown)[image_id]
        )
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
    assert set(problems_of(shown)) == images
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
    glance.age_tasks(killed)
    old = audited(copy_to, admin=True)
    mended = audited(copy_to, '--fix', admin=True)

    assert (young.code, young.rows) == (0, [])
    assert old.code == 1
    assert (
        'no copy in dcn1: the import has said nothing since 2'
        in problems_of(old)[killed]
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
    assert "in Glance's log" in problems_of(second)[image_id]
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
    assert volumes not in problems_of(shown)
    assert problems_of(shown) == {
        image_id: f'it has {MIB - 512} bytes of a disk of {MIB}',
        empty: 'it is active without data',
        nowhere: 'it is active and is in no store',
    }


def test_formats(audited, snapshot, conf):
    """Programs can read each of them."""
    images = {snapshot('dcn1', name='a "name", of sorts'), snapshot('dcn1')}
    order = conf(store='dcn0')

    rows = list(csv.DictReader(io.StringIO(audited(order, '-f', 'csv').shown)))
    values = audited(order, '-c', 'id', '-f', 'value').shown
    table = audited(order, '-f', 'table').shown

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
def test_usage(audited, args, words):
    shown = audited(*args, own=False)

    assert shown.code == 2
    assert words in shown.words
    assert shown.shown == ''


# Through a Glance that fails.


@pytest.fixture
def many(glance, snapshot, conf, monkeypatch):
    """Ten images on five pages, all in a wrong store."""
    monkeypatch.setattr(image_api, 'PAGE', 2)
    monkeypatch.setattr(image_pages, 'PAUSES', (0.5, 0.5, 1.0, 2.0, 4.0))
    return [snapshot('dcn1') for _ in range(10)], conf(store='dcn0')


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

    shown = audited(order, '-f', 'csv', url=proxy.url, flushed=flushed)

    assert shown.code == 4
    assert ids(shown) == images[:5:-1]
    assert 'Glance did not answer' in shown.progress
    assert 'not all images were audited' in shown.progress


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

    shown = audited(order, '-f', 'csv', flushed=flushed)

    assert ids(shown) == images[::-1]
    assert len(pauses) == 2


def test_image_deleted_while_listing(glance, audited, many):
    """The listing goes on from the one before it."""
    images, order = many
    deleted = []

    def flushed(text):
        if images[8] in text and not deleted:
            deleted.append(images[8])
            glance.delete_image(images[8])

    shown = audited(order, '-f', 'csv', flushed=flushed)

    assert ids(shown) == images[::-1]
