"""What the commands for images make of what Glance tells."""

from __future__ import annotations

import io
import logging
import re
import time
import types

from keystoneauth1 import exceptions as auth_exceptions
import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import image_api
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore import stores
from nova_multistore.osc import image_copy
from nova_multistore.osc import image_import
from nova_multistore.osc import image_relocate
from nova_multistore.osc import image_show
from nova_multistore.osc import new_image
from nova_multistore.osc import progress
from nova_multistore.osc import sizes
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


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(copies, 'PAUSES', (0.001, 0.001))


HELD = {TASK: 't', IMPORTING: 'a,b'}


def test_order():
    """The stores are Glance's in the order of the request."""
    found = copies.read(image(**HELD), (), [task(backend=['b', 'a'])])

    assert [(c.store, c.state.value) for c in found] == [
        ('b', 'copying'),
        ('a', 'waiting'),
    ]


def test_order_side_by_side():
    """Glance 33 lists a store that is done until all are."""
    found = copies.read(
        image('b', **{TASK: 't', IMPORTING: 'a,b,c'}),
        (),
        [task(backend=['b', 'c', 'a'])],
    )

    assert [(c.store, c.state.value) for c in found] == [
        ('b', 'done'),
        ('c', 'copying'),
        ('a', 'copying'),
    ]


def test_bytes_are_of_one_store():
    """What was counted of the last store is not counted of the next."""
    held = image(**HELD)
    then = image('a', **{TASK: 't', IMPORTING: 'b'})

    def told(amount):
        return [task(message=f'Copied {amount} MiB', backend=['a', 'b'])]

    follower = copies.Follower(
        Images(
            (held, told(5)), (held, told(9)), (then, told(9)), (then, told(2))
        ),
        IMAGE,
    )

    counted = [
        [c.copied for c in follower.look() if c.state is copies.State.COPYING]
        for _ in range(4)
    ]

    assert counted == [[5 * MIB], [9 * MIB], [None], [2 * MIB]]


@pytest.mark.parametrize(
    ('shown', 'tasks', 'under_way'),
    [
        (image(status='queued'), [], True),
        (image(status='queued', **{FAILED: 'a'}), [], False),
        (image(status='queued', **{FAILED: 'a'}), [task()], True),
        (image(status='queued'), [task('failure')], False),
        (image(status='importing'), [task('failure')], False),
        (image(status='saving'), [task('failure')], True),
        (image(status='active'), [task()], False),
        (image(status='active', **HELD), [], True),
        (image(status='active', **HELD), [task('success')], True),
        (image(status='queued', **HELD), [task('failure')], False),
        (
            image(status='queued'),
            [task('failure', at='1'), task('processing', at='2')],
            True,
        ),
    ],
)
def test_under_way(shown, tasks, under_way):
    """An import that failed leaves an image of which nothing comes."""
    assert copies.is_under_way(shown, tasks) is under_way


def test_import_keeps_its_word():
    images = Images(image('a,b'))

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--store', 'b', '--store', 'a', '--store', 'b'),
        *('--disallow-failure', '--wait'),
    )

    assert result.code == 0
    assert images.asked == [
        (
            'create',
            {'name': 'x', 'disk_format': 'raw', 'container_format': 'bare'},
        ),
        (
            'import',
            (['b', 'a'], True, {'name': 'web-download', 'uri': 'u'}),
        ),
    ]


def test_import_of_a_file(tmp_path):
    path = tmp_path / 'data'
    path.write_bytes(b'1234567')
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', 'raw'),
    )

    assert result.code == 0
    assert images.asked[1:] == [
        ('stage', b'1234567'),
        ('import', (['a', 'b', 'c'], False, {'name': 'glance-direct'})),
    ]


