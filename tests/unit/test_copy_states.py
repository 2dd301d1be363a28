"""How copies are read from what Glance tells of an image and its tasks."""

from __future__ import annotations

import pytest

from nova_multistore import copies
from tests.unit.images import FAILED
from tests.unit.images import HELD
from tests.unit.images import IMAGE
from tests.unit.images import IMPORTING
from tests.unit.images import MIB
from tests.unit.images import TASK
from tests.unit.images import Images
from tests.unit.images import image
from tests.unit.images import task


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
