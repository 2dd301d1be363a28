"""The store that takes an upload, and what is told if another one does."""

from __future__ import annotations

import contextlib
import uuid

import glanceclient.exc
from nova import exception as nova_exception
from nova.image import glance as nova_glance
import pytest

from nova_multistore import lookup
from nova_multistore import stores
from nova_multistore import timed_calls
from nova_multistore.compute import upload
from tests.unit import stub
from tests.unit.uploads import BASE
from tests.unit.uploads import DATA
from tests.unit.uploads import lose
from tests.unit.uploads import refuse
from tests.unit.uploads import sent
from tests.unit.uploads import take
from tests.unit.uploads import version

pytestmark = pytest.mark.usefixtures('patched')


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
        timed_calls.start(
            lambda i=image_id: service._upload_data(context, i, DATA)
        )
        for image_id in images
    ]
    for future in futures:
        timed_calls.wait(future, 30)

    assert {i['status'] for i in glance.images.values()} == {'active'}
    assert len(glance.made('GET', '/v2/info/stores')) == 1 + lookup.ROUNDS
