"""The catalogue: parsed, and fetched once for many."""

from __future__ import annotations

import threading
import time

import pytest

from nova_multistore import exception
from nova_multistore import stores
from nova_multistore import timed_calls

ONE = stores.Catalogue((stores.Store('one', default=True),))
TWO = stores.Catalogue((stores.Store('two', default=True),))


class TestParse:
    """The answer to ``GET /v2/info/stores``."""

    def test_flags_are_text(self):
        """As every Glance since Train sends them."""
        body = {
            'stores': [
                {'id': 'cheap', 'default': 'true', 'description': 'A store'},
                {'id': 'fast'},
                {'id': 'web', 'read-only': 'true'},
            ]
        }

        catalogue = stores.parse(body)

        assert (
            stores.Store('cheap', default=True, description='A store'),
            stores.Store('fast'),
            stores.Store('web', read_only=True),
        ) == catalogue.stores
        assert catalogue.writable == ('cheap', 'fast')
        assert catalogue.default == 'cheap'

    def test_flags_may_be_booleans(self):
        """As the specification shows them."""
        body = {'stores': [{'id': 'a', 'default': True, 'read-only': False}]}

        assert (stores.Store('a', default=True),) == stores.parse(body).stores

    @pytest.mark.parametrize(
        'body',
        [
            None,
            'a text',
            [],
            {},
            {'stores': None},
            {'stores': {'id': 'fast'}},
            {'stores': ['fast']},
            {'stores': [{}]},
            {'stores': [{'id': 7}]},
            {'stores': [{'id': ''}]},
        ],
    )
    def test_garbage(self, body):
        """It is an error with a reason."""
        with pytest.raises(exception.LookupFailed, match='the answer'):
            stores.parse(body)

    def test_details(self):
        """The answer to ``GET /v2/info/stores/detail``, as Glance gives it."""
        rbd = {'type': 'rbd', 'weight': 0}
        body = {
            'stores': [
                {'id': 'a', 'type': 'file', 'properties': {'data_dir': '/a'}},
                {'id': 'b', **rbd, 'properties': {'fsid': 'f', 'pool': 'p'}},
                {'id': 'c', **rbd, 'properties': {'fsid': None, 'pool': 'p'}},
                {'id': 'd', **rbd},
                {'id': 'e', 'type': 7},
                {'id': 'f'},
            ]
        }

        assert stores.parse(body).places == {
            'a': stores.Place('file'),
            'b': stores.Place('rbd', 'f', 'p'),
            'c': stores.Place('rbd'),
            'd': stores.Place('rbd'),
        }

    @pytest.mark.parametrize(
        ('image', 'expected'),
        [
            ({}, {}),
            ({'stores': 'a', 'locations': []}, {}),
            ({'stores': 'a', 'locations': 'nonsense'}, {}),
            ({'stores': 'a', 'locations': [7, {}, {'url': 'x://y'}]}, {}),
            (
                {
                    'stores': 'a,b',
                    'locations': [
                        {'url': 'rbd://f/p/i/s', 'metadata': {'store': 'a'}},
                        {'url': 'file:///i', 'metadata': {'store': 'b'}},
                    ],
                },
                {
                    'a': stores.Place('rbd', 'f', 'p'),
                    'b': stores.Place('file'),
                },
            ),
            (
                {'stores': 'a', 'direct_url': 'rbd://f/p%20q/i/s'},
                {'a': stores.Place('rbd', 'f', 'p q')},
            ),
            (
                {'stores': 'a', 'direct_url': 'rbd://i'},
                {'a': stores.Place('rbd')},
            ),
            ({'stores': 'a,b', 'direct_url': 'rbd://f/p/i/s'}, {}),
            ({'stores': 'a', 'direct_url': 7}, {}),
        ],
    )
    def test_places_of_an_image(self, image, expected):
        """What its locations show, and nothing is guessed."""
        assert expected == stores.places_of_image(image)

    @pytest.mark.parametrize(
        ('image', 'expected'),
        [
            ({}, ()),
            ({'stores': ''}, ()),
            ({'stores': 'fast'}, ('fast',)),
            ({'stores': 'ceph2,file'}, ('ceph2', 'file')),
            ({'stores': 'b, a,'}, ('b', 'a')),
        ],
    )
    def test_stores_of_an_image(self, image, expected):
        """Ids joined by commas, in Glance's order."""
        assert expected == stores.of_image(image)

    @pytest.mark.parametrize(
        'image', [None, [], 'text', {'stores': ['fast']}, {'stores': None}]
    )
    def test_stores_of_an_image_as_garbage(self, image):
        """It is an error with a reason."""
        with pytest.raises(exception.LookupFailed, match='not an image'):
            stores.of_image(image)


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stores, 'time', clock)
    return clock


