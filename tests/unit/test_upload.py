"""What the upload sends, and what it does when it fails."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import random
import uuid

import glanceclient.exc
from keystoneauth1 import service_token
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from nova import exception as nova_exception
from nova import utils
from nova.image import glance as nova_glance
import pytest

from nova_multistore import bounded
from nova_multistore import lookup
from nova_multistore import selection
from nova_multistore import stores
from nova_multistore.compute import ongoing
from nova_multistore.compute import patch
from nova_multistore.compute import upload
from tests.unit import stub

DATA = bytes(range(256)) * 16
BASE = 'b8b2c6f7-7345-4e2f-afa2-eedaba9cbbe3'
#: URL of an API server that is away.
DEAD = 'http://127.0.0.1:9'
CATALOGUE = stores.parse(stub.STORES)
HEADERS = (
    'x-openstack-base-image-ref',
    'x-image-meta-store',
    'x-openstack-image-size',
)


def version(distribution):
    """The first two numbers of the version that is installed."""
    parts = importlib.metadata.version(distribution).split('.')
    return tuple(int(part) for part in parts[:2])


pytestmark = pytest.mark.usefixtures('patched')


@pytest.fixture
def making():
    """Set the selection for the snapshot with an image."""
    with contextlib.ExitStack() as stack:

        def making(image_id, store, known=CATALOGUE, **kwargs):
            snapshot = stack.enter_context(ongoing.enter(image_id))
            snapshot.selection = selection.Selection(
                store, BASE, 'a test', catalogue=known, **kwargs
            )
            return snapshot

        yield making


@pytest.fixture
def select(making, image):
    """Set the selection for the image."""
    return functools.partial(making, image['id'])


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


def refuse(code, message='no', **state):
    """Answer an upload with a status; the image gets a state."""

    def answer(image, request):
        image.update(state)
        return stub.Answer(code, {'error': {'message': message}})

    return answer


take = stub.take


def lose(image, request):
    """Break off in the place of an answer."""
    return stub.Answer(0)


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


@pytest.mark.parametrize('status', [403, 410, 413, 415])
def test_store_that_refuses(glance, select, send, status, caplog):
    """A derived choice goes to the default store, by its name."""
    select('fast')
    glance.uploads = [refuse(status), take]

    send()

    assert [sent(p)[:2] for p in glance.made('PUT')] == [
        (BASE, 'fast'),
        (BASE, 'cheap'),
    ]
    assert 'goes to the default store cheap' in caplog.text


@pytest.fixture
def api_servers(conf, glance, hanging, monkeypatch):
    """Let Nova have API servers, and ask them in this order."""
    monkeypatch.setattr(random, 'shuffle', lambda items: None)
    monkeypatch.setattr(random, 'sample', lambda items, _number: [*items])
    urls = {'dead': DEAD, 'hanging': hanging, 'live': glance.url}

    def api_servers(words):
        servers = [urls[word] for word in words.split()]
        conf.config(group='glance', api_servers=servers)
        lookup.forget()

    return api_servers


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
def impatient(conf, own_session):
    """Have Nova wait for a second; its session has the time-out."""
    conf.config(group='glance', timeout=1)


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


def test_store_that_is_never_reached(conf, glance, select, send):
    """The default store gets tries of its own."""
    conf.config(group='glance', num_retries=1)
    select('fast')
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
    select('fast')
    glance.uploads = [refuse(413, 'Image storage media is full: no')] * 9

    with pytest.raises(glanceclient.exc.HTTPOverLimit):
        send()

    assert len(glance.made('PUT')) == 2


@pytest.mark.parametrize('status', [400, 403, 410, 413, 415, 500])
@pytest.mark.parametrize('store', ['fast', None])
def test_refusal_of_an_order(glance, select, send, store, status):
    """It stands, and is Glance's own error, or one of Nova's with its words.

    Nova records nothing but the class of errors that it does not translate.
    Where the size may be the reason, it goes there once more without.
    """
    select(store, ordered=True)
    glance.uploads = [refuse(status)] * 9
    wordless = store is not None and status in (410, 415, 500)

    with pytest.raises(
        nova_exception.ImageUnacceptable
        if wordless
        else glanceclient.exc.HTTPException
    ) as caught:
        send()

    assert not isinstance(caught.value, glanceclient.exc.HTTPNotFound)
    if wordless:
        words = caught.value.format_message()
        assert f'store fast did not take it ({caught.value.__context__}' in (
            words
        )
    size = str(len(DATA))
    assert [sent(p) for p in glance.made('PUT')] == [
        (BASE, store, size),
        *[(BASE, store, None)] * (status in (400, 413, 500)),
    ]


def test_store_that_takes_no_size(glance, select, send):
    """Swift's large objects: it is the same store that takes them."""
    select('fast')
    glance.uploads = [refuse(500), take]

    send()

    assert [sent(p) for p in glance.made('PUT')] == [
        (BASE, 'fast', str(len(DATA))),
        (BASE, 'fast', None),
    ]


