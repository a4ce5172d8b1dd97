"""psycopg2."""

from __future__ import annotations

import io
from typing import Any

from psycopg2.extensions import (
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    cursor,
    get_wait_callback,
)

from .. import _core
from ..errors import ConnectionClosed, NotInTransaction, TransactionFailed
from .psycopg import CLOSED, FAILED


class Psycopg2:
    """begin and execute."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        if conn.closed:
            raise ConnectionClosed(CLOSED)
        status = conn.get_transaction_status()
        if status == TRANSACTION_STATUS_INERROR:
            raise TransactionFailed(FAILED)
        if required and conn.autocommit and status != TRANSACTION_STATUS_INTRANS:
            raise NotInTransaction(
                "the psycopg2 connection is in autocommit mode and no "
                "transaction is open: the event would not be atomic with your "
                "data. Set conn.autocommit = False, or execute BEGIN first"
            )
        return _core.PERCENT, _core.POSTGRESQL, conn

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        # Not the connection's cursor_factory, which may be of any kind.
        with conn.cursor(cursor_factory=cursor) as one:
            one.execute(sql, params)

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        with conn.cursor(cursor_factory=cursor) as one:
            one.execute(sql, params)
            return list(one.fetchall())

    def copies(self, conn: Any) -> bool:
        # Its text is in client_encoding; libraries like gevent, which give the
        # driver something to wait with, have no COPY.
        return bool(conn.encoding == "UTF8" and get_wait_callback() is None)

    def copy(self, conn: Any, sql: str, data: bytes) -> None:
        with conn.cursor(cursor_factory=cursor) as one:
            one.copy_expert(sql, io.BytesIO(data), 1 << 16)
