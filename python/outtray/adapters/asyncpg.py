"""asyncpg."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import ConnectionClosed, NotInTransaction
from .psycopg import CLOSED


class Asyncpg:
    """begin and execute."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        if conn.is_closed():
            raise ConnectionClosed(CLOSED)
        # Stays true in a failed transaction: the server refuses then.
        if required and not conn.is_in_transaction():
            raise NotInTransaction(
                "no transaction is open on the asyncpg connection: the event "
                "would not be atomic with your data. Put both into "
                "`async with conn.transaction():`"
            )
        return _core.DOLLAR, _core.POSTGRESQL, conn

    async def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        await conn.execute(sql, *params)

    async def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        return list(await conn.fetch(sql, *params))