def announced(glance):
    """Whether each upload announced its size, by store."""
    return [
        (s, size is not None) for _, s, size in map(sent, glance.made('PUT'))
    ]


@pytest.mark.parametrize('store', ['fast', None])
def test_store_that_hangs_is_asked_once(
    glance, making, context, store, monkeypatch
):
    """It is not told a size again; others are."""
    monkeypatch.setattr(upload, 'HANG', 0.0)
    glance.uploads = [refuse(500), take, take, take]

    for name in (store, store, 'other'):
        image = str(uuid.uuid4())
        glance.images[image] = {'id': image, 'status': 'queued'}
        making(image, name)
        service = nova_glance.GlanceImageServiceV2()
        service._upload_data(context, image, DATA)

    assert announced(glance) == [
        (store, True),
        (store, False),
        (store, False),
        ('other', True),
    ]


def test_store_that_fails_at_once_may_do_better(glance, making, context):
    """Nothing is lost if it is told the next size."""
    glance.uploads = [refuse(500), take, take]

    for _ in range(2):
        image = str(uuid.uuid4())
        glance.images[image] = {'id': image, 'status': 'queued'}
        making(image, 'fast')
        service = nova_glance.GlanceImageServiceV2()
        service._upload_data(context, image, DATA)

    assert announced(glance) == [
        ('fast', True),
        ('fast', False),
        ('fast', True),
    ]


@pytest.mark.parametrize('store', ['cheap', 'fast', None])
def test_swift_is_told_no_size(glance, select, send, store):
    """Where Glance says of which type its stores are; None is `cheap`."""
    known = stores.parse(
        {
            'stores': [
                {'id': 'cheap', 'default': 'true', 'type': 'swift'},
                {'id': 'fast', 'type': 's3'},
            ]
        }
    )
    select(store, known)

    send()

    assert announced(glance) == [(store, store == 'fast')]


def test_gateway_that_breaks_off(glance, select, send, monkeypatch):
    """It hung as well: the next try has no size."""
    monkeypatch.setattr(upload, 'HANG', 0.0)
    select('fast')
    glance.uploads = [lose, take]

    send()

    assert announced(glance) == [('fast', True), ('fast', False)]


@pytest.mark.skipif(
    version('requests') < (2, 29),
    reason='requests older than 2.29 reads no answer after a broken upload',
)
def test_answer_before_the_data(glance, select, send, monkeypatch):
    """It is lost on the way, and waited for at the second try."""
    monkeypatch.setattr(upload, 'PAUSE', 0.5)
    select('fast')
    glance.hasty = True
    glance.uploads = [refuse(413, TOO_LARGE[0])]

    with pytest.raises(glanceclient.exc.HTTPOverLimit, match='too large'):
        send()

    assert len(glance.made('PUT')) == 2


@pytest.mark.parametrize('num_retries', [0, 1, 3])
def test_size_is_left_out_if_no_answer_comes(
    conf, glance, select, send, num_retries
):
    """It may be what Glance does not take."""
    conf.config(group='glance', num_retries=num_retries)
    select('fast', ordered=True)
    tries = max(num_retries, 1)
    glance.uploads = [*[lose] * tries, take]

    send()

    assert announced(glance) == [*[('fast', True)] * tries, ('fast', False)]


def test_store_that_fails(glance, select, send):
    """The default store gets the data then, as they came last."""
    select('fast')
    glance.uploads = [refuse(500), refuse(500), take]

    send()

    assert [sent(p)[1:] for p in glance.made('PUT')] == [
        ('fast', str(len(DATA))),
        ('fast', None),
        ('cheap', None),
    ]


@pytest.mark.parametrize('num_retries', [0, 1])
def test_gateway_that_waits_for_too_long(
    conf, glance, select, send, num_retries
):
    """Glance has had all: it may wait for more, by the size."""
    conf.config(group='glance', num_retries=num_retries)
    select('fast')
    glance.uploads = [refuse(504), take]

    send()

    assert [sent(p)[1:] for p in glance.made('PUT')] == [
        ('fast', str(len(DATA))),
        ('fast', None),
    ]


def test_nothing_but_what_stock_nova_sends(glance, select, send):
    """A last try, where the names of stores are not welcome."""
    snapshot = select('fast')
    glance.uploads = [refuse(400), refuse(400), take]

    send()

    assert [sent(p) for p in glance.made('PUT')] == [
        (BASE, 'fast', str(len(DATA))),
        (BASE, 'cheap', str(len(DATA))),
        (None, None, None),
    ]
    assert 'without store cheap' in snapshot.differences[-1]


TOO_LARGE = [
    'The incoming image is too large: The provided image is too large.',
    'Image exceeds the storage quota: The size of the data 7 will exceed the '
    'limit. 1 bytes remaining.',
    'Project x is over a limit for [Resource image_count_uploading is over '
    'limit of 1 due to current usage 2 and delta 0]',
]


@pytest.mark.parametrize('words', TOO_LARGE)
@pytest.mark.parametrize('store', ['fast', None])
def test_image_that_is_too_large(glance, select, send, store, words):
    """The store cannot help it: the error comes after one upload."""
    select(store)
    glance.uploads = [refuse(413, words)] * 9

    with pytest.raises(glanceclient.exc.HTTPOverLimit):
        send()

    assert len(glance.made('PUT')) == 1


@pytest.mark.parametrize('fits', [True, False])
def test_limit_that_counts_the_size_twice(glance, select, send, fits):
    """Without the size there may be room; if not, that is final."""
    limit = refuse(
        413,
        'Project x is over a limit for [Resource image_size_total is over '
        'limit of 4 due to current usage 3 and delta 3]',
    )
    select('fast')
    glance.uploads = [limit, take if fits else limit, *[limit] * 9]

    if fits:
        send()
    else:
        with pytest.raises(glanceclient.exc.HTTPOverLimit):
            send()

    assert [sent(p)[1:] for p in glance.made('PUT')] == [
        ('fast', str(len(DATA))),
        ('fast', None),
    ]


def take_into(*stores):
    """Take an upload into a store, whatever it names."""

    def answer(image, request):
        take(image, request)
        image.update(stores=','.join(stores))
        return stub.Answer(204)

    return answer


@pytest.mark.parametrize('ordered', [True, False])
def test_image_that_lands_elsewhere(
    glance, select, send, ordered, image, caplog
):
    """The log and the image say where it is."""
    snapshot = select('fast', ordered=ordered)
    glance.uploads = [take_into('cheap')]

    send()

    assert snapshot.differences == [
        'Glance put it elsewhere: in cheap instead of fast'
    ]
    assert 'Glance has it in cheap' in caplog.text
    assert len(glance.made('GET', image['id'])) == 1


@pytest.mark.parametrize('knows', [True, False])
def test_glance_that_does_not_name_the_store(
    glance, select, send, image, knows
):
    """Another API server is asked, which may know of stores."""
    snapshot = select('fast')
    path = f'/v2/images/{image["id"]}'
    answers = [{}, {}]

    def answer():
        if answers or not knows:
            stripped = {k: v for k, v in image.items() if k != 'stores'}
            answers[:1] = []
            return stripped
        return image

    glance.answers['GET', path] = answer

    send()

    assert (snapshot.differences == []) is knows


