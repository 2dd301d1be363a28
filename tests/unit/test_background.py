"""Work in the background."""

from __future__ import annotations

import threading
import time

import pytest

from nova_multistore.compute import background
from tests import patience


@pytest.fixture
def number_of_threads():
    """Return how many threads there are, but for those of other tests."""
    before = set(threading.enumerate())

    def number():
        after = set(threading.enumerate()) - before
        return sum(t.name == 'multistore background' for t in after)

    return number


@pytest.fixture
def few():
    """A background of three threads; afterwards, none is left."""
    made = background.Background(3)
    yield made
    end(made)
    left = patience.Patience(10)
    while made._threads and left:
        time.sleep(0.01)
    assert made._threads == 0


def end(waiting):
    left = patience.Patience(30)
    while waiting.pending and left:
        time.sleep(0.005)
    assert waiting.pending == 0


def test_many(few, number_of_threads):
    """A few threads do all of it, however much there is."""
    done, threads = [], []

    def work(number):
        for pause in (0.05, 0.0, 0.05):
            threads.append(number_of_threads())
            yield pause
        done.append(number)

    for number in range(200):
        few.begin(work(number))
    assert few.pending == 200
    begin = time.monotonic()
    end(few)

    assert sorted(done) == list(range(200))
    assert 1 < max(threads) <= 3
    # One after the other, that would be 20 seconds.
    assert time.monotonic() - begin < 5


def test_pauses(few):
    """The shorter pause ends first, and none is cut short."""
    ended = {}

    def work(pause):
        begin = time.monotonic()
        yield pause
        ended[pause] = time.monotonic() - begin

    for pause in (0.4, 0.2, 0.3, 0.1):
        few.begin(work(pause))
    end(few)

    assert list(ended) == [0.1, 0.2, 0.3, 0.4]
    assert all(waited >= pause for pause, waited in ended.items())


def test_new_work_does_not_wait_for_old(few):
    go_on = threading.Event()

    def old():
        yield 3600.0

    def hanging():
        yield 0.0
        go_on.wait(30)

    def new():
        done.set()
        yield 0.0

    done = threading.Event()
    for work in (old(), hanging(), hanging()):
        few.begin(work)
    few.begin(new())

    assert done.wait(10)
    assert few.pending >= 3
    go_on.set()
    # It would wait for an hour.
    with few._changed:
        few._waiting.clear()
        few._changed.notify_all()


@pytest.mark.parametrize('error', [ValueError, SystemExit])
def test_failure(few, caplog, error):
    """It is logged, and the thread goes on with other work."""

    def fail():
        yield 0.0
        raise error('a mistake')

    done = []

    def work():
        yield 0.05
        done.append(True)

    for each in (fail(), work(), fail(), fail(), fail(), work()):
        few.begin(each)
    end(few)

    assert done == [True, True]
    assert len(caplog.records) == 4
    assert 'a mistake' in caplog.text


def test_no_thread(few, monkeypatch):
    """Who begins is told, unless another thread does the work."""
    go_on = threading.Event()
    done = []

    def waiting():
        go_on.wait(30)
        yield 0.0

    def work():
        done.append(True)
        yield 0.0

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, 'start', start)
        with pytest.raises(RuntimeError):
            few.begin(work())
        assert few.pending == 0
    few.begin(waiting())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, 'start', start)
        few.begin(work())
    assert few.pending == 2
    assert not done
    go_on.set()
    end(few)
    assert done == [True]
