"""What the upload sends, and what it does when it fails."""

from __future__ import annotations

import glanceclient.exc
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore import selection
from nova_multistore.compute import lookup
from nova_multistore.compute import patch
from nova_multistore.compute import snapshot
from nova_multistore.compute import upload
from tests.unit import stub

DATA = bytes(range(256)) * 16
BASE = 'b8b2c6f7-7345-4e2f-afa2-eedaba9cbbe3'
HEADERS = (
    'x-openstack-base-image-ref',
    'x-image-meta-store',
    'x-openstack-image-size',
)

pytestmark = pytest.mark.usefixtures('patched')


@pytest.fixture
def select(monkeypatch, image):
    """Set the selection for the image."""

    def select(store, **kwargs):
        monkeypatch.setitem(
            snapshot._selections,
            image['id'],
            selection.Selection(store, BASE, 'a test', **kwargs),
        )

    return select


@pytest.fixture
def send(tmp_path, context, image):
    """Upload a file as Nova's drivers do."""
    path = tmp_path / 'disk'
    path.write_bytes(DATA)

    def send():
        service = nova_glance.GlanceImageServiceV2()
        with path.open('rb') as image_file:
            return service._upload_data(context, image['id'], image_file)

    return send


def sent(request):
    """The three headers, None for one that was not sent."""
    return tuple(request.headers.get(name) for name in HEADERS)


def refuse(code, **state):
    """Answer an upload with a status; the image gets a state."""

    def answer(image, request):
        image.update(state)
        return stub.Answer(code, {'error': {'message': 'no'}})

    return answer


def take(image, request):
    """Take an upload as Glance does."""
    image.update(status='active', size=len(request.body))
    return stub.Answer(204)


def test_headers_of_a_snapshot(glance, select, send):
    """Each of the three, on this request and on no other."""
    select('fast')

    image = send()

    [put] = glance.made('PUT')
    assert sent(put) == (BASE, 'fast', str(len(DATA)))
    assert put.body == DATA
    assert put.headers['content-type'] == 'application/octet-stream'
    assert image['status'] == 'active'
    assert all(
        sent(request) == (None, None, None)
        for request in glance.requests
        if request is not put
    )


def test_headers_where_glance_selects(glance, select, send):
    """The base image goes alone."""
    select(None)

    send()

    [put] = glance.made('PUT')
    assert sent(put) == (BASE, None, str(len(DATA)))


def test_headers_of_any_other_upload(glance, send):
    """It has a size, and says nothing of stores."""
    send()

    [put] = glance.made('PUT')
    assert sent(put) == (None, None, str(len(DATA)))


def test_headers_of_an_endless_looking_stream(glance, context, image):
    """Its size is not known."""

    pieces = [DATA, DATA, b'']

    class Stream:
        def read(self, size):
            return pieces.pop(0)

    service = nova_glance.GlanceImageServiceV2()
    service._upload_data(context, image['id'], Stream())

    [put] = glance.made('PUT')
    assert sent(put) == (None, None, None)
    assert put.body == DATA * 2


def test_empty_image(glance, context, image):
    """Nova activates an image with no data so."""
    service = nova_glance.GlanceImageServiceV2()
    service._upload_data(context, image['id'], '')

    [put] = glance.made('PUT')
    assert sent(put) == (None, None, '0')
    assert image['status'] == 'active'


def test_requests_of_an_upload(glance, image, send):
    """They are those of stock Nova."""

    def requests():
        image.update(status='queued')
        glance.requests.clear()
        send()
        return [(r.method, r.path) for r in glance.requests]

    mine = requests()
    patch.remove()

    assert requests() == mine


def test_client_of_one_image_keeps_its_own_headers(
    glance, context, image, select, tmp_path
):
    """Nova uses the client of an image's URL for the next call too."""
    select('fast')
    client = nova_glance.GlanceClientWrapper(context, endpoint=glance.url)
    service = nova_glance.GlanceImageServiceV2(client)

    service._upload_data(context, image['id'], DATA)

    [put] = glance.made('PUT')
    assert sent(put) == (BASE, 'fast', str(len(DATA)))
    assert client.client.http_client.additional_headers == {}


def babble(image, request):
    """Answer with JSON in which glanceclient does not find its way."""
    return stub.Answer(503, {'message': 'from a proxy'})


@pytest.mark.parametrize(
    'failure', [refuse(409), refuse(502), refuse(503), babble]
)
def test_passing_failure(glance, select, send, failure):
    """The whole data goes to the same store again."""
    select('fast', fallback='cheap')
    glance.uploads = [failure, failure, take]

    send()

    assert [(sent(p)[1], p.body) for p in glance.made('PUT')] == [
        ('fast', DATA)
    ] * 3


