"""One question to several servers, some of which are of no use."""

from __future__ import annotations

import threading
import time

import pytest

from nova_multistore import exception
from nova_multistore import failover

AWAY = exception.ServiceAway('it is away')


@pytest.fixture
def ask():
    """Ask servers, each of which does what it has been told to, in turn."""
    end = threading.Event()

    def ask(rounds=1, timeout=10.0, **servers):
        asked, silent = [], []

        def one(server, left):
            asked.append(server)
            deed = servers[server].pop(0)
            if deed == 'hang':
                end.wait(30)
            if isinstance(deed, float):
                time.sleep(deed)
            if isinstance(deed, Exception):
                raise deed
            return server

        asking = failover.Asking([*servers], one, timeout, silent.append)
        try:
            return asking.answer(rounds, 0.01), asked, silent
        except Exception as exc:
            return exc, asked, silent

    yield ask
    end.set()


def test_first_answer(ask):
    """Nobody else is asked."""
    assert ask(a=['x'], b=['x']) == ('a', ['a'], [])


def test_server_that_is_away(ask):
    """The next one is asked at once, and the first one not again."""
    assert ask(a=[AWAY], b=['x']) == ('b', ['a', 'b'], [])


def test_server_that_hangs(ask):
    """It gets its share of the time, and is named."""
    begin = time.monotonic()

    found = ask(a=['hang'], b=['x'], timeout=4.0)

    assert found == ('b', ['a', 'b'], ['a'])
    assert 1.9 < time.monotonic() - begin < 3.9


def test_server_that_is_slow(ask):
    """Its answer counts while the next one is asked."""
    assert ask(a=[0.8], b=['hang'], timeout=1.2)[:2] == ('a', ['a', 'b'])


def test_all_are_away_for_a_moment(ask):
    """Each is asked as often as was said."""
    found = ask(rounds=3, a=[AWAY] * 3, b=[AWAY, AWAY, 'x'])

    assert found == ('b', ['a', 'b'] * 3, [])


def test_silent_server_is_not_asked_again(ask):
    """Its thread is there still."""
    found = ask(rounds=3, a=['hang'], b=[AWAY, 'x'], timeout=1.0)

    assert found == ('b', ['a', 'b', 'b'], ['a'])


def test_nobody_answers(ask):
    """The last error is the caller's."""
    error, asked, _ = ask(rounds=2, a=[AWAY] * 2, b=[AWAY] * 2)

    assert error is AWAY
    assert len(asked) == 4


def test_all_hang(ask):
    """There is an end."""
    error, asked, silent = ask(rounds=4, a=['hang'], b=['hang'], timeout=0.4)

    assert isinstance(error, exception.ServiceAway)
    assert asked == ['a', 'b']
    assert set(silent) == {'a', 'b'}


@pytest.mark.parametrize(
    ('error', 'passes'),
    [
        (exception.GlanceRefused(429, 'busy'), True),
        (exception.GlanceRefused(404, 'not there'), False),
        (exception.AuthenticationFailed('no token'), False),
        (RuntimeError('a mistake'), False),
    ],
)
def test_answers_that_others_would_give(ask, error, passes):
    """They end the question."""
    found, asked, _ = ask(a=[error], b=['x'])

    assert found == 'b' if passes else found is error
    assert len(asked) == 1 + passes
