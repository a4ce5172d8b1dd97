"""Writing events, on the caller's own connection."""

from __future__ import annotations

import importlib
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from . import _core, _native
from ._advice import advise
from ._trace import traced
from .adapters import Adapter, AsyncAdapter, find_async, find_sync
from .errors import EventError, InvalidEvent, InvalidText, Misuse, NotSerializable

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
# From so many on a COPY is worth its second round trip: it saves some 5 us of
# the server for each.
_FEWEST_COPIED = 200
# In the texts of the core: of which event, and which other has its id.
_NUMBER = re.compile(r"((?:^|that of )event )(\d+)")


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
        max_payload_bytes: refuse larger payloads; 0 is 921,600. Keep it below
            the smallest limit of the sinks, or the event would be stuck later.
        max_headers_bytes: the same for all headers of an event; 0 is 32,768.
        trace: add ``traceparent`` and ``tracestate`` of the span that is active
            in OpenTelemetry, if there is one, to the headers of an event that
            has none.

    Raises:
        outtray.Misuse: ``name`` is no plain identifier, or another argument of
            a wrong type.
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
        if not isinstance(name, str):
            raise Misuse(
                f"the name of an outbox is text, not {name!r:.80}: a connection is "
                "given to enqueue"
            )
        if not callable(serializer):
            raise Misuse(f"the serializer is a function, not {serializer!r:.80}")
        if not isinstance(strict, bool):
            raise Misuse(f"strict is True or False, not {strict!r:.80}")
        for limit in (max_payload_bytes, max_headers_bytes):
            if not isinstance(limit, int) or not 0 <= limit < 1 << 63:
                raise Misuse(f"a limit is a number of bytes from 0 on, not {limit!r}")
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

    def __getstate__(self) -> dict[str, Any]:
        """What is copied, or goes to another process: no objects of C."""
        return {**self.__dict__, "_options": {}}

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
        try:
            adapter.execute(real, sql, params)
        except Exception as error:
            advise(error, self.name)
            raise
        return ids[0]

    def enqueue_many(self, conn: Any, events: Iterable[Event]) -> list[str]:
        """Add many events: all of them, or where one cannot be written as it
        is, none. Returns their ids.

        It is one statement for up to 4,000 events and 64 MiB, of one round trip
        (from 200 events on a COPY, of two, where the driver has it). Many times
        faster than one call for each, where each is a round trip: on SQLite,
        which has none, twice.

        Raises:
            outtray.EventError: its text names the event by its index in
                ``events``, from 0. Nothing was written.
        """
        adapter: Adapter = find_sync(conn)
        style, dialect, real = adapter.begin(conn, self.require_transaction)
        copies = self._may_copy(dialect) and adapter.copies(real)
        ids: list[str] = []
        for sql, params, some in self._build_many(style, dialect, events, copies):
            try:
                if sql.startswith("COPY "):
                    adapter.copy(real, sql, params[0])
                else:
                    adapter.execute(real, sql, params)
            except Exception as error:
                advise(error, self.name)
                raise
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
        try:
            await adapter.execute(real, sql, params)
        except Exception as error:
            advise(error, self.name)
            raise
        return ids[0]

    async def aenqueue_many(self, conn: Any, events: Iterable[Event]) -> list[str]:
        """``enqueue_many`` for an asynchronous ``conn``."""
        adapter: AsyncAdapter = find_async(conn)
        style, dialect, real = await adapter.begin(conn, self.require_transaction)
        copies = self._may_copy(dialect) and adapter.copies(real)
        ids: list[str] = []
        for sql, params, some in self._build_many(style, dialect, events, copies):
            try:
                if sql.startswith("COPY "):
                    await adapter.copy(real, sql, params[0])
                else:
                    await adapter.execute(real, sql, params)
            except Exception as error:
                advise(error, self.name)
                raise
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
        payload = raw[4]
        if isinstance(payload, (bytearray, memoryview)):
            payload = bytes(payload)  # as it is now, not when it is written
        remember(self, session, (*raw[:4], payload, ids[0], raw[6]), fresh)
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
        except EventError as error:
            if len(raw) > 1:
                raise
            # There is only one: its index says nothing.
            raise type(error)(str(error).removeprefix("event 0: ")) from None
        return statement

    def _may_copy(self, dialect: int) -> bool:
        return dialect == _core.POSTGRESQL and not self.strict

    def _build_many(
        self, style: int, dialect: int, events: Iterable[Event], copies: bool
    ) -> list[_Statement]:
        # All are built before the first is executed: what is wrong with one
        # is told while nothing is written yet.
        statements = []
        first = 0
        for rows in self._rows(events):
            copied = copies and len(rows) >= _FEWEST_COPIED
            how = _core.COPY if copied else style
            try:
                statements.append(self._build(how, dialect, rows))
            except EventError as error:
                raise self._blame(error, rows, first) from error.__cause__
            first += len(rows)
        return statements

    def _rows(self, events: Iterable[Event]) -> Iterator[tuple[_Raw, ...]]:
        """The events as the core takes them, as many at a time as one
        statement has."""
        some: list[_Raw] = []
        size = 0
        for number, event in enumerate(events):
            if not isinstance(event, Event):
                raise InvalidEvent(
                    f"event {number}: enqueue_many takes outtray.Event, not "
                    f"{event!r:.80}"
                )
            try:
                raw = self._raw(
                    event.topic,
                    event.payload,
                    event.key,
                    event.type,
                    event.headers,
                    event.deliver_at,
                    event.id,
                )
            except EventError as error:
                cause = error.__cause__
                raise type(error)(f"event {number}: {error}") from cause
            n = len(raw[4]) if raw[4] is not None else 0
            if some and (len(some) >= _MOST_EVENTS or size + n > _MOST_BYTES):
                yield tuple(some)
                some, size = [], 0
            some.append(raw)
            size += n
        if some:
            yield tuple(some)

    def _blame(
        self, error: EventError, rows: tuple[_Raw, ...], first: int
    ) -> EventError:
        """The same error, with the index of the event in the whole list."""
        text = str(error)
        if _NUMBER.match(text):
            text = _NUMBER.sub(lambda found: f"{found[1]}{first + int(found[2])}", text)
            return type(error)(text)
        # A value of a wrong type, of which the core has not heard.
        for number, raw in enumerate(rows, first):
            try:
                self._build(_core.QMARK, _core.SQLITE, (raw,))
            except EventError as one:
                return type(one)(f"event {number}: {one}")
        return error


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
    if moment.utcoffset() is None:
        raise InvalidEvent(
            f"deliver_at {moment} has no time zone: use "
            "datetime.now(timezone.utc) + timedelta(…)"
        )
    return (moment - _EPOCH) // _MICROSECOND
