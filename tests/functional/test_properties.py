"""Images that may not have every property: it is the data that counts."""

from __future__ import annotations

import json
import logging

import pytest

from nova_multistore import copies
from nova_multistore import lookup
from tests.functional import expected_digest

pytestmark = pytest.mark.eventlet

#: What the protection denies to everybody.
DENIED = ['create', 'update', 'delete']
OLD = 'reliable'


@pytest.fixture
def restart(glance):
    """Start Glance anew with other options."""
    before = dict(glance.options)

    def restart(**options):
        glance.stop()
        glance.options = {**before, **options}
        glance.start()
        lookup.forget()

    yield restart
    restart()


@pytest.fixture
def copy_to(nova):
    """Have snapshots say where copies are wanted."""
    nova.records.clear()
    yield lambda *stores: nova.conf(
        **{'nova_multistore.copy_to': list(stores)}
    )
    nova.conf(**{'nova_multistore.copy_to': []})


@pytest.fixture
def check(glance, nova):
    """The snapshot is whole, and the log says what is not on it."""

    def check(server, image_id):
        image = glance.image(image_id)
        assert image['status'] == 'active'
        assert set(glance.sha256(image_id).values()) == {
            expected_digest(nova.disk(server))
        }
        assert image['base_image_ref']
        [line] = [
            line
            for line in nova.log_lines(logging.WARNING)
            if 'does not let Nova change' in line
        ]
        assert copies.PROPERTY in line
        assert image_id in line
        return image

    return check


@pytest.mark.parametrize('denied', DENIED)
def test_protected(
    glance, nova, boot, qcow2, restart, copy_to, check, tmp_path, denied
):
    """Of what cannot be written or removed, nothing changes."""
    inherited = {} if denied == 'create' else {copies.PROPERTY: OLD}
    server = boot(glance.create_image(qcow2, stores=['fast'], **inherited))
    rules = tmp_path / 'protection.conf'
    allowed = dict.fromkeys(['create', 'read', 'update', 'delete'], '@')
    lines = [f'{k} = {v}' for k, v in {**allowed, denied: '!'}.items()]
    others = [f'{k} = {v}' for k, v in allowed.items()]
    rules.write_text(
        '\n'.join([f'[^{copies.PROPERTY}$]', *lines, '[.*]', *others])
    )
    restart(property_protection_file=rules)
    copy_to(*([] if denied == 'delete' else ['cheap']))

    image_id = nova.snapshot(server)

    image = check(server, image_id)
    assert image.get(copies.PROPERTY) == inherited.get(copies.PROPERTY)


def test_quota(glance, nova, boot, qcow2, restart, copy_to, check):
    """An image may have so many, and Nova's own are just as many."""
    server = boot(glance.create_image(qcow2, stores=['fast']))
    image = glance.image(nova.snapshot(server))
    status, schema = glance.request('GET', '/v2/schemas/image')
    assert status == 200
    known = json.loads(schema)['properties']
    own = [
        name
        for name in image
        if not known.get(name, {'is_base': False}).get('is_base', True)
    ]
    restart(image_property_quota=len(own))
    copy_to('cheap')
    nova.records.clear()

    image_id = nova.snapshot(server)

    assert copies.PROPERTY not in check(server, image_id)