class Fetches:
    """Gives the answers in turn, and counts them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.count = 0

    def __call__(self):
        self.count += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_catalogue_is_kept_for_five_minutes(clock):
    """And then fetched anew."""
    cache, fetch = stores.Cache(), Fetches(ONE, TWO)

    assert cache.get(fetch) is ONE
    clock.now += 299
    assert cache.get(fetch) is ONE
    clock.now += 2
    assert cache.get(fetch) is TWO
    assert fetch.count == 2


def test_failure_is_remembered_for_thirty_seconds(clock):
    """Nobody waits for a Glance that has just failed."""
    cache = stores.Cache()
    fetch = Fetches(exception.LookupFailed('HTTP 500'), ONE)

    for seconds in (0, 29):
        clock.now += seconds
        with pytest.raises(exception.LookupFailed, match='HTTP 500'):
            cache.get(fetch)
    clock.now += 2
    assert cache.get(fetch) is ONE
    assert fetch.count == 2


def test_other_errors_are_not_remembered(clock):
    """One caller's expired token is not the next one's."""
    cache, fetch = stores.Cache(), Fetches(RuntimeError('HTTP 401'), ONE)

    with pytest.raises(RuntimeError):
        cache.get(fetch)
    assert cache.get(fetch) is ONE


AWAY = exception.LookupFailed('HTTP 503')
DENIED = RuntimeError('HTTP 401')


def test_catalogue_is_kept_for_an_hour(clock):
    """As long as Glance gives no newer one; it is asked each 30 seconds."""
    cache, fetch = stores.Cache(), Fetches(ONE, *[AWAY] * 3)
    cache.get(fetch)

    for seconds, count in ((301, 2), (29, 2), (2, 3)):
        clock.now += seconds
        assert cache.get(fetch) is ONE
        assert fetch.count == count
    clock.now += 3600 - 301 - 29 - 2 + 1
    with pytest.raises(exception.LookupFailed, match='HTTP 503'):
        cache.get(fetch)


def test_denied_caller_has_what_was_kept(clock):
    """It is only a refresh that a bad token keeps from."""
    cache, fetch = stores.Cache(), Fetches(ONE, DENIED, TWO)
    cache.get(fetch)
    clock.now += 301

    assert cache.get(fetch) is ONE
    assert cache.get(fetch) is TWO


@pytest.mark.parametrize('error', [AWAY, DENIED])
def test_missing_store_is_one_callers_trouble(clock, error):
    """The others have the catalogue, while it is refreshed and after."""
    cache, go = stores.Cache(), threading.Event()
    assert cache.get(Fetches(ONE)) is ONE

    def fail():
        go.wait(30)
        raise error

    alone = timed_calls.start(lambda: cache.get(fail, stale=ONE))
    assert cache.get(Fetches()) is ONE
    go.set()
    with pytest.raises(type(error)):
        timed_calls.wait(alone, 30)
    assert cache.get(Fetches()) is ONE


@pytest.mark.parametrize('answer', [ONE, AWAY])
def test_missing_store_is_asked_for_now_and_then(clock, answer):
    """Who names nonsense in a loop waits; and what has come is found."""
    fetch = Fetches(ONE, *[answer] * 3, TWO)
    cache = stores.Cache()
    stale = cache.get(fetch)
    begin = clock.now

    for count in (2, 3, 4):
        if answer is AWAY:
            with pytest.raises(exception.LookupFailed):
                cache.get(fetch, stale=stale)
        else:
            assert cache.get(fetch, stale=stale) is ONE
        assert fetch.count == count
        assert clock.now == begin + 2 * (count - 2)
    assert cache.get(fetch, stale=stale) is TWO
    with pytest.raises(exception.LookupFailed, match='a moment ago'):
        cache.get(fetch, stale=TWO, timeout=1)


def test_impatient_caller_never_sleeps(clock):
    """A list that was asked for a moment ago is new enough to refuse."""
    fetch = Fetches(ONE, ONE, TWO)
    cache = stores.Cache()
    begin, stale = clock.now, cache.get(fetch)

    for _ in range(3):
        assert cache.get(fetch, stale=stale, patient=False) is ONE
    assert (fetch.count, clock.now) == (1, begin)

    clock.now += 3
    for _ in range(3):
        assert cache.get(fetch, stale=stale, patient=False) is ONE
    assert (fetch.count, clock.now) == (2, begin + 3)
    clock.now += 3
    assert cache.get(fetch, stale=stale, patient=False) is TWO


def test_impatient_caller_after_a_failure(clock):
    """It is refused at once, and the others have what is kept."""
    fetch = Fetches(ONE, AWAY, TWO)
    cache = stores.Cache()
    stale = cache.get(fetch)
    clock.now += 3
    begin = clock.now

    for _ in range(2):
        with pytest.raises(exception.LookupFailed):
            cache.get(fetch, stale=stale, patient=False)
    assert (fetch.count, clock.now) == (2, begin)
    assert cache.get(fetch) is ONE
    clock.now += 3
    assert cache.get(fetch, stale=stale, patient=False) is TWO


def test_waiting_caller_asks_with_its_own_token():
    """Another one's may have expired."""
    cache, asked, go = stores.Cache(), threading.Event(), threading.Event()
    came = threading.Semaphore(0)

    def deny():
        asked.set()
        go.wait(30)
        raise DENIED

    def get():
        came.release()
        return cache.get(fetch)

    timed_calls.start(lambda: cache.get(deny))
    assert asked.wait(30)
    fetch = Fetches(ONE)
    waiting = [timed_calls.start(get) for _ in range(5)]
    for _ in waiting:
        assert came.acquire(timeout=30)
    go.set()

    assert [timed_calls.wait(future, 30) for future in waiting] == [ONE] * 5
    assert fetch.count == 1


