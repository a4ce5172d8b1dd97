"""aiosqlite: sqlite3 in a thread of its own."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import ConnectionClosed, NotInTransaction
from . import NoCopy
from .psycopg import CLOSED
from .sqlite3 import LEGACY, NOT_OPEN, Sqlite3, atomic


class Aiosqlite(NoCopy):
    """begin and execute."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        if conn._connection is None or not conn._running:
            raise ConnectionClosed(CLOSED)
        if required and not conn.in_transaction:
            # Only the thread of the connection may ask it for this one.
            autocommit = await conn._execute(getattr, conn._conn, "autocommit", LEGACY)
            if not atomic(autocommit, conn.isolation_level, conn.in_transaction):
                raise NotInTransaction(NOT_OPEN)
        return _core.QMARK, _core.SQLITE, conn

    async def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        # One way to its thread and back; a cursor would want a second.
        await conn.execute_fetchall(sql, params)

    async def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        found = await conn._execute(Sqlite3().rows, conn._conn, sql, params)
        return list(found)
