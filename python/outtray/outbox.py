"""Writing events, on the caller's own connection."""

from __future__ import annotations

import importlib
import json
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from . import _core, _native
from ._trace import traced
from .adapters import Adapter, AsyncAdapter, find_async, find_sync
from .errors import InvalidEvent, InvalidText, NotSerializable

#: Makes bytes or text of a payload that is neither.
Serializer = Callable[[Any], "bytes | str"]

# The members of an event as the core takes them.
_Raw = tuple[
    str, "str | None", "str | None", "str | None", Any, "str | None", "int | None"
]
_Statement = tuple[str, tuple[Any, ...], tuple[str, ...]]

_ALCHEMY = f"{__package__}.sqlalchemy"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
# Of one statement: below the limits of the databases.
_MOST_EVENTS = 4000
_MOST_BYTES = 64 << 20


def json_serializer(payload: Any) -> str:
    """Compact JSON; what has no JSON is an error, NaN too."""
    return json.dumps(
        payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One event, for ``Outbox.enqueue_many``; as the arguments of ``enqueue``."""

    topic: str
    payload: Any = None
    key: str | None = None
    type: str | None = None
    headers: Mapping[str, str] | None = None
    deliver_at: datetime | None = None
    id: str | uuid.UUID | None = None


class Outbox:
    """Writes events into the outbox, inside the caller's own transaction.

    An ``Outbox`` holds no connection and does no I/O of its own; one instance
    per process is enough, and it may be used from any thread or task.

    Args:
        name: PostgreSQL schema (or SQLite table prefix) of the outbox.
        serializer: makes bytes or text of a payload that is neither.
        strict: order events of a key also where nobody locks the row that the
            key stands for (``relay.ordering = strict``).
        require_transaction: refuse a connection that would commit on its own.
        max_payload_bytes: refuse larger payloads; keep it below the smallest
            limit of the sinks, or the event would be stuck later.
        max_headers_bytes: the same for all headers of an event.
        trace: add ``traceparent`` and ``tracestate`` of the span that is active
            in OpenTelemetry, if there is one, to the headers of an event that
            has none.

    Raises:
        outtray.Misuse: ``name`` is no plain identifier.
    """

    def __init__(
        self,
        name: str = "outtray",
        *,
        serializer: Serializer = json_serializer,
        strict: bool = False,
        require_transaction: bool = True,
        max_payload_bytes: int = 0,
        max_headers_bytes: int = 0,
        trace: bool = True,
    ) -> None:
        self.name = name
        self.serializer = serializer
        self.strict = strict
        self.require_transaction = require_transaction
        self.trace = trace
        self._limits = max_payload_bytes, max_headers_bytes
        # One for each way in which a driver wants its statement.
        self._options: dict[tuple[int, int], Any] = {}
        # add() listens to sessions, and must before one is in its commit.
        if "sqlalchemy.orm" in sys.modules:
            importlib.import_module(_ALCHEMY)
        # A name that cannot be is told here, not at the first event.
        self._build(
            _core.QMARK, _core.SQLITE, (("topic", None, None, None, None, None, None),)
        )

    def __repr__(self) -> str:
        return f"<outtray.Outbox {self.name!r}>"

    def enqueue(
        self,
        conn: Any,
        topic: str,
        payload: Any = None,
        *,
        key: str | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
        deliver_at: datetime | None = None,
        id: str | uuid.UUID | None = None,
    ) -> str:
        """Add one event to the transaction that is open on ``conn``.

        Args:
            conn: a connection of sqlite3, psycopg or psycopg2, a SQLAlchemy
                Connection or Session, or a connection of Django.
            topic: where it goes.
            payload: bytes as they are, text as UTF-8, anything else through
                the serializer; None is a tombstone.
            key: events of one key are delivered in order.
            type: what happened, e.g. ``"OrderCreated"``.
            headers: names and values, text both.
            deliver_at: not before; with a time zone.
            id: a UUID of your own, by which consumers deduplicate; default:
                a new UUIDv7.

        Returns:
            The event id (text), which consumers deduplicate on.

        Raises:
            outtray.NotInTransaction: ``conn`` would commit on its own, and the
                event would not be atomic with your data.
            outtray.EventError: the event cannot be written as it is (too
                large, not serializable, …). Nothing was written, and the
                transaction is still usable.
        """
        adapter = find_sync(conn)
        style, dialect, real = adapter.begin(conn, self.require_transaction)
        raw = self._raw(topic, payload, key, type, headers, deliver_at, id)
        sql, params, ids = self._build(style, dialect, (raw,))
        adapter.execute(real, sql, params)
        return ids[0]

    def enqueue_many(self, conn: Any, events: Iterable[Event]) -> list[str]:
        """Add many events with few statements; all of them, or on an error
        that the events are the cause of, none. Returns their ids."""
        adapter: Adapter = find_sync(conn)
        style, dialect, real = adapter.begin(conn, self.require_transaction)
        ids: list[str] = []
        for sql, params, some in self._build_many(style, dialect, events):
            adapter.execute(real, sql, params)
            ids += some
        return ids

    async def aenqueue(
        self,
        conn: Any,
        topic: str,
        payload: Any = None,
        *,
        key: str | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
        deliver_at: datetime | None = None,
        id: str | uuid.UUID | None = None,
    ) -> str:
        """``enqueue`` for an asynchronous ``conn``: of psycopg, asyncpg or
        aiosqlite, or a SQLAlchemy AsyncConnection or AsyncSession."""
        adapter = find_async(conn)
        raw = self._raw(topic, payload, key, type, headers, deliver_at, id)
        style, dialect, real = await adapter.begin(conn, self.require_transaction)
        sql, params, ids = self._build(style, dialect, (raw,))
        await adapter.execute(real, sql, params)
        return ids[0]

    async def aenqueue_many(self, conn: Any, events: Iterable[Event]) -> list[str]:
        """``enqueue_many`` for an asynchronous ``conn``."""
        adapter: AsyncAdapter = find_async(conn)
        style, dialect, real = await adapter.begin(conn, self.require_transaction)
        ids: list[str] = []
        for sql, params, some in self._build_many(style, dialect, events):
            await adapter.execute(real, sql, params)
            ids += some
        return ids

    def add(
        self,
        session: Any,
        topic: str,
        payload: Any = None,
        *,
        key: str | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
        deliver_at: datetime | None = None,
        id: str | uuid.UUID | None = None,
    ) -> str:
        """Remember an event with a SQLAlchemy Session or AsyncSession, which
        writes it when it commits and forgets it when it rolls back, with its
        savepoint too. Does no I/O, so it is the same for both. Returns the id.
        """
        fresh = _ALCHEMY not in sys.modules
        from .sqlalchemy import remember

        # Checked here, where whoever made the mistake can be told.
        raw = self._raw(topic, payload, key, type, headers, deliver_at, id)
        _, _, ids = self._build(_core.QMARK, _core.SQLITE, (raw,))
        remember(self, session, (*raw[:5], ids[0], raw[6]), fresh)
        return ids[0]

    # --- from Python's values to a statement ---

    def _raw(
        self,
        topic: str,
        payload: Any,
        key: str | None,
        type: str | None,
        headers: Mapping[str, str] | None,
        deliver_at: datetime | None,
        id: str | uuid.UUID | None,
    ) -> _Raw:
        if not (
            payload is None or isinstance(payload, (bytes, str, bytearray, memoryview))
        ):
            payload = self._serialize(topic, payload)
        if self.trace:
            headers = traced(headers)
        return (
            topic,
            key,
            type,
            _headers_text(headers) if headers else None,
            payload,
            str(id) if id is not None else None,
            _microseconds(deliver_at) if deliver_at is not None else None,
        )

    def _serialize(self, topic: str, payload: Any) -> bytes | str:
        try:
            made = self.serializer(payload)
        except Exception as error:  # whatever a serializer of others raises
            why = str(error) or error.__class__.__name__
            raise NotSerializable(
                f"payload for {topic!r}: {why}: give Outbox a serializer that "
                "takes it, or pass bytes"
            ) from error
        if not isinstance(made, (bytes, str)):
            raise NotSerializable(
                f"payload for {topic!r}: the serializer returned "
                f"{made.__class__.__name__}, not bytes or str"
            )
        return made

    def _build(self, style: int, dialect: int, raw: tuple[_Raw, ...]) -> _Statement:
        try:
            options = self._options[style, dialect]
        except KeyError:
            made = _core.enqueue_options(
                self.name, style, dialect, self.strict, *self._limits
            )
            # The object of C itself: a call through its shadow costs more.
            options = self._options[style, dialect] = made, made.this
        try:
            statement: _Statement = _native.enqueue_build(options[1], raw)
        except UnicodeEncodeError as error:
            raise InvalidText(f"the event has text that is not UTF-8: {error}") from (
                error
            )
        except (TypeError, BufferError) as error:
            raise InvalidEvent(str(error)) from error
        return statement

    def _build_many(
        self, style: int, dialect: int, events: Iterable[Event]
    ) -> list[_Statement]:
        # All are built before the first is executed: what is wrong with one
        # is told while nothing is written yet.
        statements = []
        some: list[_Raw] = []
        size = 0
        for event in events:
            if not isinstance(event, Event):
                raise InvalidEvent(
                    f"enqueue_many takes outtray.Event, not {event!r:.80}"
                )
            raw = self._raw(
                event.topic,
                event.payload,
                event.key,
                event.type,
                event.headers,
                event.deliver_at,
                event.id,
            )
            n = len(raw[4]) if raw[4] is not None else 0
            if some and (len(some) >= _MOST_EVENTS or size + n > _MOST_BYTES):
                statements.append(self._build(style, dialect, tuple(some)))
                some, size = [], 0
            some.append(raw)
            size += n
        if some:
            statements.append(self._build(style, dialect, tuple(some)))
        return statements


def _headers_text(headers: Mapping[str, str]) -> str:
    if not isinstance(headers, Mapping):
        raise InvalidEvent(f"headers must be a mapping of str to str, not {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidEvent(
                f"header {name!r}: names and values must be str, not {value!r}"
            )
    return json.dumps(dict(headers), separators=(",", ":"))


def _microseconds(moment: datetime) -> int:
    if not isinstance(moment, datetime):
        raise InvalidEvent(f"deliver_at must be a datetime, not {moment!r}")
    if moment.tzinfo is None:
        raise InvalidEvent(
            f"deliver_at {moment} has no time zone: use "
            "datetime.now(timezone.utc) + timedelta(…)"
        )
    return (moment - _EPOCH) // _MICROSECOND