def test_unreachable_glance(glance, send):
    """Nova's own error, after as many tries as Nova makes."""
    glance.uploads = [refuse(503)] * 9

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()

    assert len(glance.made('PUT')) == 4


@pytest.mark.parametrize('num_retries', [0, 2])
def test_number_of_tries(conf, glance, send, num_retries):
    """[glance] num_retries says how often an upload is repeated."""
    conf.config(group='glance', num_retries=num_retries)
    glance.uploads = [refuse(503)] * 9

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()

    assert len(glance.made('PUT')) == 1 + num_retries


@pytest.mark.parametrize('status', [403, 410, 413, 415, 500])
def test_store_that_refuses(glance, select, send, status, caplog):
    """A derived choice goes to the default store, by its name."""
    select('fast', fallback='cheap')
    glance.uploads = [refuse(status), take]

    send()

    assert [sent(p)[:2] for p in glance.made('PUT')] == [
        (BASE, 'fast'),
        (BASE, 'cheap'),
    ]
    assert 'goes to the default store cheap' in caplog.text


def test_store_that_is_never_reached(conf, glance, select, send):
    """The default store gets tries of its own."""
    conf.config(group='glance', num_retries=1)
    select('fast', fallback='cheap')
    glance.uploads = [refuse(503), refuse(503), refuse(503), take]

    send()

    assert [sent(p)[1] for p in glance.made('PUT')] == [
        'fast',
        'fast',
        'cheap',
        'cheap',
    ]


def test_default_store_refuses_too(glance, select, send):
    """Nothing is left to try."""
    select('fast', fallback='cheap')
    glance.uploads = [refuse(413)] * 9

    with pytest.raises(glanceclient.exc.HTTPOverLimit):
        send()

    assert len(glance.made('PUT')) == 2


@pytest.mark.parametrize('status', [400, 403, 410, 413, 415, 500])
@pytest.mark.parametrize('store', ['fast', None])
def test_refusal_of_an_order(glance, select, send, store, status):
    """It stands, and is Glance's own error."""
    select(store, ordered=True)
    glance.uploads = [refuse(status)] * 9

    with pytest.raises(glanceclient.exc.HTTPException) as caught:
        send()

    assert not isinstance(caught.value, glanceclient.exc.HTTPNotFound)
    assert len(glance.made('PUT')) == 1


def test_ordered_store_that_is_gone(glance, select, send, context):
    """Glance is asked which stores there are now."""
    select('fats', ordered=True)
    lookup.catalogue(context)
    glance.uploads = [refuse(400)]

    with pytest.raises(
        nova_exception.InvalidConfiguration, match=r"'fats'.*cheap, fast"
    ):
        send()

    assert len(glance.made('GET', '/v2/info/stores')) == 2


def test_derived_store_that_is_gone(glance, select, send, context):
    """The next decision knows the stores that there are now."""
    select('fats', fallback='cheap')
    lookup.catalogue(context)
    glance.uploads = [refuse(400), take]

    send()
    lookup.catalogue(context)

    assert [sent(p)[1] for p in glance.made('PUT')] == ['fats', 'cheap']
    assert len(glance.made('GET', '/v2/info/stores')) == 2


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

    def later():
        asked.append(1)
        if len(asked) == 3:
            image.update(status='active', size=len(DATA))

    def save(image, request):
        image.update(status='saving')
        return stub.Answer(503)

    glance.uploads = [save]
    path = f'/v2/images/{image["id"]}'

    class Polled(stub.Answer):
        @property
        def body(self):
            later()
            return image

        @body.setter
        def body(self, value):
            pass

    glance.answers['GET', path] = Polled()

    assert send()['status'] == 'active'
    assert len(glance.made('PUT')) == 1


def test_credentials_that_expired(glance, image, send):
    """What became of the image cannot be learnt: the first error stands."""
    glance.uploads = [refuse(503)]
    glance.answers['GET', f'/v2/images/{image["id"]}'] = stub.Answer(401)

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        send()


def test_stream_is_not_sent_twice(glance, context, image):
    """What was read of it is lost."""

    class Stream:
        def read(self, size):
            return b''

    glance.uploads = [refuse(503), take]
    service = nova_glance.GlanceImageServiceV2()

    with pytest.raises(nova_exception.GlanceConnectionFailed):
        service._upload_data(context, image['id'], Stream())

    assert len(glance.made('PUT')) == 1
