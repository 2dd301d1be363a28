"""What Glance's list of images does not know, on the real Glance."""

from __future__ import annotations

import os
import threading
import time

import pytest

from nova_multistore.osc import image_copy
from nova_multistore.osc import image_list
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_verify
from nova_multistore.osc import snapshot_audit
from nova_multistore.osc import store_drain
from nova_multistore.osc import store_list
from nova_multistore.osc import store_map
from nova_multistore.osc.placement import apply as placement_apply
from nova_multistore.osc.placement import check as placement_check
from nova_multistore.osc.placement import plan as placement_plan
from tests import command
from tests import patience
from tests.cloud import glance as cloud_glance
from tests.functional import connect
from tests.functional import equal
from tests.functional import upgrade_check

DATA = os.urandom(64 << 10)
STORES = {'old': 'file', 'new': 'file', 'third': 'file', 'web': 'http'}
LOOKED = 'of {} whose stores are not listed'


def start(glance, **stores):
    """Start Glance again, with several stores."""
    glance.stop()
    glance.multi_store = True
    glance.start(stores=stores, default='new')


@pytest.fixture(scope='module')
def upgraded(tmp_path_factory):
    """A Glance that ran with one store first."""
    with cloud_glance.Glance(
        tmp_path_factory.mktemp('glance'),
        stores={'old': 'file'},
        default='old',
        multi_store=False,
        filters=cloud_glance.FILTER,
    ) as glance:
        make(glance)
        start(glance, **STORES)
        [image] = glance.images()
        assert 'stores' not in image
        glance.clear()
        yield glance


@pytest.fixture
def glance(upgraded):
    if upgraded.stores != STORES:
        start(upgraded, **STORES)
    yield upgraded
    if upgraded.stores != STORES:
        start(upgraded, **STORES)
    upgraded.clear()


def make(glance, *names, name='base', **more):
    return glance.create_image(
        DATA, stores=names or ('old',), disk_format='raw', name=name, **more
    )


def forget(glance, image_id, metadata='{}'):
    """Have an image be as one of before Glance had several stores."""
    glance.change_database(
        'UPDATE image_locations SET meta_data = ? WHERE image_id = ?',
        metadata,
        image_id,
    )


def act(glance, image_id, action):
    status, _ = glance.request(
        'POST', f'/v2/images/{image_id}/actions/{action}', admin=True
    )
    assert status == 204


@pytest.fixture
def old(glance):
    """Images in the old store, of which the list says nothing."""
    community = make(glance, name='community', project='other')
    glance.change_image(
        community,
        {'op': 'replace', 'path': '/visibility', 'value': 'community'},
        project='other',
        admin=True,
    )
    found = {
        'private': make(glance, name='private'),
        'hidden': make(glance, name='hidden', os_hidden=True),
        'snapshot': make(glance, name='snapshot', image_type='snapshot'),
        'community': community,
    }
    for image_id in found.values():
        forget(glance, image_id)
    return found


@pytest.fixture
def run(glance):
    """Run a command, as an administrator."""
    return lambda which, *args: command.run(which, connect(glance.url), *args)


def usage(result):
    return {row['id']: row['images'] for row in result.rows if row['images']}


def test_drain(glance, run, old):
    """A list that names no store is no empty store."""
    dry = run(store_drain.DrainStore, 'old', '--dry-run')
    for image_id in old.values():
        forget(glance, image_id)
    done = run(store_drain.DrainStore, 'old')

    for result, words in ((dry, 'would leave'), (done, 'left')):
        assert (result.code, result.rows) == (0, []), result.words
        assert f'4 images (256.0 KiB) {words} old; 4 ' in result.progress
    # Community images of others are among them; hidden ones come apart.
    assert f'3 {LOOKED.format("3 images")}' in done.progress
    assert f'4 {LOOKED.format("4 images")}' in done.progress
    for image_id in old.values():
        equal(glance, image_id, 'new')


def test_once(glance, run, old):
    """Glance writes down what it has looked up."""
    first = run(store_list.ListStores, '--all-projects')
    glance.forget_requests()
    second = run(store_list.ListStores, '--all-projects')

    assert usage(first) == usage(second) == {'old': 4}
    assert second.progress == ''
    paths = {request.path for request in glance.requests()}
    assert not [path for path in paths if path.endswith(old['private'])]


def test_metrics_and_map(glance, run, old, tmp_path):
    path = tmp_path / 'stores.prom'
    run(store_list.ListStores, '--all-projects', '--metrics', str(path))
    for image_id in old.values():
        forget(glance, image_id)
    drawn = run(
        store_map.MapStores,
        *('--output', str(tmp_path / 'map.svg'), '--all-projects'),
    )

    text = path.read_text()
    assert 'multistore_store_images{kind="other",store="old"} 3.0' in text
    assert 'multistore_store_unplaced_images 0.0' in text
    assert drawn.code == 0, drawn.words
    assert '4 images in 4 stores, 0 images with a problem:' in drawn.progress
    assert 'community' in (tmp_path / 'map.svg').read_text()


