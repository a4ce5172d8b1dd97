"""Reading on a connection of the test, or on one of its own by a URL."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import threading
from typing import Any, Protocol
from urllib.parse import unquote

from . import _core
from .adapters import Adapter, AsyncAdapter, find_any
from .errors import Unsupported


class Source(Protocol):
    """Where rows come from."""

    awaited: bool
    dialect: int

    def rows(self, sql: str) -> list[Any]: ...

    async def arows(self, sql: str) -> list[Any]: ...

    def run(self, statements: list[str]) -> None: ...


def source_of(connection: Any) -> Source:
    """For a connection, a session or a URL."""
    if isinstance(connection, str):
        return _Url(connection)
    adapter, awaited = find_any(connection)
    return _Awaited(connection, adapter) if awaited else _Given(connection, adapter)


class _Given:
    """A connection that is not awaited."""

    awaited = False

    def __init__(self, conn: Any, adapter: Adapter) -> None:
        self._conn = conn
        self._adapter = adapter
        idle = _is_idle(conn)
        self.dialect = adapter.begin(conn, False)[1]
        if idle:
            conn.rollback()

    def rows(self, sql: str) -> list[Any]:
        idle = _is_idle(self._conn)
        try:
            *_, real = self._adapter.begin(self._conn, False)
            return self._adapter.rows(real, sql, ())
        finally:
            if idle:
                self._conn.rollback()

    async def arows(self, sql: str) -> list[Any]:
        return self.rows(sql)

    def run(self, statements: list[str]) -> None:
        *_, real = self._adapter.begin(self._conn, False)
        # A % in them is one for drivers that are given no parameters.
        none: Any = None if self.dialect == _core.POSTGRESQL else ()
        for statement in statements:
            self._adapter.execute(real, statement, none)


def _is_idle(conn: Any) -> bool:
    """Would reading begin a transaction that was not open?"""
    in_transaction = getattr(conn, "in_transaction", None)
    if callable(in_transaction):  # SQLAlchemy
        return not in_transaction()
    info = getattr(conn, "info", None)
    status = getattr(info, "transaction_status", None)
    return status is not None and int(status) == 0 and not conn.autocommit


class _Awaited:
    """A connection that is awaited."""

    awaited = True

    def __init__(self, conn: Any, adapter: AsyncAdapter) -> None:
        self._conn = conn
        self._adapter = adapter
        bind = getattr(conn, "bind", None) or conn
        name = getattr(getattr(bind, "dialect", None), "name", None)
        sqlite = name == "sqlite" or type(conn).__module__.startswith("aiosqlite")
        self.dialect = _core.SQLITE if sqlite else _core.POSTGRESQL

    def rows(self, sql: str) -> list[Any]:
        raise AssertionError("awaited")

    async def arows(self, sql: str) -> list[Any]:
        idle = _is_idle(self._conn)
        try:
            *_, real = await self._adapter.begin(self._conn, False)
            return await self._adapter.rows(real, sql, ())
        finally:
            if idle:
                await self._conn.rollback()

    def run(self, statements: list[str]) -> None:
        raise AssertionError("awaited")


class _Url:
    """A connection of its own for each look, with whatever driver is there."""

    awaited = False

    def __init__(self, url: str) -> None:
        full, _, rest = url.partition(":")
        scheme, driver, _ = full.partition("+")
        if scheme == "sqlite":
            self.dialect = _core.SQLITE
            # With a driver it is SQLAlchemy's, where /// comes before a
            # relative path.
            slashes = "///" if driver else "//"
            self._where = unquote(rest.removeprefix(slashes).partition("?")[0])
        elif scheme in ("postgresql", "postgres"):
            self.dialect = _core.POSTGRESQL
            self._where = f"{scheme}:{rest}"
        else:
            raise Unsupported(
                f"{scheme}: an outbox lives in postgresql://… or sqlite:FILE"
            )

    def rows(self, sql: str) -> list[Any]:
        return self._do([sql])

    async def arows(self, sql: str) -> list[Any]:
        return self.rows(sql)

    def run(self, statements: list[str]) -> None:
        self._do(statements)

    def _do(self, statements: list[str]) -> list[Any]:
        if self.dialect == _core.SQLITE:
            return self._sqlite(statements)
        for driver in ("psycopg", "psycopg2"):
            try:
                module = importlib.import_module(driver)
            except ImportError:
                continue
            conn = module.connect(self._where)
            try:
                with conn, conn.cursor() as cursor:
                    for statement in statements:
                        cursor.execute(statement)
                    return list(cursor.fetchall()) if cursor.description else []
            finally:
                conn.close()
        return self._asyncpg(statements)

    def _sqlite(self, statements: list[str]) -> list[Any]:
        conn = sqlite3.connect(self._where, isolation_level=None, timeout=10)
        try:
            if len(statements) > 1:
                conn.execute("PRAGMA journal_mode = WAL")
                conn.execute("BEGIN IMMEDIATE")
            for statement in statements:
                rows = conn.execute(statement).fetchall()
            if conn.in_transaction:
                conn.execute("COMMIT")
            return rows
        finally:
            conn.close()

    def _asyncpg(self, statements: list[str]) -> list[Any]:
        """In a thread: this one may have a loop that runs."""
        try:
            import asyncpg
        except ImportError:
            raise Unsupported(
                "to read from PostgreSQL install psycopg, psycopg2 or asyncpg"
            ) from None
        result: list[Any] = []

        async def read() -> list[Any]:
            conn = await asyncpg.connect(self._where)
            try:
                for statement in statements[:-1]:
                    await conn.execute(statement)
                if statements[-1].startswith("SELECT"):
                    return list(await conn.fetch(statements[-1]))
                await conn.execute(statements[-1])
                return []
            finally:
                await conn.close()

        def thread() -> None:
            try:
                result.append(asyncio.run(read()))
            except BaseException as error:
                result.append(error)

        one = threading.Thread(target=thread)
        one.start()
        one.join()
        if isinstance(result[0], BaseException):
            raise result[0]
        return list(result[0])