def test_ordered_store_that_is_gone(glance, select, send, context):
    """Glance is asked which stores there are now."""
    select('fats', lookup.catalogue(context), ordered=True)
    glance.uploads = [refuse(400)]

    with pytest.raises(
        nova_exception.InvalidConfiguration, match=r"'fats'.*cheap, fast"
    ):
        send()

    assert len(glance.made('GET', '/v2/info/stores')) == 1 + lookup.ROUNDS


def test_derived_store_that_is_gone(glance, select, send, context):
    """The next decision knows the stores that there are now."""
    select('fats', lookup.catalogue(context))
    glance.uploads = [refuse(400), take]

    send()
    lookup.catalogue(context)

    assert [sent(p)[1] for p in glance.made('PUT')] == ['fats', 'cheap']
    assert len(glance.made('GET', '/v2/info/stores')) == 1 + lookup.ROUNDS


NO_STORE = 'Store for identifier fast not found'


@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('times', [1, lookup.ROUNDS])
def test_api_server_without_the_store(
    glance, select, send, context, image, ordered, times
):
    """Another one behind the same URL may have it, as the catalogue does."""
    select('fast', lookup.catalogue(context), ordered=ordered)
    glance.uploads = [*[refuse(400, NO_STORE)] * times, take]

    send()

    assert [sent(p)[1] for p in glance.made('PUT')] == ['fast'] * (times + 1)
    closed = [
        r.path.rpartition('/')[2]
        for r in glance.made('GET')
        if r.headers['connection'] == 'close'
    ]
    assert closed == [image['id']] * sum(range(1, times + 1))


@pytest.mark.parametrize('ordered', [True, False])
def test_no_api_server_takes_the_store(glance, select, send, context, ordered):
    """An order fails then, and all else goes to the default store."""
    select('fast', lookup.catalogue(context), ordered=ordered)
    glance.uploads = [
        *[refuse(400, NO_STORE)] * (lookup.ROUNDS + 1 + ordered),
        take,
    ]

    with (
        pytest.raises(glanceclient.exc.HTTPBadRequest, match='identifier')
        if ordered
        else contextlib.nullcontext()
    ):
        send()

    to_default = [] if ordered else ['cheap']
    assert [sent(p)[1] for p in glance.made('PUT')] == [
        *['fast'] * (lookup.ROUNDS + 1 + ordered),
        *to_default,
    ]


@pytest.mark.parametrize('store', ['old', 'fast'])
def test_default_store_that_was_renamed(glance, select, send, store):
    """The fallback is the default store of now."""
    select(
        store,
        stores.Catalogue(
            (stores.Store('old', default=True), stores.Store('fast'))
        ),
    )
    glance.uploads = [refuse(400), take]

    send()

    assert [sent(p)[1] for p in glance.made('PUT')] == [store, 'cheap']


def test_location_that_was_given_up(glance, select, send, image):
    """Glance took it after all: the image has no data."""
    select('fast').location_given_up = True
    glance.uploads = [refuse(409, status='active')]

    with pytest.raises(nova_exception.ImageUnacceptable, match='deleted'):
        send()

    assert len(glance.made('PUT')) == 1


def test_many_uploads_to_a_store_that_is_gone(glance, context, making):
    """They share one look at what is there now."""
    known = lookup.catalogue(context)
    images = [str(uuid.uuid4()) for _ in range(20)]
    for image_id in images:
        glance.images[image_id] = {'id': image_id, 'status': 'queued'}
        making(image_id, 'fats', known)
    glance.uploads = [
        lambda image, request: (
            refuse(400) if sent(request)[1] == 'fats' else take
        )(image, request)
    ] * (2 * len(images))
    service = nova_glance.GlanceImageServiceV2()

    futures = [
        bounded.start(
            lambda i=image_id: service._upload_data(context, i, DATA)
        )
        for image_id in images
    ]
    for future in futures:
        bounded.wait(future, 30)

    assert {i['status'] for i in glance.images.values()} == {'active'}
    assert len(glance.made('GET', '/v2/info/stores')) == 1 + lookup.ROUNDS


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
