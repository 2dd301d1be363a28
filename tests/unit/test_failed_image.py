"""What becomes of the image of a snapshot that has failed."""

from __future__ import annotations

import logging
import time

import pytest

from nova_multistore.compute import background
from nova_multistore.compute import failed_image
from nova_multistore.compute import snapshot_state
from tests.unit import stub


@pytest.fixture
def snapshot():
    """A snapshot that has failed; its clone was kept."""
    snapshot = snapshot_state.Snapshot()
    snapshot.deleted = []
    snapshot.delete_clone = lambda: snapshot.deleted.append(True)
    return snapshot


@pytest.fixture
def look(monkeypatch, glance, context, server, image, snapshot):
    """Look after the image until nothing more is done; wait for a moment."""
    begun = []
    monkeypatch.setattr(background, 'begin', begun.append)
    monkeypatch.setattr(failed_image, 'PATIENCE', 5.0)

    def look():
        failed_image.remove(context, server, image['id'], snapshot)
        pauses = []
        for pause in begun.pop():
            pauses.append(pause)
            time.sleep(0.01)
        return len(pauses)

    return look


@pytest.fixture
def answers(glance, image):
    """What Glance answers to one look after the other; then the truth."""
    path = ('GET', f'/v2/images/{image["id"]}')

    def answers(*statuses):
        left = list(statuses)

        def answer():
            if left:
                return stub.Answer(left.pop(0))
            found = glance.images.get(image['id'])
            return stub.Answer(404) if found is None else found

        glance.answers[path] = answer

    return answers


@pytest.mark.parametrize('status', ['queued', 'saving', 'importing'])
def test_deleted(look, glance, image, snapshot, status, caplog):
    """So is its clone, but not before."""
    image.update(status=status)
    snapshot.delete_clone = lambda: snapshot.deleted.append(
        image['id'] not in glance.images
    )
    caplog.set_level(logging.INFO)

    assert look() == 1

    assert snapshot.deleted == [True]
    assert f'Image {image["id"]} of a snapshot that failed was' in caplog.text


def test_active(look, glance, image, snapshot):
    """It is whole, whatever Nova has heard of it; and it needs its clone."""
    image.update(status='active')

    assert look() == 1

    assert image['id'] in glance.images
    assert snapshot.deleted == []


@pytest.mark.parametrize('why', ['is_damaged', 'location_given_up'])
def test_active_and_useless(look, glance, image, snapshot, why):
    """It has other bytes, or the location of a clone that is gone."""
    image.update(status='active')
    setattr(snapshot, why, True)

    assert look() == 1

    assert image['id'] not in glance.images


@pytest.mark.parametrize('status', [404, 410, 401, 403, 500, 503])
def test_wrong_answer(look, glance, image, snapshot, answers, status):
    """One does not count."""
    answers(status)

    assert look() == 2

    assert image['id'] not in glance.images
    assert snapshot.deleted == [True]


def test_gone(look, glance, image, snapshot):
    """Glance has to say so twice."""
    glance.images.clear()

    assert look() == 2

    assert glance.made('DELETE') == []
    assert snapshot.deleted == [True]


def test_cannot_be_deleted(look, glance, image, snapshot, caplog, monkeypatch):
    """It is named; its clone stays."""
    monkeypatch.setattr(failed_image, 'PATIENCE', 0.2)
    glance.answers['DELETE', f'/v2/images/{image["id"]}'] = stub.Answer(503)

    look()

    assert snapshot.deleted == []
    assert f'openstack image delete {image["id"]}' in caplog.text


def test_clone_cannot_be_deleted(look, image, snapshot, caplog):
    """It is named."""

    def fail():
        raise OSError('Ceph is away')

    snapshot.delete_clone = fail

    look()

    [said] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert image['id'] in said.getMessage()
    assert 'Ceph is away' in said.getMessage()


def test_no_thread(monkeypatch, image, context, server, snapshot):
    """The error of the snapshot is the one that counts."""

    def begin(work):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, 'begin', begin)

    failed_image.remove(context, server, image['id'], snapshot)