def test_own_images(glance, run, old):
    """With a filter, the images are still those of one project."""
    own = command.run(
        store_list.ListStores, connect(glance.url, cloud_glance.token())
    )
    others = run(store_list.ListStores)

    assert usage(own) == {'old': 3}
    assert usage(others) == {'old': 3}


def test_audit(glance, run, old):
    """A whole backup is no image to delete."""
    result = run(snapshot_audit.AuditSnapshots, '--all-projects')

    assert (result.code, result.rows) == (0, [])
    assert 'old: 1 image, 65536 bytes' in result.progress
    assert f'1 {LOOKED.format("1 image")}' in result.progress


def test_image_list(glance, run, old):
    """What is in a store, whole or in parts: hidden images come last."""

    def listed(*args):
        result = run(image_list.ListImages, '--store', 'old', *args)
        return [row['name'] for row in result.rows]

    everything = ['snapshot', 'private', 'hidden']
    assert listed() == everything
    assert listed('--kind', 'snapshot') == ['snapshot']
    assert listed('--kind', 'base') == ['private', 'hidden']
    assert listed('--limit', '1') == everything[:1]
    for number, name in enumerate(everything):
        assert listed('--marker', old[name]) == everything[number + 1 :]
    assert listed('--marker', old['private'], '--kind', 'base') == ['hidden']


def test_placement(glance, run, old, tmp_path):
    path = tmp_path / 'placements.yaml'
    path.write_text(
        'placements: [{name: all, images: all, stores: [old, new]}]'
    )

    result = run(placement_plan.PlanPlacements, str(path))

    changes = {(row['image_id'], *row['copy_to']) for row in result.rows}
    assert changes == {(image_id, 'new') for image_id in old.values()}
    assert f'3 {LOOKED.format("3 images")}' in result.progress


def test_upgrade_check(glance, old, tmp_path):
    """Whether copies may be made is tried with an image that is looked at."""
    credentials = (
        f'[nova_multistore]\ncopy_to = new\nauth_type = admin_token\n'
        f'endpoint = {glance.url}\ntoken = nova:demo:admin,member,reader\n'
    )

    _code, text = upgrade_check(tmp_path, glance.url, credentials)

    assert 'sees no image to try with' not in text


def test_renamed_store(glance, run, old):
    """The list has the old name until the image is looked at."""
    for image_id in old.values():
        glance.stores_of(image_id)
    directory = glance.directory('old')
    glance.options['renamed.filesystem_store_datadir'] = directory
    start(glance, renamed='file', new='file')
    listed = {image.get('stores') for image in glance.images()}
    assert listed == {'old'}

    counted = run(store_list.ListStores, '--all-projects')
    for image_id in old.values():
        forget(glance, image_id, '{"store": "old"}')
    drained = run(store_drain.DrainStore, 'renamed')

    assert usage(counted) == {'renamed': 4}
    assert drained.code == 0, drained.words
    assert '4 images (256.0 KiB) left renamed' in drained.progress
    for image_id in old.values():
        assert glance.stores_of(image_id) == ['new']
        assert not (directory / image_id).exists()


def test_deactivated(glance, run, old):
    """It stays, and that is said."""
    act(glance, old['private'], 'deactivate')

    result = run(store_drain.DrainStore, 'old')

    assert result.code == 3
    [row] = result.rows
    assert (row['id'], row['stores']) == (old['private'], 'old')
    assert row['reason'] == 'it is deactivated'


def test_deactivated_and_not_told(glance, old, tmp_path, policy_of):
    """An administrator to whom Glance does not say where the data are."""
    act(glance, old['private'], 'deactivate')
    cloud = connect(glance.url, policy_of(glance))

    drained = command.run(store_drain.DrainStore, cloud, 'old', '--dry-run')
    counted = command.run(store_list.ListStores, cloud)
    path = tmp_path / 'stores.prom'
    command.run(store_list.ListStores, cloud, '--metrics', str(path))
    drawn = command.run(
        store_map.MapStores, cloud, '--output', str(tmp_path / 'map.svg')
    )

    reasons = {row['id']: row['reason'] for row in drained.rows}
    assert reasons[old['private']] == (
        'it is deactivated, and Glance does not say in which stores it is'
    )
    assert usage(counted) == {'old': 2}
    said = (
        '1 image (64.0 KiB) not counted in any store: Glance does not say '
        'where the data are'
    )
    assert said in counted.progress
    assert 'multistore_store_unplaced_images 1.0' in path.read_text()
    assert 'multistore_store_unplaced_bytes 65536.0' in path.read_text()
    assert '1 image not drawn (Glance names no store)' in drawn.progress


