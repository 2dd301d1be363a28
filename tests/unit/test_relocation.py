"""What is proof enough that a store has all of an image."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

import nova_multistore
from nova_multistore import copies
from nova_multistore import digests
from nova_multistore import exception
from nova_multistore import relocation
from nova_multistore import stores

IMAGE = '11111111-1111-4111-8111-111111111111'
RIGHT, WRONG = b'right', b'wrong'
CATALOGUE = stores.parse({'stores': [{'id': 'a'}, {'id': 'b'}, {'id': 'c'}]})
NO_FILTER = exception.GlanceRefused(405, 'not allowed')


def sha512(data):
    return hashlib.sha512(data).hexdigest()


def image(present, data=None, noted=None, at='1', **attributes):
    """An image; with the hash of data, if it has any."""
    made = {
        'id': IMAGE,
        'status': 'active',
        'size': len(RIGHT),
        'stores': present,
        'updated_at': at,
    }
    if data is not None:
        made.update(os_hash_algo='sha512', os_hash_value=sha512(data))
    if noted is not None:
        made[copies.HASH] = noted
    return {**made, **attributes}


class Images:
    """An image whose copies may be read, or not."""

    def __init__(self, *states, **data):
        self.states = list(states)
        self.data = data
        self.read = []
        self.deleted = []

    def show(self, image_id):
        shown = self.states[0]
        del self.states[: len(self.states) > 1]
        return shown

    def tasks(self, image_id):
        return []

    def digest(self, image_id, store, algorithm):
        self.read.append(store)
        found = self.data.get(store, NO_FILTER)
        if isinstance(found, Exception):
            raise found
        yield 0.0
        value = hashlib.new(algorithm, found).hexdigest()
        return digests.Digest(image_id, store, algorithm, value, len(found))

    def delete_from(self, image_id, store):
        self.deleted.append(store)


def sources(*names, needed=lambda image_id, store: None):
    return relocation.Sources(CATALOGUE, needed, names or None)


def proven(before, images, *names):
    """Prove that ``a`` has it, and delete it elsewhere."""
    proof = relocation.prove(images, before, 'a', sources(*names))
    return relocation.leave(images, proof, sources(*names)).reasons


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (image('b', RIGHT), image('a,b', RIGHT)),
        # Glance had the older hash alone.
        (image('b', checksum='x'), image('a,b', RIGHT, checksum='x')),
        # The package asked for the copy, and noted the hash.
        *[
            (found, found)
            for found in (
                image('a,b', RIGHT, noted=f'sha512:{sha512(RIGHT)}'),
                image('a,b', RIGHT, noted='md5:x', checksum='x'),
            )
        ],
    ],
)
def test_hash(before, after):
    """It is that of the only copy that there was: nothing is read."""
    images = Images(after)

    assert proven(before, images) == {'b': None}
    assert (images.read, images.deleted) == ([], ['b'])


UNKNOWN = [
    (image('b'), image('a,b')),
    # Glance has the hash from the copy.
    (image('b'), image('a,b', RIGHT)),
    (image('b'), image('a,b', RIGHT, noted='none')),
    (image('a,b', RIGHT), image('a,b', RIGHT)),
    (image('a,b', RIGHT, noted='none'), image('a,b', RIGHT, noted='none')),
    # It has the note from another image.
    (image('a,b', RIGHT), image('a,b', RIGHT, noted='sha512:x')),
    # Glance may have copied any of the two.
    (image('b,c', RIGHT), image('a,b,c', RIGHT)),
]


@pytest.mark.parametrize(('before', 'after'), UNKNOWN)
def test_copies_are_compared(before, after):
    """Where the hash proves nothing."""
    images = Images(after, a=RIGHT, b=RIGHT)

    assert proven(before, images, 'b')['b'] is None
    assert (images.read, images.deleted) == (['a', 'b'], ['b'])


@pytest.mark.parametrize(('before', 'after'), UNKNOWN)
@pytest.mark.parametrize(
    ('data', 'words'),
    [
        ({}, "nova-multistore's filter"),
        ({'a': WRONG, 'b': RIGHT}, 'its copies are not alike'),
        ({'a': RIGHT, 'b': WRONG}, 'its copies are not alike'),
        ({'a': RIGHT[:-1], 'b': RIGHT[:-1]}, 'a has 4 of 5 bytes'),
        ({'a': RIGHT, 'b': exception.ServiceAway('broke off')}, 'broke off'),
        ({'a': RIGHT, 'b': exception.GlanceRefused(410, 'lost')}, 'lost'),
    ],
)
def test_no_proof(before, after, data, words):
    """Nothing is deleted."""
    images = Images(after, **data)

    with pytest.raises(exception.NotWhole, match=words):
        proven(before, images, 'b')

    assert images.deleted == []


def test_copies_are_alike_and_wrong():
    """They do not have the hash that Glance has."""
    after = image('a,b', RIGHT)
    images = Images(after, a=WRONG, b=WRONG)

    with pytest.raises(exception.NotWhole, match='Glance has'):
        proven(after, images)

    assert images.deleted == []


def test_store_that_was_not_compared():
    """It came when the copies were read."""
    before = image('a,b', RIGHT)
    images = Images(before, image('a,b,c', RIGHT), a=RIGHT, b=RIGHT)

    reasons = proven(before, images)

    assert reasons == {'b': None, 'c': 'it was copied there just now'}
    assert images.deleted == ['b']


@pytest.mark.parametrize(
    ('later', 'words'),
    [
        (image('a,b', RIGHT, at='2'), 'was changed since its copies'),
        (image('a,b', WRONG), 'its sha512 is'),
        (image('b', RIGHT), 'no longer in a'),
        (image('a,b', RIGHT, status='deactivated'), 'it is deactivated'),
    ],
)
def test_proof_that_is_old(later, words):
    before = image('a,b', RIGHT)
    images = Images(before, later, a=RIGHT, b=RIGHT)

    with pytest.raises(exception.NotWhole, match=words):
        proven(before, images)

    assert images.deleted == []


def test_what_is_needed():
    """It is not even read."""
    before = image('a,b', RIGHT)
    images = Images(before)
    kept = sources(needed=lambda image_id, store: f'{store} is needed')

    proof = relocation.prove(images, before, 'a', kept)

    assert relocation.leave(images, proof, kept).reasons == {
        'b': 'b is needed'
    }
    assert (images.read, images.deleted) == ([], [])


@pytest.mark.parametrize(
    ('now', 'words'),
    [
        (image('a,b', RIGHT), None),
        (image('a,b', WRONG), 'was read'),
        (image('a,b'), 'Glance has no sha512 of it'),
        (image('a,b', RIGHT, noted='none'), 'does not tell which copy'),
        (image('b', RIGHT), 'no longer in a'),
    ],
)
def test_what_was_read(now, words):
    """A copy that was read is a proof if Glance had that hash before."""
    images = Images(now)

    def prove():
        return relocation.prove_by_reading(
            images, IMAGE, 'a', 'sha512', sha512(RIGHT)
        )

    if words is None:
        assert prove().store == 'a'
        return
    with pytest.raises(exception.NotWhole, match=words):
        prove()


def test_one_door():
    """No other module deletes a copy, or makes a proof."""
    root = pathlib.Path(nova_multistore.__file__).parent
    found = {
        words: sorted(
            path.name
            for path in root.rglob('*.py')
            if words in path.read_text()
        )
        for words in ('delete_from(', "'DELETE', f'/stores/", ' Proof(')
    }
    assert found == {
        'delete_from(': ['image_api.py', 'relocation.py'],
        "'DELETE', f'/stores/": ['image_api.py'],
        ' Proof(': ['relocation.py'],
    }
