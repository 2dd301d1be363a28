"""What became of an upload whose answer was lost or is odd."""

from __future__ import annotations

from keystoneauth1 import service_token
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore.compute import upload
from tests.unit import stub
from tests.unit.uploads import DATA
from tests.unit.uploads import refuse
from tests.unit.uploads import sent
from tests.unit.uploads import take

pytestmark = pytest.mark.usefixtures('patched')


class Renewable(token_endpoint.Token):
    """Credentials of which keystoneauth can get a new token."""

    def invalidate(self):
        return True


def test_service_token_that_expired(glance, select, send, monkeypatch):
    """All of the data goes again, and not what is left of it."""
    monkeypatch.setattr(
        nova_glance,
        '_session_and_auth',
        lambda context: (
            session.Session(),
            service_token.ServiceTokenAuthWrapper(
                user_auth=context.get_auth_plugin(),
                service_auth=Renewable(glance.url, 'service'),
            ),
        ),
    )
    select('fast')
    glance.uploads = [refuse(401), take]

    send()

    assert [
        (sent(p)[1], p.headers['x-service-token'], p.body)
        for p in glance.made('PUT')
    ] == [('fast', 'service', DATA)] * 2


@pytest.mark.parametrize('status', [409, 500, 503])
def test_answer_that_was_lost(glance, send, status):
    """The image is active with all that was sent: it is done."""
    glance.uploads = [refuse(status, status='active', size=len(DATA))]

    assert send()['size'] == len(DATA)

    assert len(glance.made('PUT')) == 1


@pytest.mark.parametrize('status', [204, 503])
@pytest.mark.parametrize('size', [0, len(DATA) - 1, len(DATA) + 1])
def test_other_data_than_was_sent(glance, image, send, status, size):
    """The image is deleted, whatever Glance answered."""
    glance.uploads = [refuse(status, status='active', size=size)]

    with pytest.raises(
        nova_exception.ImageUnacceptable, match=f'Glance has {size}'
    ):
        send()

    assert image['id'] not in glance.images


@pytest.mark.parametrize('stale', ['queued', 'saving'])
def test_glance_that_has_not_heard_of_it_yet(glance, image, send, stale):
    """It is asked again: the image is there, and stays."""
    path = f'/v2/images/{image["id"]}'
    answers = [{**image, 'status': stale}] * 3

    def answer():
        return answers.pop() if answers else image

    glance.answers['GET', path] = answer

    assert send()['id'] == image['id']

    assert glance.images[image['id']]['status'] == 'active'
    assert answers == []


def test_glance_that_never_hears_of_it(glance, image, send, monkeypatch):
    """The upload fails, and whatever is there stays."""
    monkeypatch.setattr(upload, 'SETTLE', 0.3)
    path = f'/v2/images/{image["id"]}'
    glance.answers['GET', path] = lambda: {**image, 'status': 'queued'}

    with pytest.raises(nova_exception.ImageUnacceptable):
        send()

    assert glance.made('DELETE') == []


@pytest.mark.parametrize('status', ['deleted', 'pending_delete'])
def test_image_that_is_being_deleted(glance, send, status):
    """It is gone, as for Nova."""
    glance.uploads = [refuse(410, status=status)]

    with pytest.raises(nova_exception.ImageNotFound):
        send()


def test_image_that_is_gone(glance, image, send):
    """Whatever the number of the error."""

    def delete(image, request):
        del glance.images[image['id']]
        return stub.Answer(503)

    glance.uploads = [delete]

    with pytest.raises(nova_exception.ImageNotFound):
        send()

    assert len(glance.made('PUT')) == 1


def test_image_that_is_still_being_saved(glance, image, send, monkeypatch):
    """An earlier try still holds it: it is waited for, and not for ever."""
    monkeypatch.setattr(upload, 'SETTLE', 0.3)
    glance.uploads = [refuse(503, status='saving')]

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()

    assert len(glance.made('PUT')) == 1
    assert len(glance.made('GET', image['id'])) > 3


def test_image_that_is_saved_in_the_end(glance, image, send):
    """The try that was given up has come through."""
    asked = []

    def answer():
        asked.append(1)
        if len(asked) == 3:
            image.update(status='active', size=len(DATA))
        return image

    glance.uploads = [refuse(503, status='saving')]
    glance.answers['GET', f'/v2/images/{image["id"]}'] = answer

    assert send()['status'] == 'active'
    assert len(glance.made('PUT')) == 1


@pytest.mark.parametrize('babble', [[], 'text', 7, None])
def test_answer_that_is_no_image(glance, image, send, babble, monkeypatch):
    """The first error stands."""
    monkeypatch.setattr(upload, 'SETTLE', 0.3)
    glance.uploads = [refuse(503)]
    glance.answers['GET', f'/v2/images/{image["id"]}'] = stub.Answer(
        200, babble
    )

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()


def test_credentials_that_expired(glance, image, send):
    """What became of the image cannot be learnt: the first error stands."""
    glance.uploads = [refuse(503)]
    glance.answers['GET', f'/v2/images/{image["id"]}'] = stub.Answer(401)

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()


def test_stream_is_not_sent_twice(glance, context, image):
    """What was read of it is lost."""
    pieces = [DATA, b'']

    class Stream:
        def read(self, size):
            return pieces.pop(0)

    glance.uploads = [refuse(503), take]
    service = nova_glance.GlanceImageServiceV2()

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        service._upload_data(context, image['id'], Stream())

    assert len(glance.made('PUT')) == 1


def test_stream_that_was_not_read_is_sent_again(
    api_servers, glance, context, image
):
    """Glance was away when it was to be sent."""
    pieces = [DATA, b'']

    class Stream:
        def read(self, size):
            return pieces.pop(0)

    service = nova_glance.GlanceImageServiceV2()
    api_servers('dead live')

    service._upload_data(context, image['id'], Stream())

    [put] = glance.made('PUT')
    assert put.body == DATA


def test_text_file(glance, context, image, tmp_path):
    """Its length in bytes counts, not in characters."""
    path = tmp_path / 'disk'
    path.write_text('grün' * 1000, encoding='utf-8')
    service = nova_glance.GlanceImageServiceV2()

    with path.open(encoding='utf-8') as image_file:
        service._upload_data(context, image['id'], image_file)

    [put] = glance.made('PUT')
    assert put.body == path.read_bytes()


def test_nova_without_eventlet(glance, send, monkeypatch):
    """Its helpers for native threads are gone then."""
    for name in ('tpool_wrap', 'tpool_execute'):
        monkeypatch.delattr(upload.utils, name, raising=False)

    assert send()['status'] == 'active'
