"""What the tests of the audit judge, and by what."""

from __future__ import annotations

import datetime

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import selection
from nova_multistore import stores

NOW = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.timezone.utc)
LONG_AGO = '2026-01-02T10:59:59Z'
OF_LATE = '2026-01-02T11:00:00Z'
IMAGE = '11111111-1111-4111-8111-111111111111'
BASE = '22222222-2222-4222-8222-222222222222'
OTHER = '33333333-3333-4333-8333-333333333333'
SERVER = '44444444-4444-4444-8444-444444444444'
TASK = 'a-task'
CATALOGUE = stores.Catalogue(
    (
        stores.Store('central', default=True),
        stores.Store('dcn0'),
        stores.Store('dcn1'),
        stores.Store('web', read_only=True),
    )
)


def snapshot(**changes):
    """A snapshot that is all right, changed; what is ... is left out."""
    image = {
        'id': IMAGE,
        'name': 'nightly',
        'owner': 'demo',
        'status': 'active',
        'stores': 'dcn0',
        'size': 7,
        'virtual_size': 7,
        'disk_format': 'raw',
        'updated_at': LONG_AGO,
        'image_type': 'snapshot',
        'instance_uuid': SERVER,
        'base_image_ref': BASE,
        **changes,
    }
    return {key: value for key, value in image.items() if value is not ...}


def base(stores='dcn0', image_id=BASE, **more):
    return {'id': image_id, 'stores': stores, **more}


def server(image=BASE, **changes):
    """An idle server, changed; what is ... is left out."""
    found = {
        'name': 'server',
        'status': 'ACTIVE',
        'image': {'id': image} if image else '',
        'OS-EXT-STS:task_state': None,
        **changes,
    }
    return {key: value for key, value in found.items() if value is not ...}


def settings(configured=True, **orders):
    """A ``nova.conf`` with these options."""
    return audit.Settings(
        CATALOGUE, configured, orders=selection.Orders(**orders)
    )


IN_FORCE = settings()
IDLE = server()


def judge(
    image, settings=IN_FORCE, images=(), owner=IDLE, tasks=(), look=None
):
    """Judge an image; what is looked up in vain is not there.

    If it is looked at, it is as it is listed.
    """
    lookups = audit.Lookups(
        {i['id']: i for i in images or [base()]}.get,
        look or {image['id']: image}.get,
        {SERVER: owner}.get,
        lambda image_id: tasks,
    )
    return audit.judge(image, settings, lookups, NOW)


def problem(*args, **kwargs):
    """Return the words of the only problem."""
    [finding] = judge(*args, **kwargs)
    return finding.problem


def unasked(*_args):
    raise AssertionError('this need not be asked')


def held(**changes):
    return snapshot(os_glance_import_task=TASK, **changes)


def task(updated_at, status='processing', message=''):
    return {
        'id': TASK,
        'status': status,
        'message': message,
        'input': {'backend': ['dcn1']},
        'updated_at': updated_at,
    }


RELOCATE = f'openstack multistore image relocate {IMAGE} --to '
WANTED = {copies.PROPERTY: 'central,dcn1'}
COPY = f'openstack multistore image copy {IMAGE}'


def foreign(*named):
    """Return the problem and the remedy of an image that is not here."""
    names = ', '.join(named)
    options = ' '.join(f'--remote-store {name}' for name in named)
    return audit.Finding(
        f'it is in {names} alone, which this Glance does not have',
        f'bring {names} back into enabled_backends of this Glance; if it is '
        f'the store of another site, audit with {options}',
    )