@pytest.fixture
def policy_of(glance):
    """Let a role see all tasks, without being Glance's administrator."""
    path = glance.root / 'etc' / 'policy.yaml'
    rule = 'role:admin or role:operator'
    names = 'tasks_api_access', 'get_tasks', 'copy_image', 'stores_info_detail'
    path.write_text(''.join(f'"{name}": "{rule}"\n' for name in names))
    glance.options['oslo_policy.policy_file'] = path
    start(glance, **STORES)
    yield lambda glance: cloud_glance.token(
        'demo', ('operator', 'member', 'reader')
    )
    del glance.options['oslo_policy.policy_file']
    start(glance, **STORES)


def test_no_store_at_all(glance, run):
    """Nothing is known of its data: a store that is drained may have them."""
    image_id = make(glance)
    forget(glance, image_id)
    glance.change_database(
        'UPDATE image_locations SET value = ? WHERE image_id = ?',
        f'file:///elsewhere/{image_id}',
        image_id,
    )

    result = run(store_drain.DrainStore, 'old', '--dry-run')

    assert result.code == 1
    [row] = result.rows
    assert row['reason'] == 'Glance does not say in which stores it is'


@pytest.mark.parametrize('status', ['saving', 'uploading', 'queued'])
def test_drain_while_data_come(glance, run, status):
    """A store to which an upload goes on is not empty."""
    image_id = glance.create_queued_image()
    glance.change_database(
        'UPDATE images SET status = ? WHERE id = ?', status, image_id
    )

    result = run(store_drain.DrainStore, 'old')

    if status == 'saving':
        [row] = result.rows
        assert (result.code, row['id']) == (1, image_id)
        assert row['reason'] == (
            'it is saving, and Glance does not say in which stores it is'
        )
    else:
        # There are no data, or they are in the staging area.
        assert (result.code, result.rows) == (0, [])


def test_drain_while_an_import_goes_on(glance, run):
    """It is listed at the end, if it has not ended before."""
    gate = threading.Event()
    image_id = glance.create_queued_image()
    body = {
        'method': {'name': 'web-download', 'uri': glance.serve(DATA, gate)},
        'stores': ['old'],
    }
    glance.request('POST', f'/v2/images/{image_id}/import', body, admin=True)
    left = patience.Patience(cloud_glance.PATIENCE)
    while glance.image(image_id)['status'] != 'importing':
        assert left
        time.sleep(0.05)
    try:
        result = run(store_drain.DrainStore, 'old')
    finally:
        gate.set()
        glance.finish_tasks(image_id)

    [row] = result.rows
    assert (result.code, row['id']) == (1, image_id)
    assert row['reason'] == 'Glance is copying it there'
    assert '0 images (0 B) left old; 0 (0 B) were copied' in result.progress
    assert '1 stay' in result.progress
    again = run(store_drain.DrainStore, 'old')
    assert again.code == 0, again.words
    equal(glance, image_id, 'new')


def test_verify(glance, run, old):
    """A copy that Glance does not name is no good one."""
    glance.change_database(
        'UPDATE image_locations SET value = ? WHERE image_id = ?',
        'file:///elsewhere',
        old['private'],
    )

    everything = run(image_verify.VerifyImages, '--all')
    named = run(image_verify.VerifyImages, old['private'], '--store', 'new')

    for result in everything, named:
        assert result.code == 3
        [row] = result.rows
        assert (row['image_id'], row['store']) == (old['private'], '')
        assert (row['state'], row['reason']) == (
            'unreadable',
            'Glance does not say in which stores it is',
        )
    assert 'copies: 2 good, 1 unreadable' in everything.progress


# Images in a store that this Glance does not have.


@pytest.fixture
def away(glance):
    """An image in a store that was taken out of Glance."""
    image_id = make(glance, name='backup', image_type='backup')
    start(glance, new='file', web='http')
    return image_id


WORDS = 'it is in old alone, which this Glance does not have'


def test_audit_of_a_store_away(glance, run, away):
    result = run(snapshot_audit.AuditSnapshots)
    remote = run(snapshot_audit.AuditSnapshots, '--remote-store', 'old')

    assert result.code == 1
    [row] = result.rows
    assert (row['id'], row['stores']) == (away, ['old'])
    assert row['problem'] == WORDS
    assert row['remedy'] == (
        'bring old back into enabled_backends of this Glance; if it is the '
        'store of another site, audit with --remote-store old'
    )
    assert (remote.code, remote.rows) == (0, [])


def test_no_looks_at_other_sites(glance, run, away):
    """What is known to be elsewhere costs no request."""
    glance.forget_requests()

    run(snapshot_audit.AuditSnapshots, '--remote-store', 'old')

    assert not [r for r in glance.requests() if r.path.endswith(away)]


