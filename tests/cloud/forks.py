"""Processes that need not load what they run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import multiprocessing
from multiprocessing import forkserver
import threading
from typing import Any
from unittest import mock

_lock = threading.Lock()


class Template:
    """A process that has loaded some modules, and is forked.

    It is started for the first fork, and ends with this process. Python has
    one for each program; these must not get in each other's way.

    :param modules: their full names
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload(list(modules))

    def fork(
        self, target: Callable[..., None], *args: Any
    ) -> multiprocessing.context.ForkServerProcess:
        """Start a process.

        :param target: what it does, in a module that it can import
        """
        # There is none on eventlet.
        processes = multiprocessing.get_context('forkserver')
        process = processes.Process(target=target, args=args)
        with (
            _lock,
            mock.patch.object(
                forkserver,
                'connect_to_new_process',
                self._server.connect_to_new_process,
            ),
        ):
            process.start()
        return process
