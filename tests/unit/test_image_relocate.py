"""Images that leave stores."""

from __future__ import annotations

import pytest

from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore.osc import image_relocate
from tests.unit.images import IMAGE
from tests.unit.images import RECORD
from tests.unit.images import TASK
from tests.unit.images import Images
from tests.unit.images import image
from tests.unit.images import run
from tests.unit.images import task

pytestmark = pytest.mark.usefixtures('no_pause')


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


@pytest.mark.parametrize(
    ('written', 'args', 'noted'),
    [
        (RECORD, ['a'], True),
        (RECORD, ['b'], False),
        ({}, ['a'], False),
        # It stays in the store that the record names.
        (RECORD, ['a', '--from', 'c'], False),
    ],
)
def test_relocate_notes_it(written, args, noted):
    """Where the image says that it went elsewhere."""
    images = Images(image('a,b,c', **written))

    result = run(image_relocate.RelocateImage, images, IMAGE, '--to', *args)

    assert result.code == 0
    properties = [rest for what, *rest in images.asked if 'property' in what]
    assert properties == [[record.DIFFERENCE, 'it was relocated to a']] * noted