def test_import_with_all_options():
    """Glance gets each by its own name, and no property overrides one."""
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--all-stores', '--id', IMAGE, '--public'),
        *('--disk-format', 'iso', '--container-format', 'ovf', '--os-hidden'),
        *('--min-disk', '1', '--min-ram', '2', '--tag', 'a', '--tag', 'b'),
        *('--property', 'os=debian', '--property', 'name=y'),
    )

    assert result.code == 0
    assert images.asked[0] == (
        'create',
        {
            'id': IMAGE,
            'name': 'x',
            'disk_format': 'iso',
            'container_format': 'ovf',
            'visibility': 'public',
            'os_hidden': True,
            'min_disk': 1,
            'min_ram': 2,
            'tags': ['a', 'b'],
            'os': 'debian',
        },
    )


needs_inspector = pytest.mark.skipif(
    new_image.format_inspector is None, reason='oslo.utils is older than 7.4'
)
QCOW2 = b'QFI\xfb\0\0\0\3'.ljust(512, b'\0')
GPT = (
    bytes(446)
    # One partition of the type that stands for GPT, and the signature.
    + bytes([0, 0, 2, 0, 0xEE, 255, 255, 255, 1, 0, 0, 0, 255, 0, 0, 0])
    + bytes(48)
    + b'\x55\xaa'
).ljust(2048, b'\0')


@needs_inspector
@pytest.mark.parametrize(
    ('data', 'options', 'found'),
    [
        (b'1234567', (), 'raw'),
        (QCOW2, (), 'qcow2'),
        (QCOW2, ('--disk-format', 'qcow2'), 'qcow2'),
        (GPT, (), 'raw'),
        (GPT, ('--disk-format', 'gpt'), 'gpt'),
        (b'1234567', ('--disk-format', 'ami'), 'ami'),
    ],
)
def test_format_of_a_file(tmp_path, data, options, found):
    path = tmp_path / 'data'
    path.write_bytes(data)
    images = Images(image(size=len(data)))

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', *options),
    )

    assert result.code == 0
    assert images.asked[0][1]['disk_format'] == found


@needs_inspector
@pytest.mark.parametrize(
    ('data', 'named', 'words'),
    [
        (b'1234567', 'qcow2', 'is qcow2, but .*data is raw'),
        (QCOW2, 'raw', 'is raw, but .*data is qcow2'),
        (QCOW2, 'ami', 'is ami, but .*data is qcow2'),
    ],
)
def test_file_of_another_format(tmp_path, data, named, words):
    """Nothing is asked for."""
    path = tmp_path / 'data'
    path.write_bytes(data)
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', named),
    )

    assert result.code == 2
    assert re.search(words, result.words)
    assert images.asked == []


def test_format_without_an_inspector(tmp_path, monkeypatch):
    """It is to be named then."""
    monkeypatch.setattr(new_image, 'format_inspector', None)
    path = tmp_path / 'data'
    path.write_bytes(QCOW2)
    args = ['x', '--file', str(path), '--all-stores']

    refused = run(image_import.ImportImage, Images(image()), *args)
    images = Images(image(size=len(QCOW2)))
    run(image_import.ImportImage, images, *args, '--disk-format', 'qcow2')

    assert refused.code == 2
    assert 'use --disk-format' in refused.words
    assert images.asked[0][1]['disk_format'] == 'qcow2'


def test_import_into_an_image():
    """None is created; and none is deleted if Glance refuses."""
    waiting = image(status='queued', disk_format='raw')
    images = Images(waiting, **{'import': exception.GlanceRefused(400, 'no')})

    result = run(
        image_import.ImportImage,
        images,
        *('--image', 'x', '--uri', 'u', '--store', 'a'),
    )

    assert (result.code, result.words) == (1, 'Glance refuses: no (HTTP 400)')
    assert [what for what, *_ in images.asked] == ['import']


