"""What the audit finds out with the servers that Nova has."""

from __future__ import annotations

import functools
import threading
import uuid

import pytest

from nova_multistore import copies
from nova_multistore import record
from nova_multistore.osc import image_pages
from tests.cloud import glance as cloud_glance
from tests.cloud import proxy as cloud_proxy
from tests.functional.audit import DATA
from tests.functional.audit import problems_of

AWAY = cloud_proxy.Answer(502)


@pytest.fixture(scope='module')
def base(glance, qcow2):
    """Make, once each, base images by the stores in which they are."""
    return functools.cache(
        lambda *stores: glance.create_image(
            qcow2, stores=stores, visibility='public'
        )
    )


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
    glance.age(image_id)

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
        glance.age(image_id)

        assert problems(image_id) == []
    finally:
        go_on.set()
        nova.wait(server)


def test_nova_does_not_answer(glance, audited, queued, snapshot, monkeypatch):
    """What hangs on it is not judged, and that is said."""
    monkeypatch.setattr(image_pages, 'PAUSES', (0.1,))
    image_id = queued(instance_uuid=str(uuid.uuid4()))
    glance.age(image_id)
    wanting = snapshot(**{copies.PROPERTY: 'central'})
    [port] = cloud_glance.free_ports(1)

    shown = audited('--fix', admin=True, nova=f'http://127.0.0.1:{port}/v2.1')

    assert list(problems_of(shown)) == [wanting]
    assert shown.code == 4
    assert 'Nova did not show 1 server:' in shown.progress
