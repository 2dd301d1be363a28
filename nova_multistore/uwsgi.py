"""What uWSGI does to the threads of an API."""

from __future__ import annotations

import functools
import importlib

from oslo_log import log as logging

LOG = logging.getLogger(__name__)


@functools.cache
def check(program: str, effect: str) -> None:
    """Warn, once in a process, if its threads stand still between requests.

    uWSGI releases Python's global lock between two requests only if it has
    ``enable-threads``, or several threads in a process. Without these, a
    thread that a request has started runs only while there is a request: time
    limits within a request hold, but no later work is done.

    :param program: the API that is loaded, such as ``nova-api``
    :param effect: what stands still there, as the end of a sentence
    """
    try:
        # Only processes of uWSGI have such a module.
        server = importlib.import_module('uwsgi')
    except ImportError:
        return
    if not getattr(server, 'has_threads', True):
        LOG.warning(
            "uWSGI runs %(program)s without 'enable-threads', so its threads "
            'stand still between two requests: %(effect)s. Set '
            "'enable-threads = true' in the uwsgi.ini of %(program)s.",
            {'program': program, 'effect': effect},
        )