@pytest.mark.parametrize(
    ('args', 'found', 'words'),
    [
        ((), {}, 'a new image needs a name'),
        (('--image', 'i'), {'status': 'active'}, 'is active: only'),
        (('x', '--image', 'i'), {}, '<name> cannot change it'),
        (
            ('--image', 'i', '--public', '--tag', 'a', '--property', 'a=b'),
            {},
            '--public, --tag, --property cannot change it',
        ),
        pytest.param(
            *(('--image', 'i'), {'disk_format': 'qcow2'}, 'is raw'),
            marks=needs_inspector,
        ),
    ],
)
def test_import_that_makes_no_sense(tmp_path, args, found, words):
    (tmp_path / 'data').write_bytes(b'1234567')
    images = Images(image(**{'status': 'queued', **found}))

    result = run(
        image_import.ImportImage,
        images,
        *(*args, '--file', str(tmp_path / 'data'), '--store', 'a'),
    )

    assert result.code == 2
    assert words in result.words
    assert images.asked == []


def test_import_of_half_a_file(tmp_path):
    """It is not imported."""
    path = tmp_path / 'data'
    path.write_bytes(b'12345678')
    images = Images(image())

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--file', str(path), '--all-stores', '--disk-format', 'raw'),
    )

    assert (result.code, result.words) == (1, 'Glance has only 7 of 8 bytes')
    assert [what for what, *_ in images.asked] == ['create', 'stage', 'delete']


@pytest.mark.parametrize(
    ('error', 'words', 'asked'),
    [
        (
            exception.GlanceRefused(400, 'no'),
            'Glance refuses: no (HTTP 400)',
            ['create', 'import', 'delete'],
        ),
        (
            exception.LookupFailed('Glance did not answer'),
            'Glance did not answer; delete what is left with: openstack image '
            f'delete {IMAGE}',
            ['create', 'import'],
        ),
    ],
)
def test_import_that_does_not_begin(error, words, asked):
    """What certainly did not begin leaves nothing."""
    images = Images(image(status='queued'), **{'import': error})

    result = run(
        image_import.ImportImage, images, *('x', '--uri', 'u', '--all-stores')
    )

    assert (result.code, result.words) == (1, words)
    assert [what for what, *_ in images.asked] == asked


@pytest.mark.parametrize(
    'error',
    [exception.GlanceRefused(409, 'held'), exception.ServiceAway('no answer')],
)
def test_import_whose_answer_was_lost(error):
    """It has begun: the image is kept."""
    begun = image(status='queued', **HELD)
    images = Images(begun, begun, image('a,b,c'), **{'import': error})

    result = run(
        image_import.ImportImage,
        images,
        *('x', '--uri', 'u', '--all-stores', '--wait'),
    )

    assert result.code == 0
    assert [what for what, *_ in images.asked] == ['create', 'import']


def test_import_that_nobody_knows_of():
    """It is said how to look."""
    away = exception.ServiceAway('no answer')
    images = Images(away, **{'import': away})

    result = run(
        image_import.ImportImage, images, *('x', '--uri', 'u', '--all-stores')
    )

    assert result.code == 1
    assert result.words.endswith(f'openstack multistore image show {IMAGE}')