def test_map_of_a_store_away(glance, run, away, tmp_path):
    args = '--output', str(tmp_path / 'map.svg')

    found = run(store_map.MapStores, *args)
    remote = run(store_map.MapStores, *args, '--remote-store', 'old')

    assert '1 image with a problem' in found.progress
    assert '0 images with a problem' in remote.progress


@pytest.mark.parametrize(
    ('which', 'args'),
    [
        (image_copy.CopyImage, ('--store', 'new')),
        (image_copy.CopyImage, ('--all-stores', '--wait')),
        (image_relocate.RelocateImage, ('--to', 'new')),
        (image_relocate.RelocateImage, ('--to', 'new', '--dry-run')),
    ],
)
def test_copy_of_a_store_away(glance, run, away, which, args):
    """Nothing is even asked for."""
    glance.forget_requests()

    result = run(which, away, *args)

    assert (result.code, result.rows) == (1, [])
    assert result.words == (
        f'image {away} cannot be read here: {WORDS}; it has new, web'
    )
    assert {r.method for r in glance.requests()} == {'GET'}


def test_placement_of_a_store_away(glance, run, away, tmp_path):
    """It is said, and nothing else is put off."""
    near = make(glance, 'new')
    path = tmp_path / 'placements.yaml'
    path.write_text('placements: [{name: all, images: all, stores: [new]}]')

    planned = run(placement_plan.PlanPlacements, str(path))
    applied = run(placement_apply.ApplyPlacements, str(path))

    assert (planned.code, planned.rows) == (3, [])
    assert planned.progress.splitlines()[-2:] == [
        '0 of 2 images to change',
        f'cannot be copied ({WORDS}): 1 image',
    ]
    assert applied.code == 1
    assert applied.rows == [
        {'image_id': away, 'store': 'new', 'state': 'failed', 'reason': WORDS}
    ]
    assert glance.stores_of(near) == ['new']


def test_drain_beside_a_store_away(glance, run):
    """A copy that this Glance cannot read is no copy to rely on."""
    image_id = make(glance, 'old', 'new')
    start(glance, new='file', third='file')

    result = run(store_drain.DrainStore, 'new', '--to', 'third')

    assert result.code == 0, result.words
    assert sorted(glance.stores_of(image_id)) == ['old', 'third']


# What the audit says of an image that is not whole.


def test_nothing_is_deleted_for_a_list(glance, run):
    """Each of these may have data."""
    nowhere, empty, part = (
        make(glance, name=name, image_type='snapshot')
        for name in ('nowhere', 'empty', 'part')
    )
    unknown = make(glance, name='unknown', image_type='snapshot')
    glance.change_database(
        'DELETE FROM image_locations WHERE image_id = ?', nowhere
    )
    for image_id, size in ((empty, 0), (unknown, None), (part, 512)):
        glance.change_database(
            'UPDATE images SET size = ? WHERE id = ?', size, image_id
        )

    result = run(snapshot_audit.AuditSnapshots)

    problems = {row['id']: row['problem'] for row in result.rows}
    assert problems == {
        nowhere: 'it is active and is in no store',
        empty: 'it is active without data',
        unknown: 'it is active, and Glance does not know its size',
        part: f'it has 512 bytes of a disk of {len(DATA)}',
    }
    for row in result.rows:
        assert 'delete' not in row['remedy']
        assert 'another snapshot' in row['remedy']
        assert f'openstack multistore image show {row["id"]}' in row['remedy']


@pytest.mark.parametrize('status', ['queued', 'saving', 'uploading'])
def test_only_what_is_empty(glance, run, status):
    """What waits for data has none; anything else may have some."""
    image_id = glance.create_queued_image(image_type='snapshot')
    glance.change_database(
        'UPDATE images SET status = ? WHERE id = ?', status, image_id
    )
    glance.age(image_id)
    glance.forget_requests()

    result = run(snapshot_audit.AuditSnapshots)

    [row] = result.rows
    deletion = row['remedy'] == f'openstack image delete {image_id}'
    assert deletion == (status == 'queued')
    assert 'delete' not in row['remedy'] or deletion
    # It was looked at.
    assert [r for r in glance.requests() if r.path.endswith(image_id)]


def test_site_that_has_none(glance, run, away, tmp_path):
    """It says of which stores the site's Glance has none."""
    path = tmp_path / 'placements.yaml'
    path.write_text(
        'placements: [{name: all, images: {in_use: true}, min_copies: 1}]\n'
        'sites: [{name: here, store: new}]'
    )
    cloud = connect(glance.url)
    cloud.images_in_use = lambda: {away}

    result = command.run(placement_check.CheckPlacements, cloud, str(path))

    [row] = result.rows
    assert (row['start'], row['reason']) == (
        'fails',
        'it is in old, which the Glance of this site does not have',
    )
