"""How each driver executes a statement, and how it tells that a transaction is
open. No driver is imported here: whoever passes its connection has it loaded.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from ..errors import UnsupportedConnection


class Adapter(Protocol):
    """What is known of a driver."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        """The style and dialect of the statement, and the connection to
        execute it on; NotInTransaction if ``required`` and none is open."""

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        """Execute it."""

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        """Execute it; its rows, all of them."""

    def copies(self, conn: Any) -> bool:
        """Can it do a COPY now?"""

    def copy(self, conn: Any, sql: str, data: bytes) -> None:
        """Execute a COPY FROM STDIN."""


class AsyncAdapter(Protocol):
    """The same of an asynchronous driver."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]: ...

    async def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None: ...

    async def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]: ...

    def copies(self, conn: Any) -> bool: ...

    async def copy(self, conn: Any, sql: str, data: bytes) -> None: ...


class NoCopy:
    """Of drivers that have no COPY."""

    def copies(self, conn: Any) -> bool:
        return False

    def copy(self, conn: Any, sql: str, data: bytes) -> Any:
        raise NotImplementedError


# module.class of a connection: (module here, class there)
_SYNC = {
    "sqlite3.Connection": ("sqlite3", "Sqlite3"),
    "psycopg.Connection": ("psycopg", "Psycopg"),
    "psycopg2.extensions.connection": ("psycopg2", "Psycopg2"),
    "sqlalchemy.engine.base.Connection": ("sqlalchemy", "AlchemyConnection"),
    "sqlalchemy.orm.session.Session": ("sqlalchemy", "AlchemySession"),
    "sqlalchemy.orm.scoping.scoped_session": ("sqlalchemy", "AlchemySession"),
    "django.db.backends.base.base.BaseDatabaseWrapper": ("django", "Django"),
    "django.utils.connection.ConnectionProxy": ("django", "Django"),
}
_ASYNC = {
    "psycopg.AsyncConnection": ("psycopg", "AsyncPsycopg"),
    "asyncpg.connection.Connection": ("asyncpg", "Asyncpg"),
    "asyncpg.pool.PoolConnectionProxy": ("asyncpg", "Asyncpg"),
    "aiosqlite.core.Connection": ("aiosqlite", "Aiosqlite"),
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": (
        "sqlalchemy",
        "AsyncAlchemyConnection",
    ),
    "sqlalchemy.ext.asyncio.session.AsyncSession": (
        "sqlalchemy",
        "AsyncAlchemySession",
    ),
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": (
        "sqlalchemy",
        "AsyncAlchemySession",
    ),
}

_known_sync: dict[type, Adapter] = {}
_known_async: dict[type, AsyncAdapter] = {}


def find_sync(conn: Any) -> Adapter:
    """The adapter of a connection for enqueue.

    Raises:
        outtray.UnsupportedConnection: says what to pass, or what to call.
    """
    kind = type(conn)
    try:
        return _known_sync[kind]
    except KeyError:
        found: Adapter | None = _load(kind, _SYNC)
        if found is None:
            raise _unsupported(kind, _ASYNC, "await outbox.aenqueue(…)") from None
        _known_sync[kind] = found
        return found


def find_async(conn: Any) -> AsyncAdapter:
    """The adapter of a connection for aenqueue."""
    kind = type(conn)
    try:
        return _known_async[kind]
    except KeyError:
        found: AsyncAdapter | None = _load(kind, _ASYNC)
        if found is None:
            raise _unsupported(kind, _SYNC, "outbox.enqueue(…)") from None
        _known_async[kind] = found
        return found


def find_any(conn: Any) -> tuple[Any, bool]:
    """The adapter of a connection of either kind, and whether it is awaited."""
    if _entry(type(conn), _ASYNC) is not None:
        return find_async(conn), True
    return find_sync(conn), False


def _entry(kind: type, table: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
    for base in kind.__mro__:
        found = table.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
    return None


def _load(kind: type, table: dict[str, tuple[str, str]]) -> Any:
    found = _entry(kind, table)
    if found is None:
        return None
    module, name = found
    return getattr(importlib.import_module(f".{module}", __name__), name)()


def _unsupported(
    kind: type, other: dict[str, tuple[str, str]], call: str
) -> UnsupportedConnection:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if _entry(kind, other) is not None:
        return UnsupportedConnection(f"for a {name} call {call}")
    what = "the connection or session that has your transaction"
    for word in ("Pool", "Engine", "Cursor", "cursor", "sessionmaker"):
        if word in kind.__qualname__:
            return UnsupportedConnection(f"a {name} is not a connection: pass {what}")
    return UnsupportedConnection(
        f"{name} is no connection that outtray knows: pass first {what}, of "
        "sqlite3, aiosqlite, psycopg, psycopg2, asyncpg, SQLAlchemy or Django"
    )