@pytest.mark.parametrize(
    ('which', 'args'),
    [
        (image_import.ImportImage, ['x', '--uri', 'u', '--all-stores']),
        (image_copy.CopyImage, [IMAGE, '--all-stores']),
        (image_show.ShowImages, [IMAGE]),
    ],
)
def test_interrupt(which, args, caplog):
    """It is said what goes on."""
    held = image(**HELD)
    images = Images(held, held, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(which, images, *args, '--wait')

    assert said(caplog) == [
        'Glance goes on; look again with: openstack multistore image show '
        f'--wait {IMAGE}'
    ]


def test_interrupt_while_data_are_sent(tmp_path, caplog):
    """Nothing goes on then."""
    (tmp_path / 'data').write_bytes(b'x')
    images = Images(image(), stage=KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        run(
            image_import.ImportImage,
            images,
            *('x', '--file', str(tmp_path / 'data'), '--all-stores'),
            *('--disk-format', 'raw'),
        )

    assert said(caplog) == [
        f'delete what is left with: openstack image delete {IMAGE}'
    ]


def test_glance_that_restarts():
    """It is asked again while there is time."""
    away = exception.ServiceAway('Glance did not answer')
    images = Images(image(**HELD), away, image('a,b'))

    result = run(image_show.ShowImages, images, IMAGE, '--wait')

    assert result.code == 0
    assert result.states == {'a': 'done', 'b': 'done'}


def test_glance_that_stays_away():
    away = exception.ServiceAway('Glance did not answer')
    images = Images(image(**HELD), away)

    result = run(
        image_show.ShowImages, images, IMAGE, '--wait', '--timeout', '1'
    )

    assert (result.code, result.words) == (1, 'Glance did not answer')


@pytest.mark.parametrize('status', ['active', 'deactivated'])
def test_stores_that_glance_does_not_tell(status):
    """The image is not called useless: its data are somewhere."""
    result = run(
        image_show.ShowImages, Images(image(status=status)), IMAGE, '--wait'
    )

    assert result.code == 1
    assert result.words == (
        f'image {IMAGE} is {status}, and Glance does not say in which stores '
        'it is'
    )


class TestNobodySends:
    """An image waits for its data, and nothing imports it."""

    QUEUED = image('', 'queued')
    WAITS = (
        f'image {IMAGE} is queued, and nobody has sent its data yet; look '
        f'again with: openstack multistore image show --wait {IMAGE}'
    )

    def test_show(self):
        """It is said what is waited for; that time ends is no failure."""
        result = run(
            image_show.ShowImages,
            Images(self.QUEUED),
            *(IMAGE, '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)
        assert result.progress.startswith(f'{IMAGE}: queued, no data yet (0 s')

    def test_copy(self):
        result = run(
            image_copy.CopyImage,
            Images(self.QUEUED),
            *(IMAGE, '--store', 'b', '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)
        assert result.progress.startswith('b: waiting for data (0 s')

    def test_one_of_two(self):
        """The other one is whole."""
        images = Images(image('a'), self.QUEUED)

        result = run(
            image_show.ShowImages,
            images,
            *('x', 'y', '--wait', '--timeout', '1'),
        )

        assert (result.code, result.words) == (3, self.WAITS)

    def test_long(self, monkeypatch):
        """It is given up within minutes, as a copy is."""
        monkeypatch.setattr(copies, 'IDLE', 0.0)

        result = run(
            image_show.ShowImages, Images(self.QUEUED), IMAGE, '--wait'
        )

        assert result.code == 1
        assert result.words == (
            f'image {IMAGE} is queued, and nobody has sent its data for 0 '
            f'seconds; send them with: openstack multistore image import '
            f'--image {IMAGE}, or delete it with: openstack image delete '
            f'{IMAGE}'
        )

    def test_snapshot(self, monkeypatch):
        """Nova sends nothing as long as it reads the disk."""
        monkeypatch.setattr(copies, 'IDLE', 0.0)
        queued = image('', 'queued', image_type='snapshot')

        result = run(
            image_show.ShowImages,
            Images(*[queued] * 9, image('a')),
            *(IMAGE, '--wait'),
        )

        assert (result.code, result.states) == (0, {'a': 'done'})


@pytest.mark.parametrize(
    ('shown', 'words'),
    [
        (
            image('', 'queued', **{FAILED: 'a,b'}),
            f"image {IMAGE} is in no store: Glance's log says why; delete "
            f'what is left with: openstack image delete {IMAGE}',
        ),
        (
            image('a', 'deactivated', **{FAILED: 'b'}),
            f"image {IMAGE} is not in b: Glance's log says why; it is "
            'deactivated, and is copied only while it is active: openstack '
            f'image set --activate {IMAGE}',
        ),
    ],
)
def test_what_cannot_be_copied(shown, words):
    """It is not advised to copy it: Glance answers that with 409."""
    result = run(image_show.ShowImages, Images(shown), IMAGE, '--wait')

    assert result.words == words


@pytest.mark.parametrize(
    ('which', 'args'),
    [
        (image_copy.CopyImage, ('--store', 'a')),
        (image_copy.CopyImage, ('--all-stores', '--wait')),
        (image_relocate.RelocateImage, ('--to', 'a')),
    ],
)
def test_only_another_glance_has_it(which, args):
    """Nothing is asked for that cannot be."""
    images = Images(image('far,off'))

    result = run(which, images, IMAGE, *args)

    assert (result.code, result.rows, images.asked) == (1, [], [])
    assert result.words == (
        f'image {IMAGE} cannot be read here: it is in far, off alone, which '
        'this Glance does not have; it has a, b, c, web'
    )


def test_another_glance_copies_it():
    """Then it is here soon, and can be copied on."""
    held = image('far', **{TASK: 't', IMPORTING: 'a'})
    images = Images(held, held, held, image('far,a'), image('far,a,b'))

    result = run(image_copy.CopyImage, images, IMAGE, '--store', 'b', '--wait')

    assert result.code == 0, result.words


BEFORE = image('b')
AFTER = image('a,b')


@pytest.mark.parametrize(
    ('before', 'after', 'words'),
    [
        ({}, {'os_hash_value': 'other'}, 'its sha512 is other, and was hash'),
        ({}, {'size': 8}, 'its size is 8, and was 7'),
        ({}, {'checksum': None}, 'its md5 is None, and was sum'),
        ({}, {'status': 'deactivated'}, 'it is deactivated'),
        ({}, {TASK: 't'}, 'another import has begun'),
        ({}, {'stores': 'b'}, 'is no longer in a'),
    ],
)
def test_relocate_what_is_not_certain(before, after, words, monkeypatch):
    """Nothing is deleted."""
    monkeypatch.setattr(relocation, 'SETTLE', 0.0)
    images = Images({**BEFORE, **before}, AFTER, {**AFTER, **after})

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', 'a')

    assert result.code == 1
    assert 'was not deleted anywhere' in result.words
    assert words in result.words
    assert images.asked == []


def test_relocate_before_the_import_has_ended(monkeypatch):
    """Glance lists the store a moment earlier."""
    monkeypatch.setattr(relocation, 'PAUSE', 0.0)
    ending = {**AFTER, TASK: 't'}
    images = Images(BEFORE, ending, ending, ending, AFTER)

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', 'a')

    assert result.code == 0
    assert result.states == {'a': 'done', 'b': 'deleted'}


@pytest.mark.parametrize(
    ('tasks', 'code'),
    [
        ([task(at='2020-01-01T00:00:00Z')], 0),
        ([task('success', at='2999-01-01T00:00:00Z')], 0),
        ([task('failure', at='2999-01-01T00:00:00Z')], 0),
        ([task(at='2999-01-01T00:00:00Z')], 1),
        # Those whose task is not to be seen may be held by a busy one.
        ([], 1),
    ],
)
def test_relocate_what_a_dead_import_holds(tasks, code, monkeypatch):
    """Glance was killed when it had made the copy."""
    monkeypatch.setattr(relocation, 'SETTLE', 0.0)
    long_ago = {'updated_at': '2020-01-01T00:00:00Z'}
    held = {**AFTER, TASK: 't', **long_ago}
    images = Images(BEFORE, held, (held, tasks))

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', 'a')

    assert result.code == code
    assert ('delete_from_b', IMAGE) in images.asked or code == 1
    assert images.asked == [] or code == 0


@pytest.mark.parametrize(
    ('error', 'code', 'state'),
    [
        (exception.GlanceRefused(409, 'in use'), 3, 'kept'),
        (exception.GlanceRefused(403, 'no'), 3, 'kept'),
        (exception.LookupFailed('away'), 3, 'kept'),
        (exception.GlanceRefused(404, 'gone'), 0, 'deleted'),
    ],
)
def test_relocate_what_is_in_use(error, code, state):
    """Each store is tried."""
    images = Images(image('a,b,c,other'), delete_from_b=error)

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', 'a')

    assert result.code == code
    assert result.states == {
        'a': 'done',
        'b': state,
        'c': 'deleted',
        'other': 'kept',
    }
    assert {row['store']: row['reason'] for row in result.rows}['other'] == (
        "not one of this Glance's stores"
    )
    assert ('is still in b: ' in result.words) == (code == 3)


def test_relocate_leaves_copies_that_are_wanted():
    """Unless --from names their store."""
    wanted = {copies.PROPERTY: 'b'}
    images = Images(image('a,b,c', **wanted))

    left = run(image_relocate.RelocateImage, images, IMAGE, '--to', 'a')

    assert left.states == {'a': 'done', 'b': 'kept', 'c': 'deleted'}
    assert left.rows[1]['reason'] == 'a copy is wanted there'
    assert [what for what, *_ in images.asked] == ['delete_from_c']

    named = run(
        *(image_relocate.RelocateImage, Images(image('a,b', **wanted))),
        *(IMAGE, '--to', 'a', '--from', 'b'),
    )

    assert named.states == {'a': 'done', 'b': 'deleted'}


def test_relocate_dry_run():
    """It says what would be done, and asks for nothing."""
    images = Images(image('b,c,web', **{copies.PROPERTY: 'c'}))

    result = run(
        *(image_relocate.RelocateImage, images),
        *(IMAGE, '--to', 'a', '--dry-run'),
    )

    assert result.code == 0
    assert result.states == {
        'a': 'to be copied',
        'b': 'to be deleted',
        'c': 'kept',
        'web': 'kept',
    }
    assert images.asked == []


RECORD = {record.RULE: 'base-image', record.STORE: 'b'}


@pytest.mark.parametrize(
    ('written', 'target', 'noted'),
    [(RECORD, 'a', True), (RECORD, 'b', False), ({}, 'a', False)],
)
def test_relocate_notes_it(written, target, noted):
    """Where the image says that it went elsewhere."""
    images = Images(image('a,b', **written))

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', target)

    assert result.code == 0
    properties = [rest for what, *rest in images.asked if 'property' in what]
    assert properties == [[record.DIFFERENCE, 'it was relocated to a']] * noted


def table(images, *args):
    """Return the titles of the columns in a table."""
    out = command.Terminal()
    app = types.SimpleNamespace(
        client_manager=types.SimpleNamespace(multistore=cloud(images)),
        stdout=out,
        stderr=io.StringIO(),
    )
    own = image_show.ShowImages(app, None)
    assert own.run(own.get_parser('x').parse_args([IMAGE, *args])) == 0
    [header] = [x for x in out.getvalue().splitlines() if 'Image ID' in x]
    return [cell.strip() for cell in header.strip('|').split('|')]


def test_table():
    """It has titles, and no column that is empty unless it is named."""
    usual = ['Image ID', 'Name', 'Status', 'Store', 'State', 'Size']
    written = image('a', **RECORD)

    assert table(Images(image('a'))) == usual
    assert table(Images(written)) == [*usual, 'Decided Store', 'Rule']
    assert table(Images(image('a')), '--long') == [*usual, 'Default']
    chosen = ['-c', 'Image ID', '-c', 'copied', '--sort-column', 'Copied']
    assert table(Images(written), *chosen) == ['Image ID', 'Copied']


def test_show_has_the_decision():
    """In each row; nothing where there is none."""
    shown = image('a,b', **RECORD, **{record.DIFFERENCE: 'a reason'})

    rows = run(image_show.ShowImages, Images(shown), IMAGE).rows

    assert {
        (row['decided_store'], row['rule'], row['difference']) for row in rows
    } == {('b', 'base-image', 'a reason')}


@pytest.mark.parametrize(
    ('body', 'words'),
    [
        (
            b'<html><head><title>409 Conflict</title></head><body>'
            b'<h1>409 Conflict</h1>image &lt;x&gt; isn&#x27;t active</body>',
            "image <x> isn't active",
        ),
        (
            b'400 Bad Request<br /><br />Provided object does not match '
            b"schema 'image': 'x' is not one of ['ami']\n\nFailed validating"
            b" 'enum' in schema['properties']:\n    {'enum': ['ami']}",
            "Provided object does not match schema 'image': 'x' is not one "
            "of ['ami']",
        ),
    ],
)
def test_reason_of_a_refusal(body, words):
    """It is what Glance says, without titles, entities and schemas."""

    class Answer:
        status_code = 400
        content = body
        text = body.decode()

        def json(self):
            raise ValueError

    class Glance:
        def request(self, path, method, **how):
            return Answer()

    with pytest.raises(exception.GlanceRefused) as caught:
        image_api.Images(Glance).show(IMAGE)

    assert caught.value.reason == words


def test_lines():
    """What has not changed is not said again, nor how many bytes."""
    out = io.StringIO()
    with progress.start(out) as said:
        said.show([progress.Item('a', 'copying'), progress.Item('b', 'idle')])
        said.show([progress.Item('a', 'copying', done=1, total=2)])
        said.show([progress.Item('a', 'done')])

    assert out.getvalue().splitlines() == [
        'a: copying (0 s)',
        'b: idle (0 s)',
        'a: done (0 s)',
    ]


class TestOffATerminal:
    """Somebody reads it later, or a program does."""

    def test_counts(self):
        """Each image is not worth a line, the last number is."""
        out = io.StringIO()

        with progress.start(out) as said:
            for number in range(15):
                state = f'{number} images'
                said.show([progress.Item('read', state, True, counts=True)])

        assert out.getvalue() == 'read: 14 images (0 s)\n'

    def test_now_and_then(self, monkeypatch):
        """That something goes on is said, and how far it is."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.05)
        out = io.StringIO()

        with progress.start(out) as said:
            item = progress.Item('a', 'copying', True, MIB, 4 * MIB)
            said.show([item, progress.Item('b', 'waiting')])
            time.sleep(0.3)

        lines = out.getvalue().splitlines()
        assert lines[:2] == ['a: copying (0 s)', 'b: waiting (0 s)']
        assert lines[2].startswith('a: copying, 1.0 MiB/4.0 MiB (')
        assert 3 <= len(lines) <= 8
        assert not any(line.startswith('b: ') for line in lines[2:])

    def test_nothing_moves(self, monkeypatch):
        """The first thing is waited for."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.05)
        out = io.StringIO()

        with progress.start(out) as said:
            said.show([progress.Item('a', 'waiting for data')])
            time.sleep(0.2)

        assert len(out.getvalue().splitlines()) >= 2

    def test_it_ends(self, monkeypatch):
        """What comes after it is not mixed with it."""
        monkeypatch.setattr(progress, 'INTERVAL', 0.01)
        out = io.StringIO()

        with progress.start(out) as said:
            said.show([progress.Item('a', 'copying', True)])
        before = out.getvalue()
        time.sleep(0.1)

        assert out.getvalue() == before


@pytest.mark.parametrize(
    ('done', 'total', 'words'),
    [
        ((0, 64 * MIB), 256 * MIB, '1.0 MiB/s, 3 min left'),
        ((None, 64 * MIB), 256 * MIB, '1.0 MiB/s, 3 min left'),
        # What was there before it is seen is not fast.
        ((128 * MIB, 192 * MIB), 256 * MIB, '1.0 MiB/s, 1 min left'),
        ((0, 64 * MIB), 65 * MIB, '1.0 MiB/s, 1 s left'),
        ((0, 64 * MIB), (64 << 20) * 200, '1.0 MiB/s, 4 h left'),
        ((0, 64 * MIB), None, '1.0 MiB/s'),
        ((0, 0), 256 * MIB, ''),
        ((None, None), 256 * MIB, ''),
    ],
)
def test_pace(monkeypatch, done, total, words):
    """How fast it is, and how long it takes, if both are known."""
    now = [100.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(progress, 'time', clock)
    first, second = (progress.Item('a', 'x', True, d, total) for d in done)
    pace = progress.Pace()
    pace.see([first])
    now[0] += 64

    pace.see([second])

    assert pace.words(second) == words


def test_bars_have_the_pace(monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    monkeypatch.setattr(
        progress.Pace, 'words', lambda self, item: '1.0 MiB/s, 3 min left'
    )
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item('a', 'copying', True, MIB, 6 * MIB)])

    assert '1.0 MiB/6.0 MiB 1.0 MiB/s, 3 min left' in out.getvalue()


def test_bars(monkeypatch):
    """A line for each that is replaced; no name is taken for markup."""
    monkeypatch.setenv('TERM', 'xterm')
    out = command.Terminal()
    items = [
        progress.Item('[red]a', 'copying', True, 3 * MIB, 6 * MIB),
        progress.Item('b', 'copying', True),
        progress.Item('c', 'waiting'),
    ]

    with progress.start(out) as said:
        said.show(items)

    escapes = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
    last = escapes.sub('', out.getvalue()).rpartition('\r')[2].splitlines()
    assert last[0].startswith('[red]a copying ')
    assert '3.0 MiB/6.0 MiB' in last[0]
    assert [line.split()[0] for line in last[1:3]] == ['b', 'c']
    assert '0 s' in last[2]


def test_narrow_terminal(monkeypatch):
    """The bar is shorter; what is told is whole."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '60')
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item(f'{IMAGE} dcn0', 'copying', True)])

    assert f'{IMAGE} dcn0 copying ' in out.getvalue()
    assert '0 s' in out.getvalue()


def test_dumb_terminal(monkeypatch):
    """Nothing can be replaced there."""
    monkeypatch.setenv('TERM', 'dumb')
    out = command.Terminal()

    with progress.start(out) as said:
        said.show([progress.Item('a', 'done')])

    assert out.getvalue() == 'a: done (0 s)\n'


@pytest.mark.parametrize(
    ('amount', 'words'),
    [
        (0, '0 B'),
        (1023, '1023 B'),
        (1024, '1.0 KiB'),
        (5 * MIB, '5.0 MiB'),
        (3 << 40, '3.0 TiB'),
        (5000 << 50, '5000.0 PiB'),
        (None, ''),
    ],
)
def test_size(amount, words):
    column = sizes.SizeColumn(amount)

    assert column.human_readable() == words
    assert column.machine_readable() == amount


def test_local_file(tmp_path):
    """It tells how much has been read of it."""
    path = tmp_path / 'data'
    path.write_bytes(b'123456')
    told = []

    with image_import.LocalFile(str(path)) as file:
        file.report = told.append
        assert file.size == 6
        assert [file.read(4), file.read(4), file.read(4)] == [
            b'1234',
            b'56',
            b'',
        ]

    assert told == [4, 6, 6]


def test_stage():
    """It is sent once, and not for ever waited for."""
    sent = {}

    class Glance:
        def request(self, path, method, **how):
            sent.update(how)
            raise auth_exceptions.ConnectFailure('reset')

    images = image_api.Images(Glance)

    with pytest.raises(exception.LookupFailed, match='reset'):
        images.stage(IMAGE, io.BytesIO())

    assert sent['connect_retries'] == sent['status_code_retries'] == 0
    assert sent['allow_reauth'] is sent['redirect'] is False
    assert sent['timeout'] > 0
