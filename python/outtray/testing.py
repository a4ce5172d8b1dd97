"""For the tests of your own code: what it has enqueued, and a relay that hands
it to a function at once.

    outbox = outtray.testing.EnqueuedEvents(conn)
    create_order(conn, 7)
    outbox.assert_enqueued("orders.created", key="7", payload={"id": 7})
    outbox.deliver(handle)

Events are read from the outbox itself, so what was rolled back is not there.
With pytest it is the fixture ``outtray_outbox``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from . import _core, schema
from ._reading import Source, source_of
from .errors import Misuse
from .handlers import check_ran
from .outbox import Outbox

__all__ = ["EnqueuedEvent", "EnqueuedEvents", "create_outbox"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Deliveries of what deliveries enqueue: more is a handler that feeds itself.
_MOST_ROUNDS = 100


class _Any:
    def __repr__(self) -> str:
        return "…"


ANY: Any = _Any()


@dataclass(frozen=True, slots=True)
class EnqueuedEvent:
    """One event of the outbox."""

    seq: int  #: its place in the log
    id: str  #: the event id
    topic: str
    key: str | None
    type: str | None
    headers: dict[str, str]
    payload: bytes | None  #: as it will be published; None: a tombstone
    created_at: datetime
    deliver_at: datetime | None

    def json(self) -> Any:
        """The payload, which is JSON."""
        return None if self.payload is None else json.loads(self.payload)


class EnqueuedEvents:
    """The events that were enqueued since it was made: committed ones, and
    those of the transaction that is open on its connection.

    Args:
        connection: a connection or session that outtray knows, of either kind,
            or a URL (``sqlite:FILE``, ``postgresql://…``), by which only
            committed events are seen.
        name: of the outbox.
        decode: makes of a payload what ``payload=`` is compared with;
            default: JSON.

    With a connection that is awaited, ``await outbox.aload()`` reads, and the
    methods below tell of what was read then.
    """

    def __init__(
        self,
        connection: Any,
        name: str = "outtray",
        *,
        decode: Callable[[bytes], Any] = json.loads,
    ) -> None:
        Outbox(name)  # refuses what is no name
        self.decode = decode
        self._name = name
        self._source: Source = source_of(connection)
        self._after = 0
        self._delivered: set[int] = set()
        self._loaded: list[EnqueuedEvent] = []
        if self._source.awaited:
            self._after = -1  # the first aload() decides
        else:
            self.clear()

    def __repr__(self) -> str:
        return f"<outtray.testing.EnqueuedEvents of {self._name!r}>"

    # --- what is there ---

    def all(self, topic: str | None = None) -> list[EnqueuedEvent]:
        """The events in their order, of one topic or of all."""
        if not self._source.awaited:
            rows = self._source.rows(self._sql(self._after))
            self._loaded = [_event(row) for row in rows]
        elif self._after < 0:
            raise Misuse("the connection is awaited: call `await outbox.aload()` first")
        return [one for one in self._loaded if topic is None or one.topic == topic]

    async def aload(self) -> list[EnqueuedEvent]:
        """``all`` for a connection that is awaited. The first call only notes
        where the log ends now: make it before the code under test runs."""
        if self._after < 0:
            rows = await self._source.arows(self._last_sql())
            self._after = rows[0][0] or 0
            return []
        rows = await self._source.arows(self._sql(self._after))
        self._loaded = [_event(row) for row in rows]
        return self._loaded

    def __iter__(self) -> Iterator[EnqueuedEvent]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def clear(self) -> None:
        """Forget what was enqueued until now; the rows stay."""
        if self._source.awaited:
            self._after = max([self._after, *(one.seq for one in self._loaded)])
            self._loaded = []
        else:
            self._after = self._source.rows(self._last_sql())[0][0] or 0

    # --- assertions ---

    def assert_enqueued(
        self,
        topic: Any = ANY,
        *,
        key: Any = ANY,
        payload: Any = ANY,
        type: Any = ANY,
        headers: Any = ANY,
        id: Any = ANY,
        count: int | None = None,
    ) -> EnqueuedEvent:
        """There is such an event, or ``count`` of them; returns the first.

        Args:
            payload: bytes as they are, text as its UTF-8, None for a
                tombstone, a function that is given what decode makes of it and
                says whether it is meant, or what decode makes of it
                (``unittest.mock.ANY`` may stand for parts).
            headers: these are among those of the event.
        """
        __tracebackhide__ = True
        wanted = _Wanted(topic, key, payload, type, headers, id)
        events = self.all()
        found = [one for one in events if not wanted.differs(one, self.decode)]
        if not found or count is not None and len(found) != count:
            how = "is not enqueued"
            if count is not None:
                how = f"is enqueued {len(found)} times, not {count}"
            raise AssertionError(f"{wanted} {how}{self._story(wanted, events)}")
        return found[0]

    def refute_enqueued(
        self,
        topic: Any = ANY,
        *,
        key: Any = ANY,
        payload: Any = ANY,
        type: Any = ANY,
        headers: Any = ANY,
        id: Any = ANY,
    ) -> None:
        """There is no such event."""
        __tracebackhide__ = True
        wanted = _Wanted(topic, key, payload, type, headers, id)
        found = [one for one in self.all() if not wanted.differs(one, self.decode)]
        if found:
            raise AssertionError(f"{wanted} is enqueued: {_line(found[0])}")

    def _story(self, wanted: _Wanted, events: list[EnqueuedEvent]) -> str:
        if not events:
            return "; nothing is"
        lines = []
        for one in events[:20]:
            differs = wanted.differs(one, self.decode)
            note = f"  (another {', '.join(differs)})" if differs else "  (this one)"
            lines.append(f"\n  {_line(one)}{note}")
        if len(events) > 20:
            lines.append(f"\n  and {len(events) - 20} more")
        return "; there is" + "".join(lines)

    # --- a relay in memory ---

    def deliver(
        self,
        handler: Callable[[EnqueuedEvent], Any],
        *,
        now: datetime | None = None,
    ) -> int:
        """Hand every event that was not delivered yet to a function, in their
        order, in this thread; also what it enqueues meanwhile.

        Args:
            handler: is given one event at a time. What it raises comes through,
                and its event counts as not delivered.
            now: events with a later deliver_at wait; default: the time it is.

        Returns:
            How many were delivered.
        """
        delivered = 0
        for _ in range(_MOST_ROUNDS):
            due = self._due(self.all(), now)
            if not due:
                return delivered
            for event in due:
                check_ran(handler(event), handler, "await adeliver for what is async")
                self._delivered.add(event.seq)
                delivered += 1
        raise AssertionError(f"{handler!r} enqueues events for itself without an end")

    async def adeliver(
        self,
        handler: Callable[[EnqueuedEvent], Awaitable[Any]],
        *,
        now: datetime | None = None,
    ) -> int:
        """``deliver`` for a coroutine function, and for a connection that is
        awaited."""
        delivered = 0
        for _ in range(_MOST_ROUNDS):
            due = self._due(
                await self.aload() if self._source.awaited else self.all(), now
            )
            if not due:
                return delivered
            for event in due:
                await handler(event)
                self._delivered.add(event.seq)
                delivered += 1
        raise AssertionError(f"{handler!r} enqueues events for itself without an end")

    def _due(
        self, events: list[EnqueuedEvent], now: datetime | None
    ) -> list[EnqueuedEvent]:
        moment = now or datetime.now(timezone.utc)
        return [
            one
            for one in events
            if one.seq not in self._delivered
            and (one.deliver_at is None or one.deliver_at <= moment)
        ]

    # --- SQL ---

    def _table(self) -> str:
        if self._source.dialect == _core.POSTGRESQL:
            return f'"{self._name}".event'
        return f'"{self._name}_event"'

    def _last_sql(self) -> str:
        return f"SELECT max(seq) FROM {self._table()}"

    def _sql(self, after: int) -> str:
        columns = "seq, id, topic, key, type, headers, payload, created_at, deliver_at"
        if self._source.dialect == _core.POSTGRESQL:
            columns = columns.replace("id", "id::text", 1)
            columns = columns.replace("headers", "headers::text")
        return (
            f"SELECT {columns} FROM {self._table()} WHERE seq > {int(after)} "
            "ORDER BY seq"
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an assertion looks for."""

    topic: Any
    key: Any
    payload: Any
    type: Any
    headers: Any
    id: Any

    def __str__(self) -> str:
        given = {name: getattr(self, name) for name in self.__slots__}
        told = [f"{n}={v!r}" for n, v in given.items() if v is not ANY]
        return f"an event with {', '.join(told)}" if told else "an event"

    def differs(
        self, event: EnqueuedEvent, decode: Callable[[bytes], Any]
    ) -> list[str]:
        """The names of what is different."""
        found = []
        for name in ("topic", "key", "type", "id"):
            wanted = getattr(self, name)
            if wanted is not ANY and wanted != getattr(event, name):
                if name != "id" or str(wanted).lower() != event.id.lower():
                    found.append(name)
        if self.headers is not ANY and not (
            self.headers.items() <= event.headers.items()
        ):
            found.append("headers")
        if self.payload is not ANY and not _same(self.payload, event.payload, decode):
            found.append("payload")
        return found


def _same(wanted: Any, payload: bytes | None, decode: Callable[[bytes], Any]) -> bool:
    if wanted is None or payload is None:
        return wanted is payload
    if isinstance(wanted, (bytes, bytearray, memoryview)):
        return bytes(wanted) == payload
    if isinstance(wanted, str):
        return wanted.encode() == payload
    try:
        decoded = decode(payload)
    except Exception:
        return False
    if callable(wanted):
        return bool(wanted(decoded))
    return bool(wanted == decoded)


def _line(event: EnqueuedEvent) -> str:
    parts = [repr(event.topic)]
    for name in ("key", "type", "headers", "payload"):
        value = getattr(event, name)
        if value:
            text = repr(value)
            parts.append(f"{name}={text if len(text) < 120 else text[:119] + '…'}")
    return " ".join(parts)


def _event(row: Any) -> EnqueuedEvent:
    seq, id, topic, key, type, headers, payload, created_at, deliver_at = row
    if isinstance(payload, str):  # SQLite keeps text as text
        payload = payload.encode()
    return EnqueuedEvent(
        seq,
        _text(id),
        _text(topic),
        _text(key),
        _text(type),
        json.loads(headers) if headers else {},
        None if payload is None else bytes(payload),
        _moment(created_at),
        None if deliver_at is None else _moment(deliver_at),
    )


def _text(value: Any) -> Any:
    # A connection of sqlite3 may have text_factory = bytes.
    return value.decode() if isinstance(value, (bytes, bytearray)) else value


def _moment(value: Any) -> datetime:
    if isinstance(value, int):
        return _EPOCH + timedelta(microseconds=value)
    assert isinstance(value, datetime)
    return value


def create_outbox(connection: Any, name: str = "outtray") -> None:
    """Make an outbox, if there is none, for tests whose database is made anew:
    what ``outtray init`` does, on a connection or session of yours (commit it),
    or on a URL. For a database of SQLite in memory it is the only way.
    """
    Outbox(name)
    source = source_of(connection)
    if source.awaited:
        raise Misuse("create_outbox takes a connection that is not awaited, or a URL")
    sqlite = source.dialect == _core.SQLITE
    dialect = "sqlite" if sqlite else "postgresql"
    exists = (
        f"SELECT count(*) FROM sqlite_master WHERE name = '{name}_meta'"
        if sqlite
        else f"SELECT count(to_regclass('\"{name}\".meta'))"
    )
    if source.rows(exists)[0][0]:
        return
    for number in range(1, schema.version(dialect) + 1):
        source.run(schema.statements(schema.sql(dialect, number, name)))
