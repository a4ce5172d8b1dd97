"""The events that a relay gives to your own code."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import Misuse
from .outcomes import clean, comes_through, milliseconds, outcome_of

if TYPE_CHECKING:
    from ._deliveries import Deliveries

__all__ = ["Batch", "BatchEvent"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The members of what the raw module makes of an event.
_ID, _TOPIC, _KEY, _TYPE, _HEADERS = range(5)
_PAYLOAD, _ORDER, _CREATED, _ATTEMPTS, _DUPLICATE = range(5, 10)
# An event that failed n times shares a batch with 8^n times fewer others, so
# that whoever fails them all together fails soon only the one at fault.
_SHIFT = 3
# For so many seconds at most what went well is settled together.
_TOGETHER = 0.02


class Taken:
    """What one call took of the core; its batches share it."""

    __slots__ = ("deliveries", "failed", "keyed", "raw", "rows", "size")

    def __init__(self, deliveries: Deliveries, raw: Any, keyed: bool) -> None:
        self.deliveries = deliveries
        self.raw = raw
        self.keyed = keyed
        self.size: int = _core.batch_size(raw)
        self.rows: list[tuple[Any, ...]] | None = None
        self.failed: set[str] = set()  # keys whose later events must wait

    def batches(self, most: int) -> list[Batch]:
        """It in one, or in several where events have failed before."""
        if _core.batch_attempts(self.raw) == 0:
            return [Batch(self, range(self.size))]
        found, first, room = [], 0, most
        for i, row in enumerate(self.load()):
            allowed = max(1, most >> min(_SHIFT * row[_ATTEMPTS], 63))
            if i > first and i - first >= min(room, allowed):
                found.append(Batch(self, range(first, i)))
                first, room = i, allowed
            room = min(room, allowed)
        return [*found, Batch(self, range(first, self.size))]

    def load(self) -> list[tuple[Any, ...]]:
        if self.rows is None:
            if self.raw is None:
                raise Misuse("this batch is over: look at its events before")
            self.rows = _core.batch_events(self.raw)
        return self.rows

    def settle(self, first: int, n: int, outcome: int, ms: int, reason: str) -> int:
        if self.raw is None:
            return 0
        counted = _core.batch_settle(self.raw, first, n, outcome, ms, reason)
        if counted == 0:
            self.deliveries.same_process()
        return counted

    def part(self, indexes: Sequence[int]) -> Batch:
        """These of its events; those behind a failed one of their key go back."""
        if not self.failed:
            return Batch(self, indexes)
        rows, kept = self.load(), []
        for i in indexes:
            if rows[i][_KEY] in self.failed:
                reason = "behind an event of its key that failed"
                self.settle(i, 1, _core.OUTCOME_UNKNOWN, 0, reason)
            else:
                kept.append(i)
        return Batch(self, kept)

    def lost(self) -> bool:
        return self.raw is None or _core.batch_lost(self.raw)

    def close(self) -> None:
        """What is not settled is given back."""
        raw, self.raw = self.raw, None
        if raw is not None:
            _core.batch_close(raw)


class Delivered:
    """Events that went well, settled together: each by itself would wake the
    relay, which costs more than a quick handler does. It writes its cursor no
    more often."""

    __slots__ = ("_end", "_first", "_since", "_taken")

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._first = self._end = -1
        self._since = 0.0

    def add(self, event: BatchEvent) -> None:
        if event.settled:
            return
        event._done = True
        index = event._index
        if index != self._end:
            self.settle()
            self._first = index
        self._end = index + 1
        now = time.monotonic()
        if now - self._since > _TOGETHER:
            self.settle()
            self._since = now

    def settle(self) -> None:
        first, n = self._first, self._end - self._first
        self._first = self._end = -1
        if n > 0:
            self._taken.settle(first, n, _core.OUTCOME_OK, 0, "")


class BatchEvent:
    """One event to deliver.

    As a context manager it is settled by what happens in the block:

        for event in batch:
            with event:
                deliver(event.payload)

    Settling returns whether it counted: not if it was settled before, nor if
    the lease or the relay is gone, for then it will be delivered again.
    """

    __slots__ = ("_batch", "_done", "_index", "_row")

    def __init__(self, batch: Batch, index: int, row: tuple[Any, ...]) -> None:
        self._batch = batch
        self._index = index
        self._row = row
        self._done = False

    def __repr__(self) -> str:
        key = "" if self.key is None else f" key={self.key!r}"
        return f"<outtray.BatchEvent {self.topic!r}{key} id={self.id}>"

    @property
    def topic(self) -> str:
        """Where it was enqueued to."""
        return str(self._row[_TOPIC])

    @property
    def key(self) -> str | None:
        """Events of one key are delivered in order; None: it has none."""
        key: str | None = self._row[_KEY]
        return key

    @property
    def type(self) -> str | None:
        """What happened, if it was told."""
        type: str | None = self._row[_TYPE]
        return type

    @property
    def payload(self) -> bytes | None:
        """As it was enqueued; None: a tombstone."""
        payload: bytes | None = self._row[_PAYLOAD]
        return payload

    def json(self) -> Any:
        """The payload, which is JSON."""
        payload = self._row[_PAYLOAD]
        return None if payload is None else json.loads(payload)

    @property
    def headers(self) -> dict[str, str]:
        """Those it was enqueued with; a new dictionary at each look."""
        text = self._row[_HEADERS]
        headers: dict[str, str] = json.loads(text) if text else {}
        return headers

    @property
    def id(self) -> str:
        """The event id, which is the same at each delivery."""
        return str(self._row[_ID])

    @property
    def seq(self) -> int:
        """Its place in the log."""
        return int(self._row[_ORDER].rpartition(".")[2])

    @property
    def order(self) -> str:
        """``fence.seq``: grows per key; by it a consumer drops what is late."""
        return str(self._row[_ORDER])

    @property
    def created_at(self) -> datetime:
        """By the clock of the database."""
        return _EPOCH + timedelta(microseconds=self._row[_CREATED])

    @property
    def attempts(self) -> int:
        """Failed tries before this one."""
        return int(self._row[_ATTEMPTS])

    @property
    def maybe_duplicate(self) -> bool:
        """May an earlier try have succeeded?"""
        return bool(self._row[_DUPLICATE])

    @property
    def settled(self) -> bool:
        """Was it said what became of it?"""
        return self._done or self._batch._settled

    def ok(self) -> bool:
        """It is delivered."""
        return self._settle(_core.OUTCOME_OK, 0, "")

    def retry(self, reason: str = "", *, after: float | None = None) -> bool:
        """Again, not before ``after`` seconds; None: after the relay's own
        pause, which grows. The try is counted."""
        return self._settle(_core.OUTCOME_RETRY, milliseconds(after), reason)

    def reject(self, reason: str = "") -> bool:
        """Never again: it becomes a dead event."""
        return self._settle(_core.OUTCOME_REJECTED, 0, reason)

    def give_back(self, reason: str = "") -> bool:
        """Again soon, as if it had not been taken; no try is counted."""
        return self._settle(_core.OUTCOME_UNKNOWN, 0, reason)

    def fail(self, error: BaseException) -> bool:
        """As if the code for it had raised this (see ``outtray.outcomes``)."""
        return self._settle(*outcome_of(error))

    def _settle(self, outcome: int, ms: int, reason: str) -> bool:
        batch = self._batch
        if self._done or batch._settled:
            return False
        taken = batch._taken
        text = clean(reason) if reason else ""
        counted = taken.settle(self._index, 1, outcome, ms, text)
        self._done = True
        if outcome != _core.OUTCOME_OK and taken.keyed and self._row[_KEY] is not None:
            taken.failed.add(self._row[_KEY])
        return counted == 1

    def __enter__(self) -> BatchEvent:
        return self

    def __exit__(
        self,
        kind: builtins.type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            self.ok()
            return False
        return self._failed(error)

    def _failed(self, error: BaseException) -> bool:
        """Is this only an outcome?"""
        self.fail(error)
        if comes_through(error):
            return False
        self._batch._taken.deliveries.report(error, self)
        return True


class Batch:
    """Some events of a relay, in their order.

    Iterating gives those that are to be delivered: not what is settled, nor what
    follows a failed event of its key, which is given back by itself; and nothing
    more once the relay is asked to stop or has lost its lease. ``events`` has
    them all.

    What the body of the loop over ``relay.batches()`` leaves unsettled is ok; if
    it left a loop over the events before its end, only those before the last one
    are, and the others are given back. As a context manager a batch is settled
    by what happens in the block, and the loop over batches goes on.
    """

    __slots__ = ("_at", "_events", "_indexes", "_settled", "_taken")

    def __init__(self, taken: Taken, indexes: Sequence[int]) -> None:
        self._taken = taken
        self._indexes = indexes
        self._settled = False
        self._at = len(indexes)  # of a loop over it that was not finished
        self._events: list[BatchEvent] | None = None

    def __repr__(self) -> str:
        return f"<outtray.Batch of {len(self)}, {self.unsettled} not settled>"

    def __len__(self) -> int:
        return len(self._indexes)

    @property
    def events(self) -> list[BatchEvent]:
        """All of them, the settled ones as well."""
        if self._events is None:
            rows = self._taken.load()
            self._events = [BatchEvent(self, i, rows[i]) for i in self._indexes]
        return self._events

    def __getitem__(self, index: int) -> BatchEvent:
        return self.events[index]

    def __iter__(self) -> Iterator[BatchEvent]:
        taken = self._taken
        for at, event in enumerate(self.events):
            if event._done or self._settled:
                continue
            if taken.failed and event._row[_KEY] in taken.failed:
                event.give_back("behind an event of its key that failed")
            elif taken.deliveries.stopping:
                self.give_back("the relay is stopping")
            elif taken.lost():
                break
            else:
                self._at = at
                yield event
        self._at = len(self)

    def _finish(self) -> None:
        """The code for it has ended well."""
        for event in self.events[: self._at] if self._at < len(self) else ():
            event.ok()
        if self._at < len(self):
            self.give_back("the loop over the batch was left before it")
        else:
            self.ok()

    @property
    def unsettled(self) -> int:
        """How many are not settled."""
        if self._settled:
            return 0
        if self._events is None:
            return len(self)
        return sum(not event._done for event in self._events)

    @property
    def lost(self) -> bool:
        """Is it of no use to go on, because the lease or the relay is gone? They
        will be delivered again."""
        return self._taken.lost()

    def ok(self) -> int:
        """All that are not settled are delivered. As the others below it returns
        for how many this counted."""
        return self._settle(_core.OUTCOME_OK, 0, "")

    def retry(self, reason: str = "", *, after: float | None = None) -> int:
        """All that are not settled: again, not before ``after`` seconds."""
        return self._settle(_core.OUTCOME_RETRY, milliseconds(after), reason)

    def reject(self, reason: str = "") -> int:
        """All that are not settled: never again."""
        return self._settle(_core.OUTCOME_REJECTED, 0, reason)

    def give_back(self, reason: str = "") -> int:
        """All that are not settled: again soon; no try is counted."""
        return self._settle(_core.OUTCOME_UNKNOWN, 0, reason)

    def fail(self, error: BaseException) -> int:
        """All that are not settled: as if the code for them had raised this."""
        return self._settle(*outcome_of(error))

    def _settle(self, outcome: int, ms: int, reason: str) -> int:
        if self._settled:
            return 0
        taken, indexes, text = self._taken, self._indexes, clean(reason)
        if isinstance(indexes, range):
            counted = taken.settle(indexes.start, len(indexes), outcome, ms, text)
        else:
            counted = sum(taken.settle(i, 1, outcome, ms, text) for i in indexes)
        if outcome != _core.OUTCOME_OK and taken.keyed and len(self) < taken.size:
            keys = (e._row[_KEY] for e in self.events if not e._done)
            taken.failed.update(key for key in keys if key is not None)
        self._settled = True
        return counted

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: builtins.type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            self._finish()
            return False
        self.fail(error)
        if comes_through(error):
            return False
        self._taken.deliveries.report(error, self)
        return True
