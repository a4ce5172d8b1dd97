"""SQLAlchemy 2: connections and sessions, in both of their ways."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import UnboundExecutionError

from .. import _core
from ..errors import (
    ConnectionClosed,
    NotInTransaction,
    TransactionFailed,
    Unsupported,
    UnsupportedConnection,
)
from . import NoCopy, find_sync
from .psycopg import CLOSED, FAILED

STYLES = {
    "qmark": _core.QMARK,
    "format": _core.PERCENT,
    "pyformat": _core.PERCENT,
    "numeric_dollar": _core.DOLLAR,
}
DIALECTS = {"postgresql": _core.POSTGRESQL, "sqlite": _core.SQLITE}

#: In the info of a Session: what it will write when it commits.
PENDING = "outtray.pending"

#: In the options of an execution: what a COPY sends.
COPIED = "outtray_copied"

AUTOCOMMIT = (
    "the connection under this SQLAlchemy {kind} is in autocommit mode: the "
    "event would not be atomic with your data. Leave out "
    'isolation_level="AUTOCOMMIT" here'
)
NOT_BEGUN = (
    "no transaction has begun on this SQLAlchemy {kind}: the event would not be "
    "atomic with your data. Use `{begin}`, or enqueue after your first write"
)
UNSAFE = (
    "SQLAlchemy begins no transaction on SQLite before a SAVEPOINT, so a "
    "rollback might keep the event. Call outtray.sqlalchemy.install(engine) "
    "after create_engine(…){more}"
)


def target(conn: Any) -> tuple[int, int]:
    """Style and dialect for a Connection."""
    dialect = DIALECTS.get(conn.dialect.name)
    style = STYLES.get(conn.dialect.paramstyle)
    if dialect is None or style is None:
        raise Unsupported(
            f"SQLAlchemy's {conn.dialect.name}+{conn.dialect.driver}: an outbox "
            "lives in PostgreSQL or SQLite, reached through psycopg, psycopg2, "
            "asyncpg, sqlite3 or aiosqlite"
        )
    return style, dialect


def check(conn: Any, required: bool, kind: str) -> None:
    """Raise if an event on this (begun) Connection would not be atomic."""
    raw = conn.connection.dbapi_connection
    if conn.dialect.name == "sqlite":
        check_sqlite(conn, raw, required)
        return
    info = getattr(raw, "info", None)
    status = getattr(info, "transaction_status", None)
    if status is not None and int(status) == 3:
        raise TransactionFailed(FAILED)
    if required and getattr(raw, "autocommit", False):
        raise NotInTransaction(AUTOCOMMIT.format(kind=kind))


async def acheck(conn: Any, required: bool, kind: str) -> None:
    """check for an AsyncConnection. It only looks, and run_sync costs more than
    that; but a connection that was lost is opened again."""
    if conn.sync_connection.invalidated:
        await conn.run_sync(check, required, kind)
    else:
        check(conn.sync_connection, required, kind)


def check_sqlite(conn: Any, raw: Any, required: bool) -> None:
    if not required or getattr(conn.dialect, "outtray_installed", False):
        return
    # Of the driver's own connection: adapted ones hide it.
    driver = conn.connection.driver_connection
    driver = getattr(driver, "_conn", driver)
    try:
        autocommit = getattr(driver, "autocommit", -1)
    except Exception:  # asked on another thread than its own
        autocommit = -1
    if autocommit is not False:
        more = ", or connect with autocommit=False"
        raise NotInTransaction(
            UNSAFE.format(more=more if hasattr(driver, "autocommit") else "")
        )


OVER = (
    "the transaction of this SQLAlchemy {kind} is over, and the event would not be "
    "atomic with it: enqueue before the commit, in before_commit at the latest"
)


UNBOUND = (
    "this SQLAlchemy {kind} has binds for some classes or tables only, and outtray "
    "does not know in which of their databases the outbox is: make it with bind=, "
    "too, or pass that connection to outbox.enqueue, as "
    "session.connection(bind_arguments={{'mapper': Order}})"
)


def bound(session: Any, kind: str = "Session") -> None:
    """Raise if a Session has no connection but those of its classes."""
    if session.bind is None:
        try:
            session.get_bind()
        except UnboundExecutionError as error:
            raise UnsupportedConnection(UNBOUND.format(kind=kind)) from error


def open_transaction(session: Any, kind: str = "Session") -> Any:
    """The innermost transaction that is open on a Session, or None."""
    found = session.get_nested_transaction() or session.get_transaction()
    if found is not None and not found.is_active:
        # After an error of a flush SQLAlchemy tells what it was.
        if getattr(found, "_rollback_exception", None) is not None:
            raise TransactionFailed(FAILED) from found._rollback_exception
        raise NotInTransaction(OVER.format(kind=kind))
    return found


def begun(what: Any, required: bool, kind: str) -> None:
    if required and not what.in_transaction():
        plain_kind = kind.removeprefix("Async")
        begin = f"with {plain_kind.lower()}.begin():"
        begin = begin if plain_kind == kind else f"async {begin}"
        raise NotInTransaction(NOT_BEGUN.format(kind=kind, begin=begin))


def _copy(_cursor: Any, sql: str, context: Any) -> bool:
    """In place of SQLAlchemy, which has no COPY of its own."""
    data = context.execution_options.get(COPIED)
    if data is None:
        return False
    driver = context.root_connection.connection.driver_connection
    find_sync(driver).copy(driver, sql, data)
    return True


class AlchemyConnection:
    """begin and execute."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        if conn.closed:
            raise ConnectionClosed(CLOSED)
        begun(conn, required, "Connection")
        check(conn, required, "Connection")
        return *target(conn), conn

    def execute(self, conn: Any, sql: str, params: tuple[Any, ...] | None) -> None:
        options = {"no_parameters": True} if params is None else None
        conn.exec_driver_sql(sql, params, execution_options=options).close()

    def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        return list(conn.exec_driver_sql(sql, params).all())

    def copies(self, conn: Any) -> bool:
        # Not the connection of an AsyncConnection, which run_sync hands out.
        if conn.dialect.driver not in ("psycopg", "psycopg2") or conn.dialect.is_async:
            return False
        driver = conn.connection.driver_connection
        return find_sync(driver).copies(driver)

    def copy(self, conn: Any, sql: str, data: bytes) -> None:
        # Through SQLAlchemy all the same, which begins the transaction, has its
        # log and its listeners, and makes errors those that its users catch.
        if not event.contains(conn.dialect, "do_execute_no_params", _copy):
            event.listen(conn.dialect, "do_execute_no_params", _copy)
        options = {"no_parameters": True, COPIED: data}
        conn.exec_driver_sql(sql, execution_options=options).close()


def plain(session: Any) -> Any:
    """The session of a scoped_session."""
    return session() if hasattr(session, "registry") else session


def connection_of(session: Any) -> Any:
    """The connection of a Session, on which what was added before is written."""
    conn = session.connection()
    if session.info.get(PENDING):
        from ..sqlalchemy import write

        write(session, conn)
    return conn


class AlchemySession(AlchemyConnection):
    """The connection of a session."""

    def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        session = plain(conn)
        open_transaction(session)
        begun(session, required, "Session")
        bound(session)
        real = connection_of(session)
        check(real, required, "Session")
        return *target(real), real


class AsyncAlchemyConnection(NoCopy):
    """begin and execute."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        if conn.closed:
            raise ConnectionClosed(CLOSED)
        begun(conn, required, "AsyncConnection")
        await acheck(conn, required, "AsyncConnection")
        return *target(conn.sync_connection), conn

    async def execute(self, conn: Any, sql: str, params: tuple[Any, ...]) -> None:
        (await conn.exec_driver_sql(sql, params)).close()

    async def rows(self, conn: Any, sql: str, params: tuple[Any, ...]) -> list[Any]:
        return list((await conn.exec_driver_sql(sql, params)).all())


class AsyncAlchemySession(AsyncAlchemyConnection):
    """The connection of a session."""

    async def begin(self, conn: Any, required: bool) -> tuple[int, int, Any]:
        session = plain(conn)
        open_transaction(session.sync_session, "AsyncSession")
        begun(session, required, "AsyncSession")
        bound(session.sync_session, "AsyncSession")
        real = await session.connection()
        if session.info.get(PENDING):
            await session.run_sync(connection_of)
        await acheck(real, required, "AsyncSession")
        return *target(real.sync_connection), real
