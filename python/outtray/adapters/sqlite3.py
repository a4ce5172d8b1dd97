"""sqlite3, the module of the standard library."""

from __future__ import annotations

import sqlite3
from typing import Any

from .. import _core
from ..errors import ConnectionClosed, NotInTransaction
from . import NoCopy
from .psycopg import CLOSED

LEGACY = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, since Python 3.12


def atomic(autocommit: Any, isolation_level: Any, in_transaction: bool) -> bool:
    """Would a rollback undo what is written now?

    The older way of transactions begins one before an INSERT, unless the
    isolation level is None.
    """
    if in_transaction or autocommit is False:
        return True
    return bool(autocommit == LEGACY and isolation_level is not None)


NOT_OPEN = (
    "the SQLite connection is in autocommit mode: the event would not be atomic "
    "with your data. Execute BEGIN first and COMMIT after it, or connect with "
    "autocommit=False (Python 3.12) or without isolation_level=None"
)


class Sqlite3(NoCopy):
    """begin and execute."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        try:
            conn.total_changes  # noqa: B018 - asks for nothing but that
        except sqlite3.ProgrammingError as error:
            # Also that of a connection on another thread than its own.
            if "closed" not in str(error):
                raise
            raise ConnectionClosed(CLOSED) from error
        if required and not atomic(
            getattr(conn, "autocommit", LEGACY),
            conn.isolation_level,
            conn.in_transaction,
        ):
            raise NotInTransaction(NOT_OPEN)
        return _core.QMARK, _core.SQLITE, conn

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        conn.execute(sql, params).close()

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        cursor = conn.cursor()
        cursor.row_factory = None  # the connection's makes what it likes
        # To the end: an open statement would keep the file locked.
        return list(cursor.execute(sql, params).fetchall())