RBD = stores.Place('rbd', 'fsid', 'images')


def placed(place, **more):
    return stores.Catalogue((stores.Store('fast', place=place),), **more)


def test_places_that_are_not_told_for_a_moment(clock):
    """The last known ones stay, and are asked for after 30 seconds."""
    cache = stores.Cache()
    fetch = Fetches(
        placed(RBD),
        placed(None, unsettled=True),
        placed(None, unsettled=True),
        placed(None),
        placed(RBD),
    )
    for seconds, count in ((0, 1), (301, 2), (29, 2), (2, 3)):
        clock.now += seconds
        assert cache.get(fetch).places == {'fast': RBD}
        assert fetch.count == count
    clock.now += 31

    # They are denied: that is settled.
    assert cache.get(fetch).places == {}
    clock.now += 299
    assert cache.get(fetch).places == {}
    clock.now += 2
    assert cache.get(fetch).places == {'fast': RBD}


def test_answer_that_comes_late_is_not_the_newest(clock):
    """What was asked for after it has arrived before it."""
    cache, go = stores.Cache(), threading.Event()

    def hang():
        go.wait(30)
        return ONE

    with pytest.raises(exception.LookupFailed):
        cache.get(hang, timeout=0)
    late = cache._question._answer
    clock.now += 41
    assert cache.get(Fetches(TWO)) is TWO
    go.set()
    timed_calls.wait(late, 30)

    assert cache.get(Fetches()) is TWO


def test_stale_catalogue_is_refreshed_once(clock):
    """Also where two callers find the same catalogue wrong."""
    cache, fetch = stores.Cache(), Fetches(ONE, TWO)
    stale = cache.get(fetch)

    assert cache.get(fetch, stale=stale) is TWO
    assert cache.get(fetch, stale=stale) is TWO
    assert fetch.count == 2


def test_one_fetch_for_many_threads():
    """All wait for the same answer."""
    cache, go = stores.Cache(), threading.Event()
    fetch = Fetches(ONE)

    def slow():
        go.wait(30)
        return fetch()

    futures = [timed_calls.start(lambda: cache.get(slow)) for _ in range(50)]
    go.set()

    assert [timed_calls.wait(future, 30) for future in futures] == [ONE] * 50
    assert fetch.count == 1


def test_hanging_fetch_is_not_waited_for():
    """The bound holds, and nobody waits a second time."""
    cache, go = stores.Cache(), threading.Event()
    fetch = Fetches(ONE)

    def hang():
        go.wait(30)
        return fetch()

    begin = time.monotonic()
    with pytest.raises(exception.LookupFailed, match='in time'):
        cache.get(hang, timeout=0.2)
    assert time.monotonic() - begin < 5
    go.set()
    assert cache.get(fetch) is ONE
    assert fetch.count == 1


def test_hanging_fetch_is_remembered_as_a_failure(clock):
    """After 10 seconds nobody waits for it, after 40 it is asked again."""
    cache, go = stores.Cache(), threading.Event()
    fetch = Fetches(ONE)

    def hang():
        go.wait(30)
        return TWO

    with pytest.raises(exception.LookupFailed):
        cache.get(hang, timeout=0)
    clock.now += 11
    with pytest.raises(exception.LookupFailed):
        cache.get(fetch, timeout=30)
    assert fetch.count == 0
    clock.now += 30
    assert cache.get(fetch) is ONE
    go.set()


@pytest.mark.parametrize(
    ('present', 'alone'),
    [
        ('', ()),
        ('fast', ()),
        ('far,fast', ()),
        ('far', ('far',)),
        ('far,off', ('far', 'off')),
        # A substring is no store.
        ('fas', ('fas',)),
    ],
)
def test_foreign(present, alone):
    """What this Glance cannot read, and why in words."""
    catalogue = stores.Catalogue((stores.Store('cheap'), stores.Store('fast')))
    image = {'stores': present}

    assert catalogue.foreign(image) == alone
    assert bool(catalogue.unreadable(image)) == bool(alone)
    # Without several stores, Glance names none.
    assert stores.Catalogue().foreign(image) == ()


@pytest.mark.parametrize('value', [None, 7, '', ' , '])
def test_no_stores(value):
    assert stores.split(value) == ()
