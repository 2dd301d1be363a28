"""Nova's services in one process, without the pauses that they make there.

Importing this module imports Nova, as `tests.cloud.threads` says.
"""

from __future__ import annotations

import threading
import time
import types
from typing import Any

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import threads  # noqa: F401

# isort: split

import fixtures
from futurist import _thread
from nova.tests import fixtures as nova_fixtures
from oslo_concurrency import processutils
from oslo_messaging._drivers import impl_fake


def let_workers_sleep() -> None:
    """Have futurist's idle threads sleep until there is work for them.

    Each looks every second whether it is to end. A Nova has two hundred, which
    all wait for Python's lock then, each of them for 5 ms at a time: a third
    of the processor time of a test went there.
    """
    worker = _thread.ThreadWorker
    if not hasattr(_thread, '_Stopping'):
        # This release has Nova on eventlet.
        return
    stop = worker.stop

    def wait_for_work(self: Any) -> Any:
        self.idle = True
        with self.work_queue.not_empty:
            while not self.work_queue.queue:
                if self._is_dying():
                    raise _thread._Stopping()
                self.work_queue.not_empty.wait(60.0)
            work = self.work_queue.queue.popleft()
        self.idle = False
        return work

    def stop_and_wake(self: Any) -> None:
        stop(self)
        # The garbage collector may call it at any place.
        if self.work_queue.mutex.acquire(timeout=1.0):
            try:
                self.work_queue.not_empty.notify_all()
            finally:
                self.work_queue.mutex.release()

    worker._wait_for_work = wait_for_work
    worker.stop = stop_and_wake


class _ReadersFirst(nova_fixtures.ReaderWriterLock):
    """A lock whose readers do not wait for a writer that waits itself."""

    @property
    def has_pending_writers(self) -> bool:
        return False


class CellDatabases(nova_fixtures.CellDatabases):
    """Nova's, for a cloud in which many servers are at work at once.

    Its threads hold this lock and one per database. A thread with the database
    that waits for a waiting writer, which waits for a reader, which waits for
    the database, would wait forever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cell_lock = _ReadersFirst()


class PromptMessages(fixtures.Fixture):
    """Has messages arrive at once, without looking for them all the time.

    oslo.messaging's driver for tests sleeps for 50 ms between two looks, in
    each of Nova's listeners.
    """

    #: How long a listener sleeps at most, in seconds: so long may it take to
    #: see that it is to end.
    LONGEST = 0.2

    def _setUp(self) -> None:
        self._delivered = 0
        self._condition = threading.Condition()
        self._local = threading.local()
        deliver = impl_fake.FakeExchange.deliver_message

        def prompt(*args: Any, **kwargs: Any) -> None:
            deliver(*args, **kwargs)
            with self._condition:
                self._delivered += 1
                self._condition.notify_all()

        for name, new in (
            ('FakeExchange.deliver_message', prompt),
            (
                'time',
                types.SimpleNamespace(time=time.time, sleep=self._sleep),
            ),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'oslo_messaging._drivers.impl_fake.{name}', new
                )
            )

    def _sleep(self, _seconds: float) -> None:
        """Sleep until something was delivered since this thread looked."""
        seen = getattr(self._local, 'seen', -1)
        with self._condition:
            self._condition.wait_for(
                lambda: self._delivered != seen, self.LONGEST
            )
            self._local.seen = self._delivered


class QuickStarts(fixtures.Fixture):
    """Has oslo.concurrency start processes without a copy of this one.

    It has a function be called in the child, which then has to be a copy of
    all of this large process. That function only restores a signal, as
    `subprocess` does anyway.
    """

    def _setUp(self) -> None:
        popen = processutils.subprocess.Popen

        def start(*args: Any, preexec_fn: Any = None, **kwargs: Any) -> Any:
            return popen(*args, **kwargs)

        self.useFixture(
            fixtures.MonkeyPatch(
                'oslo_concurrency.processutils.subprocess',
                types.SimpleNamespace(
                    **{**vars(processutils.subprocess), 'Popen': start}
                ),
            )
        )
