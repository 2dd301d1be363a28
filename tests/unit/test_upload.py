"""What the upload sends, and what it does when it fails."""

from __future__ import annotations

from nova import exception as nova_exception
from nova import service_auth
from nova import utils
from nova.image import glance as nova_glance
import pytest

from nova_multistore import lookup
from nova_multistore.compute import patch
from tests.unit.uploads import BASE
from tests.unit.uploads import DATA
from tests.unit.uploads import DEAD
from tests.unit.uploads import babble
from tests.unit.uploads import refuse
from tests.unit.uploads import sent
from tests.unit.uploads import take
from tests.unit.uploads import version

pytestmark = pytest.mark.usefixtures('patched')


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


@pytest.mark.parametrize(
    'failure',
    [*map(refuse, (401, 408, 409, 425, 429, 502, 503, 504)), babble],
)
def test_passing_failure(glance, select, send, failure):
    """The whole data goes to the same store again."""
    select('fast')
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


@pytest.mark.parametrize(
    'words',
    [
        'dead live',
        'live dead',
        'dead live dead live',
        'dead live live dead',
        'dead dead live',
        'dead dead dead live',
    ],
)
def test_dead_api_servers(api_servers, glance, image, select, send, words):
    """The data reaches the one that lives, as often as with stock Nova."""
    select('fast')
    api_servers(words)

    send()

    [put] = glance.made('PUT')
    assert (sent(put)[1], put.body) == ('fast', DATA)


@pytest.fixture
def impatient(conf, monkeypatch):
    """Have Nova wait for a second; its session has the time-out."""
    conf.config(group='glance', timeout=1)
    # Where that is kept depends on the release.
    if hasattr(nova_glance, '_SESSION'):
        monkeypatch.setattr(nova_glance, '_SESSION', None)
    service_auth.reset_globals()
    yield
    service_auth.reset_globals()


@pytest.mark.skipif(
    hasattr(utils, 'tpool_execute') and version('eventlet') < (0, 35),
    reason='an upload does not time out in the thread pool of this eventlet',
)
@pytest.mark.parametrize('words', ['hanging live', 'live hanging'])
@pytest.mark.usefixtures('impatient')
def test_hanging_api_server(api_servers, glance, send, words):
    """The next try goes to the other one."""
    api_servers(words)

    send()

    [put] = glance.made('PUT')
    assert put.body == DATA


def test_questions_leave_the_turn_to_the_uploads(api_servers, glance, context):
    """Nova's own list, which it shuffles in place, is not touched either."""
    client = nova_glance.GlanceClientWrapper()
    api_servers('live live live')
    client._create_onetime_client(context, 2)
    before = [*nova_glance.CONF.glance.api_servers]
    turn = client.api_servers

    lookup.images(context, client=client).ask('GET', '/info/stores')
    lookup.catalogue(context)

    assert client.api_servers is turn
    assert nova_glance.CONF.glance.api_servers == before


def test_api_server_that_answered_nova_is_first(
    api_servers, glance, context, image
):
    """Nova has just updated the image there."""
    api_servers('dead live')
    service = nova_glance.GlanceImageServiceV2()
    service._client.call(context, 2, 'get', args=(image['id'],))

    service._upload_data(context, image['id'], DATA)

    assert lookup.servers(service._client) == [glance.url, DEAD]
    assert lookup._memory.troubles == {}
