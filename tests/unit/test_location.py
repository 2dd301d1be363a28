"""What becomes of the location of a clone; the rest needs a real Ceph."""

from __future__ import annotations

import logging

import glanceclient.exc
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore import selection
from nova_multistore.compute import location
from nova_multistore.compute import snapshot_state
from tests.unit import stub

LOCATION = 'rbd://fsid/images/x/snap'


@pytest.fixture
def add(conf, context, image, monkeypatch):
    """Add a location; Nova's own code answers, or raises, what is given."""

    monkeypatch.setattr(location, '_PAUSE', 0.001)

    def add(answer):
        def proceed():
            if isinstance(answer, Exception):
                raise answer
            return answer

        return location.add_location(
            proceed,
            nova_glance.GlanceImageServiceV2(),
            context=context,
            image_id=image['id'],
            location=LOCATION,
        )

    return add


@pytest.fixture
def snapshot(image):
    """The image is a snapshot that goes to ``fast``."""
    with snapshot_state.enter(image['id']) as snapshot:
        snapshot.selection = selection.Selection(
            'fast',
            None,
            'a test',
            direct=selection.Direct.POOL_FIRST,
            pool='images',
        )
        yield snapshot


def test_no_snapshot(add, glance):
    """Nova's own answer, and nothing is asked."""
    with pytest.raises(glanceclient.exc.HTTPForbidden):
        add(glanceclient.exc.HTTPForbidden())

    assert add({'status': 'active'}) == {'status': 'active'}
    assert glance.requests == []


@pytest.mark.parametrize(
    ('stores', 'warned'),
    [
        ({}, False),
        ({'stores': 'fast'}, False),
        ({'stores': 'a,fast'}, False),
        ({'stores': 'fast2'}, True),
    ],
)
def test_store_that_glance_says(add, snapshot, caplog, stores, warned):
    """Another one is a warning: the image is there, and whole."""
    answer = {'status': 'active', **stores}

    assert add(answer) == answer

    levels = [r.levelno for r in caplog.records if 'says' in r.getMessage()]
    assert levels == [logging.WARNING] * warned


REFUSED = [
    nova_exception.Invalid(),
    glanceclient.exc.HTTPBadRequest(),
    glanceclient.exc.HTTPForbidden(),
    glanceclient.exc.HTTPNotImplemented(),
]
BROKEN = [
    glanceclient.exc.HTTPConflict(),
    glanceclient.exc.HTTPNotFound(),
    glanceclient.exc.HTTPUnauthorized(),
    glanceclient.exc.HTTPInternalServerError(),
    nova_exception.GlanceConnectionFailed(server='x', reason='y'),
]


@pytest.mark.parametrize('error', [*REFUSED, *BROKEN])
def test_refused(add, snapshot, error):
    """Nova is to take a standard snapshot."""
    with pytest.raises(nova_exception.ImageUnacceptable):
        add(error)


@pytest.mark.parametrize('error', [*REFUSED, *BROKEN])
def test_taken_after_all(add, snapshot, image, error):
    """The image is not uploaded beside it."""
    image.update(status='active')

    assert add(error)['id'] == image['id']


@pytest.fixture
def turn(glance, image):
    """Have the image be something else each time Glance is asked for it."""

    def turn(*states):
        states = list(states)

        def answer():
            state = states.pop(0) if len(states) > 1 else states[0]
            return state if isinstance(state, stub.Answer) else image | state

        glance.answers['GET', f'/v2/images/{image["id"]}'] = answer

    return turn


TAKING = {'status': 'queued', 'os_glance_import_task': 'x'}
ANSWERS = [TAKING, *REFUSED, *BROKEN]


@pytest.mark.parametrize('answer', ANSWERS)
@pytest.mark.parametrize('status', ['active', 'deactivated'])
def test_taken_later(add, snapshot, turn, answer, status):
    """Glance says so, after a failure of its own, too."""
    turn(TAKING, TAKING, stub.Answer(503), TAKING, {'status': status})

    assert add(answer)['status'] == status
    assert not snapshot.location_given_up


NOT_TAKEN = {
    'left queued': ([TAKING, {'status': 'queued'}], 60, 'left it queued'),
    'still taking': ([TAKING], 0.5, 'did not take its location in 0.5 s'),
    'away': ([TAKING, TAKING, stub.Answer(503)], 0.5, 'did not take'),
}


@pytest.mark.parametrize('case', NOT_TAKEN)
@pytest.mark.parametrize('answer', ANSWERS)
def test_not_taken(add, snapshot, turn, monkeypatch, answer, case):
    """The image is to have its data in the standard way."""
    states, patience, reason = NOT_TAKEN[case]
    monkeypatch.setattr(location, 'PATIENCE', patience)
    turn(*states)

    with pytest.raises(nova_exception.ImageUnacceptable, match=reason):
        add(answer)

    assert snapshot.location_given_up


def test_deleted_while_it_is_taken(add, snapshot, glance, image):
    """There is nothing to be snapshotted any more."""
    del glance.images[image['id']]

    with pytest.raises(nova_exception.ImageNotFound):
        add(TAKING)


@pytest.mark.parametrize('status', [401, 403])
@pytest.mark.parametrize('answer', ANSWERS)
def test_may_not_ask_any_more(add, snapshot, turn, caplog, answer, status):
    """Nothing is uploaded beside a location, and the log names that."""
    turn(TAKING, TAKING, stub.Answer(status))

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        add(answer)

    assert LOCATION in caplog.text
    assert snapshot.clone_in_doubt


@pytest.mark.parametrize('error', [*REFUSED, *BROKEN])
def test_glance_does_not_tell(add, snapshot, turn, monkeypatch, caplog, error):
    """A refusal is one; else nothing is uploaded beside a location."""
    monkeypatch.setattr(location, 'SETTLE', 0.05)
    turn(stub.Answer(500))
    refused = error in REFUSED

    with pytest.raises(
        nova_exception.ImageUnacceptable if refused else type(error)
    ):
        add(error)

    assert (LOCATION in caplog.text) != refused
    assert snapshot.clone_in_doubt != refused


@pytest.mark.parametrize('answer', ANSWERS)
def test_not_there_for_a_moment(add, snapshot, turn, answer):
    """Only a Glance that says so twice is believed."""
    turn(stub.Answer(404), TAKING, stub.Answer(404), {'status': 'active'})

    assert add(answer)['status'] == 'active'


@pytest.mark.parametrize('error', [*REFUSED, *BROKEN])
def test_deleted_meanwhile(add, snapshot, glance, image, error):
    """Nova hears of it."""
    del glance.images[image['id']]

    with pytest.raises(nova_exception.ImageNotFound):
        add(error)
