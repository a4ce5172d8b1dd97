"""asyncpg."""

from __future__ import annotations

import re
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

    def copies(self, conn: Any) -> bool:
        return bool(conn.get_settings().client_encoding == "UTF8")

    async def copy(self, conn: Any, sql: str, data: bytes) -> None:
        # The driver writes the same statement itself.
        found = re.match(r'COPY "(\w+)"\.(\w+) \(([\w, ]+)\) ', sql)
        assert found is not None
        outbox, table, columns = found.groups()
        await conn.copy_to_table(
            table,
            schema_name=outbox,
            columns=columns.split(", "),
            format="binary",
            source=memoryview(data),  # bytes would be the name of a file
        )
