"""What Glance tells the commands for images in the tests."""

from __future__ import annotations

import logging
import types

from nova_multistore import copies
from nova_multistore import record
from nova_multistore import stores
from tests import command

IMAGE = '11111111-1111-4111-8111-111111111111'
TASK = 'os_glance_import_task'
IMPORTING = 'os_glance_importing_to_stores'
FAILED = 'os_glance_failed_import'
MIB = 1 << 20
DIGESTS = {
    'size': 7,
    'checksum': 'sum',
    'os_hash_algo': 'sha512',
    'os_hash_value': 'hash',
    # What they were before the first copy.
    copies.HASH: 'sha512:hash',
}
CATALOGUE = {
    'stores': [
        {'id': 'a', 'default': 'true'},
        {'id': 'b'},
        {'id': 'c'},
        {'id': 'web', 'read-only': 'true'},
    ]
}


def image(present='', status='active', **properties):
    made = {'id': IMAGE, 'name': 'x', 'status': status, 'stores': present}
    return {**made, **DIGESTS, **properties}


def task(status='processing', message='', backend=(), at='1'):
    return {
        'id': 't',
        'status': status,
        'message': message,
        'input': {'backend': list(backend)},
        'updated_at': at,
    }


def said(caplog):
    """What was logged for everyone to see."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.INFO
    ]


class Images:
    """An image that passes through states, with the tasks of each."""

    def __init__(self, *states, **refusals):
        self.states = [
            state if isinstance(state, tuple) else (state, ())
            for state in states
        ]
        self.refusals = refusals
        self.asked = []

    def show(self, image_id):
        shown, self._tasks = self.states[0]
        # It stays in the last one.
        del self.states[: len(self.states) > 1]
        if isinstance(shown, BaseException):
            raise shown
        return shown

    def tasks(self, image_id):
        return list(self._tasks)

    def create(self, **attributes):
        self._ask('create', attributes)
        return image(status='queued')

    def stage(self, image_id, data):
        self._ask('stage', data.read())

    def import_data(self, image_id, wanted, must_succeed=False, **method):
        self._ask('import', (list(wanted), must_succeed, method))

    def delete(self, image_id):
        self._ask('delete', image_id)

    def delete_from(self, image_id, store):
        self._ask(f'delete_from_{store}', image_id)

    def set_property(self, image_id, name, value):
        self._ask('set_property', name, value)

    def _ask(self, what, *args):
        self.asked.append((what, *args))
        if what in self.refusals:
            raise self.refusals[what]


def cloud(images):
    return types.SimpleNamespace(
        images=images,
        catalogue=lambda: stores.parse(CATALOGUE),
        find_image=lambda name: IMAGE,
        servers_by_image=list,
        volumes_by_image=list,
    )


def run(which, images, *args, **kwargs):
    return command.run(which, cloud(images), *args, **kwargs)


HELD = {TASK: 't', IMPORTING: 'a,b'}
RECORD = {record.RULE: 'base-image', record.STORE: 'b'}
