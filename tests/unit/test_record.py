"""What a decision leaves on its image."""

from __future__ import annotations

import dataclasses

import pytest

from nova_multistore import record
from nova_multistore import selection
from nova_multistore import stores

CATALOGUE = stores.Catalogue(
    (stores.Store('cheap', default=True), stores.Store('fast'))
)


def selected(store='fast', rule=selection.Rule.BASE_IMAGE, known=CATALOGUE):
    return selection.Selection(store, None, 'a test', rule, catalogue=known)


@pytest.mark.parametrize(
    ('chosen', 'copy_to', 'written'),
    [
        (selected(), (), {record.RULE: 'base-image', record.STORE: 'fast'}),
        (
            selected(None, selection.Rule.DEFAULT),
            ('x', 'y'),
            {
                record.RULE: 'default',
                record.STORE: 'cheap',
                'nova_multistore_copy_to': 'x,y',
            },
        ),
        # It is made elsewhere first; it does not leave where a copy is to be.
        (
            dataclasses.replace(
                selected(rule=selection.Rule.MOVE), move_from='cheap'
            ),
            (),
            {
                record.RULE: 'move',
                record.STORE: 'fast',
                record.MOVE_FROM: 'cheap',
            },
        ),
        (
            dataclasses.replace(
                selected(rule=selection.Rule.MOVE), move_from='cheap'
            ),
            ('cheap',),
            {
                record.RULE: 'move',
                record.STORE: 'fast',
                'nova_multistore_copy_to': 'cheap',
            },
        ),
        # Nobody knows which store is the default one.
        (
            selected(None, selection.Rule.DEFAULT, known=None),
            (),
            {record.RULE: 'default'},
        ),
        # There is nothing to decide on.
        (
            selected(None, selection.Rule.DEFAULT, known=stores.Catalogue()),
            (),
            {},
        ),
    ],
)
def test_write(chosen, copy_to, written):
    """The store, the rule, and the copies."""
    assert record.write(chosen, copy_to) == written


@pytest.mark.parametrize('rule', selection.Rule)
def test_read_what_was_written(rule):
    """Each rule."""
    image = {'id': 'x', **record.write(selected(rule=rule), ())}

    assert record.read(image) == record.Record('fast', rule)


@pytest.mark.parametrize(
    'image',
    [{}, {record.RULE: 'other'}, {record.RULE: 7}, {record.STORE: 'x'}],
)
def test_no_record(image):
    """An image without one, or with nonsense that a user wrote."""
    assert record.read(image) is None
