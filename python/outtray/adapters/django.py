"""Connections of Django."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..errors import NotInTransaction, TransactionFailed, Unsupported
from . import find_sync

DIALECTS = {"postgresql": _core.POSTGRESQL, "sqlite": _core.SQLITE}


def _in_transaction(conn: Any) -> bool:
    if not conn.in_atomic_block:
        return not conn.get_autocommit()
    # TestCase puts blocks of its own around a test. They do not count, as they
    # do not for atomic(durable=True): what is a mistake shall be one in tests.
    return not all(
        getattr(block, "_from_testcase", False) for block in conn.atomic_blocks
    )


class Django:
    """begin and execute."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        dialect = DIALECTS.get(conn.vendor)
        if dialect is None:
            raise Unsupported(
                f"the database {conn.alias!r} of Django is {conn.vendor}: an "
                "outbox lives in PostgreSQL or SQLite"
            )
        if conn.needs_rollback:
            raise TransactionFailed(
                "an earlier error has failed this atomic block: leave it before "
                "you enqueue"
            )
        if required and not _in_transaction(conn):
            raise NotInTransaction(
                f"no transaction is open on the database {conn.alias!r}: the "
                "event would not be atomic with your data. Put both into `with "
                "transaction.atomic():`, or set ATOMIC_REQUESTS"
            )
        return _core.PERCENT, dialect, conn

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        with conn.cursor() as cursor:
            cursor.execute(sql, params)

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        with conn.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    def copies(self, conn: Any) -> bool:
        driver = conn.connection  # None: it connects with the first query
        return driver is not None and find_sync(driver).copies(driver)

    def copy(self, conn: Any, sql: str, data: bytes) -> None:
        with conn.wrap_database_errors:
            find_sync(conn.connection).copy(conn.connection, sql, data)
