"""SQLite whose connections are kept."""

from __future__ import annotations

import types
from typing import Any

from oslo_db.sqlalchemy import engines
from sqlalchemy import pool


class _Pool(pool.QueuePool):
    """Keeps all connections that were ever needed."""

    def __init__(self, creator: Any, **kwargs: Any) -> None:
        super().__init__(creator, **{**kwargs, 'pool_size': 0})


def keep_connections() -> None:
    """Have oslo.db keep the connections to files, as to a real database.

    To open one takes longer than most of what is asked of it.
    """
    engines.pool = types.SimpleNamespace(**{**vars(pool), 'NullPool': _Pool})
