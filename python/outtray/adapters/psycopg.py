"""psycopg 3, in both of its ways."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import ConnectionClosed, NotInTransaction, TransactionFailed

ACTIVE, INTRANS, INERROR = 1, 2, 3  # PQTRANS_… of libpq
PIPELINE_OFF = 0

FAILED = (
    "an earlier statement has failed the transaction: roll it back (or to a "
    "savepoint) before you enqueue"
)


CLOSED = "the connection is closed: open one, and enqueue before it is given back"


def check(conn: Any, required: bool) -> None:
    """Raise if an event would not be atomic with the caller's data."""
    if conn.closed:
        raise ConnectionClosed(CLOSED)
    status = conn.pgconn.transaction_status
    if status == INERROR:
        raise TransactionFailed(FAILED)
    if not required or not conn.autocommit or status == INTRANS:
        return
    # In a pipeline the server has not told yet; the blocks of transaction()
    # that are open are counted by the connection.
    if status == ACTIVE and getattr(conn, "_num_transactions", 0) > 0:
        return
    raise NotInTransaction(
        "the psycopg connection is in autocommit mode and no transaction is "
        "open: the event would not be atomic with your data. Put both into "
        "`with conn.transaction():`"
    )


_styles: dict[Any, int] = {}


def style(cursor_factory: Any) -> int:
    """Of the statements that the cursors of a connection take."""
    try:
        return _styles[cursor_factory]
    except KeyError:
        bases = getattr(cursor_factory, "__mro__", ())
        raw = any(base.__name__ == "RawCursorMixin" for base in bases)
        found = _core.DOLLAR if raw else _core.PERCENT
        if bases:  # a function may be made for each connection
            _styles[cursor_factory] = found
        return found


def copies(conn: Any) -> bool:
    # A COPY would end the pipeline, and its text is in client_encoding.
    pgconn = conn.pgconn
    encoding = pgconn.parameter_status(b"client_encoding")
    return bool(pgconn.pipeline_status == PIPELINE_OFF and encoding == b"UTF8")


class Psycopg:
    """begin and execute."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        check(conn, required)
        return style(conn.cursor_factory), _core.POSTGRESQL, conn

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        conn.execute(sql, params)

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        from psycopg.rows import tuple_row  # not the connection's, of any kind

        with conn.cursor(row_factory=tuple_row) as cursor:
            return list(cursor.execute(sql, params).fetchall())

    def copies(self, conn: Any) -> bool:
        return copies(conn)

    def copy(self, conn: Any, sql: str, data: bytes) -> None:
        from psycopg import Cursor  # not the connection's, of any kind

        with Cursor(conn) as cursor, cursor.copy(sql) as out:
            out.write(data)


class AsyncPsycopg:
    """begin and execute."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        check(conn, required)
        return style(conn.cursor_factory), _core.POSTGRESQL, conn

    async def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        await conn.execute(sql, params)

    async def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        from psycopg.rows import tuple_row

        async with conn.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(sql, params)
            return list(await cursor.fetchall())

    def copies(self, conn: Any) -> bool:
        return copies(conn)

    async def copy(self, conn: Any, sql: str, data: bytes) -> None:
        from psycopg import AsyncCursor

        async with AsyncCursor(conn) as cursor, cursor.copy(sql) as out:
            await out.write(data)
