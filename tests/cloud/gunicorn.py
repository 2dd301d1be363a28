"""gunicorn's settings for Glance, and the three things a test needs of it.

The process must not outlive the test that started it, however that ends; it
must not be above file permissions, or no store could ever be unwritable; and
its SQLite must stand requests side by side. gunicorn reads this module in its
master process before it forks.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal

from gunicorn.http import message
import sqlalchemy
import sqlalchemy.event

from tests.cloud import sqlite

PR_SET_PDEATHSIG = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Have this process killed as soon as its parent is gone.

    :param parent: the process id that the parent must still have
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def become_ordinary() -> None:
    """Give up root's privileges, but not its user id.

    So the temporary directories of a test that runs as root stay reachable.
    """
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), 'cannot give up privileges')


def begin_as_writer(
    connection: object,
    cursor: object,
    statement: str,
    parameters: object,
    context: object,
    executemany: bool,
) -> tuple[str, object]:
    """Have a transaction wait its turn where it begins.

    SQLite refuses at once, whatever the timeout, when a transaction that has
    read wants to write and another one was faster.
    """
    if statement == 'BEGIN':
        statement = 'BEGIN IMMEDIATE'
    return statement, parameters


def stand_side_by_side() -> None:
    """Have SQLite stand requests side by side, in this process."""
    sqlite.keep_connections()
    sqlalchemy.event.listen(
        sqlalchemy.engine.Engine,
        'before_cursor_execute',
        begin_as_writer,
        retval=True,
    )


def post_fork(server: object, worker: object) -> None:
    # The tie to the parent is not inherited.
    die_with(int(os.environ['TESTS_CLOUD_MASTER']))
    stand_side_by_side()


if os.environ.get('TESTS_CLOUD_PARENT'):
    die_with(int(os.environ.pop('TESTS_CLOUD_PARENT')))
    os.environ['TESTS_CLOUD_MASTER'] = str(os.getpid())
    if os.geteuid() == 0:
        become_ordinary()

wsgi_app = 'glance.common.wsgi_app:init_app()'
worker_class = 'gthread'
threads = 16
# Each request on a connection of its own, so that a stopping Glance waits
# for none that is merely idle.
keepalive = 0
# Not every server refuses a header that is long or has control characters.
limit_request_field_size = 1 << 21
message.RFC9110_5_5_INVALID_AND_DANGEROUS = re.compile('[\0\r\n]')
timeout = 0
graceful_timeout = 10
# Its default place is shared by all gunicorns of a user.
control_socket_disable = True
