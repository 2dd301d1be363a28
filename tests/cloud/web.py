"""What serves the files of the tests' stores of type http."""

from __future__ import annotations

from collections.abc import Mapping
import http.server
import threading
from typing import Any
from typing import Callable

#: How long a file may be held back, in seconds.
PATIENCE = 60


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves files, without a word.

    :param gates: hold back the files of these paths until they are set
    :param lengths: tells whether answers have a length
    """

    def __init__(
        self,
        gates: Mapping[str, threading.Event],
        lengths: Callable[[], bool],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._gates = gates
        self._lengths = lengths
        super().__init__(*args, **kwargs)

    def send_header(self, keyword: str, value: str) -> None:
        # Glance takes no location whose length it cannot ask for.
        if (
            self.command == 'HEAD'
            or self._lengths()
            or keyword != 'Content-Length'
        ):
            super().send_header(keyword, value)

    def do_GET(self) -> None:
        if self.path in self._gates:
            self._gates[self.path].wait(PATIENCE)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass
