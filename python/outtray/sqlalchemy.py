"""SQLAlchemy: events that a session writes when it commits, and transactions on
SQLite that are ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from .adapters.sqlalchemy import check, target
from .errors import UnsupportedConnection

if TYPE_CHECKING:
    from .outbox import Outbox

PENDING = "outtray.pending"


def install(engine: Any) -> None:
    """Let an engine on SQLite begin its transactions with BEGIN IMMEDIATE.

    Without it the driver begins one before the first INSERT only: a savepoint
    that comes earlier commits when it is released, and two writers that read
    first can fail instead of waiting. Call it right after ``create_engine``
    or ``create_async_engine``.
    """
    sync: Any = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if sync.dialect.name != "sqlite":
        raise UnsupportedConnection("outtray.sqlalchemy.install is for SQLite only")
    if getattr(sync.dialect, "outtray_installed", False):
        return
    event.listen(sync, "connect", _leave_transactions_alone)
    event.listen(sync, "begin", _begin_immediate)
    sync.dialect.outtray_installed = True


def _leave_transactions_alone(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _begin_immediate(conn: Any) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE")


# --- Outbox.add ---


def remember(outbox: Outbox, session: Any, raw: Any) -> None:
    """Write the event when the session commits."""
    if isinstance(session, (scoped_session, async_scoped_session)):
        session = session()
    if isinstance(session, AsyncSession):
        session = session.sync_session
    if not isinstance(session, Session):
        kind = type(session)
        raise UnsupportedConnection(
            f"outbox.add takes a SQLAlchemy Session or AsyncSession, not a "
            f"{kind.__module__}.{kind.__qualname__}: use outbox.enqueue"
        )
    if not session.in_transaction():
        session.begin()
    if PENDING not in session.info:
        session.info[PENDING] = []
        event.listen(session, "before_commit", _write)
        event.listen(session, "after_transaction_end", _forget)
    whose = session.get_nested_transaction() or session.get_transaction()
    session.info[PENDING].append((whose, outbox, raw))


def _write(session: Session) -> None:
    """Before a commit, and before a savepoint is released: from then on the
    database knows what is undone with what."""
    pending, session.info[PENDING] = session.info[PENDING], []
    while pending:
        outbox = pending[0][1]
        some: list[Any] = []
        while pending and pending[0][1] is outbox and len(some) < 1000:
            some.append(pending.pop(0)[2])
        conn = session.connection()
        check(conn, outbox.require_transaction, "Session")
        sql, params, _ = outbox._build(*target(conn), tuple(some))
        conn.exec_driver_sql(sql, params).close()


def _forget(session: Session, transaction: Any) -> None:
    """What was added in a transaction that ended and was not written."""
    session.info[PENDING] = [
        one for one in session.info[PENDING] if one[0] is not transaction
    ]
