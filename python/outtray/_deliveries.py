"""A relay whose events the program itself delivers: what ``Relay`` and
``AsyncRelay`` have in common of it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from . import _core
from ._pump import Pump
from .batch import Batch, Taken
from .errors import Forked, OuttrayError, SinkMisconfigured, SinkUnavailable
from .handlers import Handler, Handlers
from .outcomes import Reject, Retry, describe

LEVELS = {
    _core.LOG_DEBUG: logging.DEBUG,
    _core.LOG_INFO: logging.INFO,
    _core.LOG_WARN: logging.WARNING,
    _core.LOG_ERROR: logging.ERROR,
}
DEFAULT_EVENTS = 500
# An error of a handler is told with its traceback once in so many seconds.
_REPORT_AGE = 60.0
_MOST_REPORTS = 1000


def drain_log(handle: Any, log: logging.Logger) -> None:
    while (line := _core.relay_log_next(handle)) is not None:
        level, facility, text = line
        log.log(LEVELS[level], "%s: %s", facility, text)


class Deliveries:
    """The events that a relay gives to the program, and what became of them."""

    def __init__(self, handle: Any, log: logging.Logger, keyed: bool) -> None:
        self.handle = handle
        self.log = log
        self.keyed = keyed
        self.pid = os.getpid()
        self.handlers = Handlers()
        self.pump: Pump | None = None
        self.stopping = False
        self.done = False
        self.handling: set[object] = set()  # threads and tasks that call handlers
        self._loops: weakref.WeakSet[Loop] = weakref.WeakSet()
        self._left: list[Batch] = []  # by loops that ended before their bodies
        self._orphans: set[str] = set()  # topics with no handler
        self._reports: dict[tuple[str, str, int], tuple[float, int]] = {}

    # --- the thread of the relay ---

    def begin(self) -> Pump:
        """Have the relay stepped from now on."""
        if self.pump is None:
            self.pump = Pump(self.handle)
        return self.pump

    def same_process(self) -> None:
        if os.getpid() != self.pid:
            raise Forked(
                "this relay was opened before fork(): open one in the child instead"
            )

    def take(self, limits: tuple[int, int, int]) -> Taken | None:
        self.same_process()
        assert self.pump is not None
        raw = self.pump.take(limits)
        if raw is None:
            self.pump.hear()
            drain_log(self.handle, self.log)
            raw = self.pump.take(limits)
        return None if raw is None else Taken(self, raw, self.keyed)

    def ended(self) -> bool:
        """Has the relay stopped? Raises why, if that is an error."""
        if self.pump is None:
            return self.done
        try:
            self.done = self.pump.ended()
        except BaseException:
            self.done = True
            raise
        finally:
            drain_log(self.handle, self.log)
        return self.done

    def wait_ended(self, seconds: float | None = None) -> None:
        """Wait for the end of a clean stop; its error is another's."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.pump is not None and not self.done:
            self.pump.hear()
            try:
                self.ended()
            except OuttrayError:
                return
            left = None if end is None else end - time.monotonic()
            if not self.done and (left is None or left > 0):
                self.pump.wait(left)
            elif not self.done:
                return

    # --- loops that were left ---

    def loop(self, limits: tuple[int, int, int]) -> Loop:
        loop = Loop(self, limits)
        self._loops.add(loop)
        return loop

    def leave_loops(self, owner: object) -> None:
        """Those of a thread or task that goes on with something else."""
        for loop in list(self._loops):
            if loop.owner == owner:
                loop.leave()

    def leave(self, batch: Batch) -> None:
        """Its loop is over and its body was not: why, who knows of the exception
        says."""
        self._left.append(batch)

    def settle_left(self, error: BaseException | None, reason: str = "") -> None:
        """By the exception that ended the body of the loop. None: nobody knows;
        it may be one that every try raises, so a try is counted."""
        while self._left:
            batch = self._left.pop()
            if error is not None:
                batch.fail(error)
            elif reason:
                batch.give_back(reason)
            else:
                batch.retry("the loop was left before this event was settled")
            batch._taken.close()

    # --- handlers ---

    def parts(self, batch: Batch) -> Iterator[tuple[Handler | None, Batch]]:
        """A batch by handlers, to be handled one after the other."""
        events = batch.events
        shares = self.handlers.share_out(events, self.keyed)
        for handler, indexes in shares:
            some: Sequence[int] = indexes if len(shares) > 1 else batch._indexes
            part = batch._taken.part(some)
            if self.stopping:
                part.give_back("the relay is stopping")
            elif len(part) > 0:
                yield handler, part

    def no_handler(self, part: Batch) -> None:
        """Loud, and nothing is lost."""
        for topic in {event.topic for event in part.events} - self._orphans:
            self._orphans.add(topic)
            self.log.error(
                "no handler is registered for topic %r: its events wait, and the "
                "others go on. Register one, @relay.handler(%r), and start again; "
                "or give this subscription a filter without them",
                topic,
                topic,
            )
        part._settle(
            _core.OUTCOME_MISCONFIGURED, 0, "no handler of the program is for it"
        )

    def report(self, error: BaseException, what: object) -> None:
        """Say that code of the user failed, at most once a minute for each
        place in it."""
        if isinstance(error, (Retry, Reject, SinkUnavailable, SinkMisconfigured)):
            return  # the core tells of it
        trace, line, name = error.__traceback__, 0, ""
        while trace is not None:
            line, name = trace.tb_lineno, trace.tb_frame.f_code.co_filename
            trace = trace.tb_next
        place, now = (type(error).__qualname__, name, line), time.monotonic()
        told, more = self._reports.get(place, (-_REPORT_AGE, 0))
        if now - told < _REPORT_AGE:
            self._reports[place] = (told, more + 1)
            return
        if len(self._reports) >= _MOST_REPORTS:
            self._reports.clear()
        self._reports[place] = (now, 0)
        self.log.warning(
            "%r failed and will be tried again: %s%s",
            what,
            describe(error),
            f" ({more} more of the kind in the last minute)" if more else "",
            exc_info=error,
        )


class Loop:
    """One loop over batches: what it has in hand."""

    def __init__(self, deliveries: Deliveries, limits: tuple[int, int, int]) -> None:
        self.deliveries = deliveries
        self.owner: object = None  # the thread or task that is in its body
        self._limits = limits
        self._taken: Taken | None = None
        self._ready: deque[Batch] = deque()
        self._batch: Batch | None = None

    def advance(self, owner: object = None) -> Batch | None:
        """The body has ended well: the next batch, if there is one now."""
        self.deliveries.same_process()
        self.owner = owner or threading.get_ident()
        if self._batch is not None:
            self._batch._finish()
            self._batch = None
        while True:
            while self._ready and not self.deliveries.stopping:
                batch = self._ready.popleft()
                batch = batch._taken.part(batch._indexes)
                if len(batch) > 0:
                    self._batch = batch
                    return batch
            self._drop()
            self._taken = self.deliveries.take(self._limits)
            if self._taken is None:
                return None
            self._ready.extend(self._taken.batches(self._limits[0]))

    def _drop(self) -> None:
        """What nobody got is given back."""
        self._ready.clear()
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.close()

    def leave(self) -> None:
        """The loop is over, maybe in the middle of its body."""
        batch, self._batch = self._batch, None
        if os.getpid() != self.deliveries.pid:
            return
        if batch is None or batch.unsettled == 0:
            self._drop()
            return
        self._taken = None
        while self._ready:
            self._ready.popleft().give_back("the loop was left before it")
        self.deliveries.leave(batch)
