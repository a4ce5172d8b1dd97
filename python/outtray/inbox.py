"""Consumers that handle an event once, however often it arrives."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from . import _core
from ._advice import advise
from .adapters import find_async, find_sync
from .errors import InvalidEvent
from .outbox import Outbox

_PLACES = {
    _core.DOLLAR: ("$1", "$2"),
    _core.PERCENT: ("%s", "%s"),
    _core.QMARK: ("?", "?"),
}


class Inbox:
    """Remembers in the consumer's own database which events it has handled.

    The row is written in the transaction that is open on ``conn``: what the
    consumer does and the memory of it are committed together, or not at all.

        with conn:
            with inbox.once(conn, "billing", event_id) as first:
                if first:
                    conn.execute("UPDATE …")

    Args:
        name: PostgreSQL schema (or SQLite table prefix) of the outbox whose
            table it is, made by ``outtray init``.
        require_transaction: refuse a connection that would commit on its own.
    """

    def __init__(
        self, name: str = "outtray", *, require_transaction: bool = True
    ) -> None:
        Outbox(name)  # refuses what is no name
        self.name = name
        self.require_transaction = require_transaction
        self._sql: dict[tuple[int, int], str] = {}

    def __repr__(self) -> str:
        return f"<outtray.Inbox {self.name!r}>"

    @contextlib.contextmanager
    def once(
        self, conn: Any, consumer: str, event_id: str | uuid.UUID
    ) -> Iterator[bool]:
        """True for the first time that this consumer handles this event.

        While another transaction handles it, PostgreSQL waits for its end.

        Raises:
            outtray.NotInTransaction: ``conn`` would commit on its own.
        """
        adapter = find_sync(conn)
        style, dialect, real = adapter.begin(conn, self.require_transaction)
        params = consumer, _uuid(event_id)
        sql = self._insert(style, dialect)
        try:
            first = bool(adapter.rows(real, sql, params))
        except Exception as error:
            advise(error, self.name)
            raise
        yield first

    @contextlib.asynccontextmanager
    async def aonce(
        self, conn: Any, consumer: str, event_id: str | uuid.UUID
    ) -> AsyncIterator[bool]:
        """``once`` for a connection that is awaited."""
        adapter = find_async(conn)
        style, dialect, real = await adapter.begin(conn, self.require_transaction)
        params = consumer, _uuid(event_id)
        sql = self._insert(style, dialect)
        try:
            first = bool(await adapter.rows(real, sql, params))
        except Exception as error:
            advise(error, self.name)
            raise
        yield first

    def _insert(self, style: int, dialect: int) -> str:
        sql = self._sql.get((style, dialect))
        if sql is None:
            consumer, event_id = _PLACES[style]
            table = f'"{self.name}_inbox"'
            if dialect == _core.POSTGRESQL:
                table = f'"{self.name}".inbox'
                consumer, event_id = f"{consumer}::text", f"{event_id}::text::uuid"
            sql = self._sql[style, dialect] = (
                f"INSERT INTO {table} (consumer, event_id) "
                f"VALUES ({consumer}, {event_id}) "
                "ON CONFLICT (consumer, event_id) DO NOTHING RETURNING 1"
            )
        return sql


def _uuid(event_id: str | uuid.UUID) -> str:
    try:
        return str(event_id if isinstance(event_id, uuid.UUID) else uuid.UUID(event_id))
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidEvent(f"the id of an event is a UUID, not {event_id!r}") from error
