"""SQLAlchemy: events that a session writes when it commits, and transactions on
SQLite that are ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from ._advice import advise
from .adapters.sqlalchemy import PENDING, bound, check, open_transaction, plain, target
from .errors import UnsupportedConnection

if TYPE_CHECKING:
    from .outbox import Outbox

COMMITTING = "outtray.committing"


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


def remember(outbox: Outbox, session: Any, raw: Any, fresh: bool) -> None:
    """Write the event when the session commits.

    Args:
        fresh: was this module loaded for it? Then the session may be in a
            commit that was not listened to.
    """
    given = session = plain(session)
    if isinstance(session, AsyncSession):
        session = session.sync_session
    if not isinstance(session, Session):
        kind = type(session)
        raise UnsupportedConnection(
            f"outbox.add takes a SQLAlchemy Session or AsyncSession, not a "
            f"{kind.__module__}.{kind.__qualname__}: use outbox.enqueue"
        )
    bound(session)
    whose = open_transaction(session)
    if whose is None:
        whose = session.begin()
    late = session.info.get(COMMITTING) or session._flushing
    if fresh and isinstance(given, Session):
        late = True
    session.info.setdefault(PENDING, []).append((whose, outbox, raw))
    if late:
        write(session, session.connection())


def _before_commit(session: Session) -> None:
    """Before a commit, and before a savepoint is released: from then on the
    database knows what is undone with what."""
    if session.info.get(PENDING):
        write(session, session.connection())
    # What listeners and flushes add from here on is written at once.
    session.info[COMMITTING] = (
        session.get_nested_transaction() or session.get_transaction()
    )


def _after_begin(session: Session, transaction: Any) -> None:
    """Before a savepoint: what was added outside is not undone with it, and
    comes before what is added inside."""
    if transaction.nested and session.info.get(PENDING):
        write(session, transaction.parent.connection(None))


def write(session: Session, conn: Any) -> None:
    """Write what was added so far."""
    pending, session.info[PENDING] = session.info[PENDING], []
    while pending:
        outbox = pending[0][1]
        some: list[Any] = []
        while pending and pending[0][1] is outbox and len(some) < 1000:
            some.append(pending.pop(0)[2])
        check(conn, outbox.require_transaction, "Session")
        sql, params, _ = outbox._build(*target(conn), tuple(some))
        try:
            conn.exec_driver_sql(sql, params).close()
        except Exception as error:
            advise(error, outbox.name)
            raise


def _forget(session: Session, transaction: Any) -> None:
    """What was added in a transaction that ended and was not written."""
    if session.info.get(COMMITTING) is transaction:
        del session.info[COMMITTING]
    pending = session.info.get(PENDING)
    if pending:
        session.info[PENDING] = [one for one in pending if one[0] is not transaction]


event.listen(Session, "before_commit", _before_commit)
event.listen(Session, "after_transaction_create", _after_begin)
event.listen(Session, "after_transaction_end", _forget)
