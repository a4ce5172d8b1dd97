"""Moving events from the outbox to a sink, in this process."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from . import _core, _sqlite
from ._deliveries import DEFAULT_EVENTS, Deliveries, Loop, drain_log
from .batch import Batch, Delivered
from .errors import Misuse, OutOfMemory
from .handlers import check_kind, check_ran

# While C waits, Python hears no signal: it waits for so long at most.
_SLICE = 0.1
# So old may numbers be that another thread is told.
_STATS_AGE = 0.05

# At the exit of the interpreter, for batches that threads still have.
_LAST_WAIT = 5.0

_Self = TypeVar("_Self", bound="BaseRelay")
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RelayStats:
    """Numbers of one relay's life."""

    delivered: int  #: acknowledged by the broker
    failed: int  #: completions other than an acknowledgement
    dead: int  #: given up on
    reads: int  #: polls of the database
    writes: int  #: cursor writes
    pruned: int  #: rows of the log deleted by retention
    position: int  #: the written cursor
    last_seq: int  #: newest seq drawn, as of the last read
    fence: int  #: 0: another relay owns the subscription
    window: int  #: events read and not settled
    in_flight: int  #: of these, with the broker's client
    gaps: int  #: open gap ranges
    held: int  #: held events, all states
    rtt_avg_us: int  #: round trip to the brokers (sink.statistics_ms); -1: unknown
    rtt_p99_us: int  #: the slowest broker's 99th percentile; -1: unknown
    throttle_avg_ms: int  #: brokers held answers back for so long; -1: unknown
    throttle_max_ms: int  #: at most; -1: unknown
    queued_events: int  #: with the client, not acknowledged; -1: unknown
    queued_bytes: int  #: their payloads and headers; -1: unknown
    stall: str  #: why nothing is moving; "none"
    stall_detail: str  #: for people


def _stats(raw: Any) -> RelayStats:
    if raw is None:
        raise OutOfMemory("out of memory")
    return RelayStats(*(getattr(raw, name) for name in RelayStats.__slots__))


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def make_conf(
    file: str | os.PathLike[str] | None,
    environment: bool,
    settings: Mapping[str, object],
) -> Any:
    """A configuration: file, then environment, then settings."""
    conf = _core.conf_new()
    if conf is None:
        raise OutOfMemory("out of memory")
    if file is not None:
        _core.conf_load_file(conf, os.fsencode(file))
    if environment:
        _core.conf_load_env(conf)
    for name, value in settings.items():
        if value is not None:
            _core.conf_set(conf, name, _setting(value))
    return conf


class BaseRelay:
    """What ``Relay`` and ``AsyncRelay`` have in common."""

    def __init__(
        self,
        store: str | None = None,
        sink: str | None = None,
        *,
        outbox: str | None = None,
        subscription: str | None = None,
        until_empty: bool = False,
        config: str | os.PathLike[str] | None = None,
        environment: bool = False,
        settings: Mapping[str, object] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._handle: Any = None
        self._pid = os.getpid()
        # Handlers of the log and of signals may ask for numbers in a step.
        self._lock = threading.RLock()
        self._log = logger or logging.getLogger("outtray.relay")
        self._done = False
        self._name = store or "the configured store"
        self._last_stats: RelayStats | None = None
        self._stats_at = 0.0
        named = {
            "store.url": store,
            "sink.url": sink,
            "store.outbox": outbox,
            "relay.subscription": subscription,
        }
        conf = make_conf(config, environment, {**(settings or {}), **named})
        if not _core.conf_get(conf, "sink.url"):
            _core.conf_set(conf, "sink.url", "script:")
        # What is no text is refused by the core, as text that is no URL.
        on_file = store is None or str(store).startswith("sqlite:")
        _sqlite.choose(required=on_file)
        self._handle = _core.relay_open(conf)
        self._script = _core.relay_scripted(self._handle)
        keyed = _core.conf_get(conf, "relay.ordering") != "none"
        self._deliveries = Deliveries(self._handle, self._log, keyed)
        if until_empty:
            _core.relay_until_empty(self._handle)

    def __repr__(self) -> str:
        state = "closed" if self._handle is None else "open"
        return f"<outtray.{type(self).__name__} {state}>"

    def stop(self) -> None:
        """Ask for a clean stop: deliver what is under way, write the cursor,
        release the lease. May be called on any thread and in a signal handler;
        returns at once, and ``run`` returns when it is done."""
        self._same_process()
        self._deliveries.stopping = True
        if self._handle is not None:
            _core.relay_stop(self._handle)

    def fileno(self) -> int:
        """A descriptor that is readable when ``step()`` has something to do.
        Never read it; ``timeout()`` says how long a loop may wait for it."""
        handle = self._open()
        self._not_pumped()
        return int(_core.relay_fd(handle))

    def timeout(self) -> float | None:
        """How long a loop may wait for ``fileno()``, in seconds; None: for
        ever."""
        self._not_pumped()
        with self._lock:
            ms = int(_core.relay_timeout_ms(self._open()))
        return None if ms < 0 else ms / 1000

    def stats(self) -> RelayStats:
        """Its numbers; those of a moment ago while another thread runs it."""
        self._same_process()
        if not self._lock.acquire(blocking=self._last_stats is None):
            assert self._last_stats is not None
            return self._last_stats
        try:
            if self._handle is not None:
                self._last_stats = _stats(self._raw_stats(self._handle))
            assert self._last_stats is not None
            return self._last_stats
        finally:
            self._lock.release()

    @property
    def done(self) -> bool:
        """Has it stopped?"""
        return self._done or self._deliveries.done

    def close(self) -> None:
        """Free it at once. What is under way is abandoned and will be
        delivered again, unless ``stop`` was run to its end."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if os.getpid() != self._pid:
            return
        if self._deliveries.pump is not None:
            self._deliveries.pump.close()
            self._deliveries.done = True
        with self._lock:
            self._last_stats = _stats(self._raw_stats(handle))
            drain_log(handle, self._log)
            _core.relay_close(handle)
        self._deliveries.settle_left(None)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None and self._pid == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2)

    # --- events for the program itself ---

    _may_await = False

    def handler(
        self, pattern: str, *, batch: bool = False
    ) -> Callable[[_Function], _Function]:
        """Register a function for the topics of a pattern; ``run`` calls it.

            @relay.handler("orders.*")
            def deliver(event):
                ...

        When it returns its event is delivered; what it raises is the outcome
        (see ``outtray.outcomes``), and it may settle the event itself. An exact
        name comes before patterns (``*``, ``?``, ``[a-z]``; ``*`` goes over
        points), of these the one with more characters that are no wildcards.
        The events of a topic without a handler wait.

        Args:
            batch: give it a ``Batch`` at a time instead of a ``BatchEvent``.
        """
        self._needs_script("handle them here")

        def register(function: _Function) -> _Function:
            check_kind(function, self._may_await)
            self._deliveries.handlers.add(pattern, function, batch)
            return function

        return register

    def _loop(
        self, max_events: int, max_bytes: int, linger: float, owner: object
    ) -> Loop:
        """A new loop over batches; from now on the pump steps the relay."""
        self._open()
        self._not_in_handler(owner)
        self._needs_script("take them here")
        if max_events < 1 or max_bytes < 1 or not linger >= 0:
            raise ValueError("max_events and max_bytes are above 0, linger from 0 on")
        _pumped.add(self)  # first: the interpreter may be ending
        self._deliveries.begin()
        self._deliveries.settle_left(None)
        limits = (min(max_events, 16384), max_bytes, round(linger * 1000))
        return self._deliveries.loop(limits)

    def _needs_script(self, what: str) -> None:
        if not self._script:
            raise Misuse(
                "this relay has a sink that takes the events: leave the sink out, or "
                f'name "script:" as the sink where the configuration has one, to {what}'
            )

    def _needs_handlers(self) -> None:
        self._open()
        if not self._deliveries.handlers:
            raise Misuse(
                "this relay has no sink and no handler: give it one of them, or "
                "loop over batches()"
            )

    def _not_in_handler(self, owner: object) -> None:
        if owner in self._deliveries.handling:
            raise Misuse(
                "a handler cannot wait for more events of its own relay: it has "
                "what they wait for in hand. Let it return"
            )

    def _not_pumped(self) -> None:
        if self._deliveries.pump is not None:
            raise Misuse("a thread of this relay steps it, for batches() or handlers")

    def _end(self) -> None:
        """Stop the pump cleanly."""
        if self._handle is not None and not self.done:
            self.stop()
            self._deliveries.wait_ended()

    def _raw_stats(self, handle: Any) -> Any:
        pump = self._deliveries.pump
        return _core.relay_numbers(handle) if pump is None else pump.numbers()

    # --- the rest ---

    def _same_process(self) -> None:
        self._deliveries.same_process()

    def _open(self) -> Any:
        self._same_process()
        if self._handle is None:
            raise Misuse("this relay is closed")
        return self._handle

    def _step(self, seconds: float | None) -> bool:
        self._not_pumped()
        milliseconds = -1 if seconds is None else max(0, round(seconds * 1000))
        with self._lock:
            handle = self._open()
            try:
                going = _core.relay_step(handle, milliseconds) == 1
            except BaseException:
                self._done = True
                raise
            finally:
                drain_log(handle, self._log)
            self._done = not going
            if self._handle is None:  # closed by a handler of the log
                self._done = True
                return False
            now = time.monotonic()
            if now - self._stats_at > _STATS_AGE or not going:
                self._stats_at = now
                self._last_stats = _stats(_core.relay_numbers(handle))
        return going


_pumped: weakref.WeakSet[BaseRelay] = weakref.WeakSet()
# With a sink, and a thread that steps it.
_running: weakref.WeakSet[BaseRelay] = weakref.WeakSet()


def _mine(relays: weakref.WeakSet[BaseRelay]) -> list[BaseRelay]:
    mine = [one for one in list(relays) if one._pid == os.getpid()]
    return [one for one in mine if one._handle is not None]


@atexit.register
def _end_all() -> None:
    """The threads of relays must not outlive the libraries that they are in; and a
    daemon's leaves no lease behind, for which the next process would wait."""
    mine = _mine(_pumped)
    for one in mine:
        one._deliveries.leave_loops(threading.get_ident())
        one._deliveries.settle_left(None, "the program has ended")
        one.stop()
    for one in _mine(_running):
        one.stop()
    end = time.monotonic() + _LAST_WAIT
    while _mine(_running) and time.monotonic() < end:
        time.sleep(0.01)
    for one in mine:
        one._deliveries.wait_ended(max(0.0, end - time.monotonic()))
        if one._deliveries.pump is not None:
            one._deliveries.pump.close()


class Batches:
    """What ``relay.batches()`` gives."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        deliveries = self._loop.deliveries
        while (batch := self._loop.advance()) is None:
            if deliveries.ended():
                raise StopIteration
            deliveries.begin().wait()
        return batch

    def close(self) -> None:
        """The loop over it is over."""
        self._loop.leave()

    def __del__(self) -> None:
        self._loop.leave()


class Relay(BaseRelay):
    """Moves events of one subscription to a sink, on the calling thread.

    Any number may run against an outbox, in any processes: one owns the
    subscription, the others wait for its lease.

        with outtray.Relay("sqlite:shop.db", "kafka://127.0.0.1:9092") as relay:
            relay.run()

    Args:
        store: URL of the database, ``sqlite:FILE`` or ``postgresql://…``.
        sink: URL of the destination, ``kafka://HOST``, ``file://PATH``,
            ``stdout:``. Without one (and without ``sink.url`` in the
            configuration) the program itself delivers the events: see
            ``batches`` and ``handler``.
        outbox: the name of the outbox; default ``outtray``.
        subscription: whose cursor it is; default ``main``.
        until_empty: stop once nothing is left to deliver. What is dead,
            scheduled, or behind a dead one of its key is not waited for:
            ``stats().held`` counts it.
        config: an INI file to read first.
        environment: read ``OUTTRAY_…`` after it.
        settings: more settings by their names, e.g.
            ``{"relay.batch_events": 500, "kafka.linger.ms": 0}``.
        logger: where its log goes; default ``outtray.relay``.

    Raises:
        outtray.ConfigError: a setting or URL is wrong; it connects later.
    """

    def step(self, timeout: float | None = 0) -> bool:
        """Do what is due, waiting up to ``timeout`` seconds for something to
        do (None: as long as it takes). Returns False once it has stopped.

        Raises:
            outtray.OuttrayError: what time will not cure, e.g. StoreNoSchema.
        """
        return self._step(timeout)

    def run(self, *, threads: int = 1, max_events: int | None = None) -> None:
        """Run until it has stopped. Ctrl-C stops it cleanly and is raised when
        that is done; a second one at once.

        A relay without a sink calls its handlers, on this thread and on
        ``threads - 1`` more. Events of one key are never on two at once.

        Args:
            threads: that call handlers; a relay with a sink needs no more.
            max_events: of a batch; default 500, or with several threads 1.

        Raises:
            outtray.Misuse: there is neither a sink nor a handler.
            outtray.OuttrayError: what time will not cure, e.g. StoreNoSchema.
        """
        if not self._script:
            self._run_sink()
            return
        self._needs_handlers()
        self._not_in_handler(threading.get_ident())
        if threads < 1:
            raise ValueError("threads is a number from 1 on")
        most = max_events or (DEFAULT_EVENTS if threads == 1 else 1)
        failed: list[BaseException] = []
        workers = [
            threading.Thread(target=self._work, args=(most, failed), daemon=True)
            for _ in range(1, threads)
        ]
        try:
            for worker in workers:
                worker.start()
            self._handle_batches(most)
            for worker in workers:
                worker.join()
        except BaseException as error:
            self._deliveries.settle_left(error)
            self._end()
            raise
        if failed:
            raise failed[0]

    def _work(self, max_events: int, failed: list[BaseException]) -> None:
        try:
            self._handle_batches(max_events)
        except BaseException as error:
            failed.append(error)
            self._deliveries.settle_left(error)
            self.stop()

    def _handle_batches(self, max_events: int) -> None:
        batches = self.batches(max_events=max_events)
        deliveries, me = self._deliveries, threading.get_ident()
        deliveries.handling.add(me)
        try:
            for batch in batches:
                for handler, part in deliveries.parts(batch):
                    if handler is None:
                        deliveries.no_handler(part)
                    elif handler.batch:
                        with part:
                            check_ran(handler.function(part), handler.function)
                    else:
                        self._handle_events(handler.function, part)
        finally:
            deliveries.handling.discard(me)
            batches.close()

    def _handle_events(self, function: Callable[[Any], Any], part: Batch) -> None:
        delivered = Delivered(part._taken)
        try:
            for event in part:
                try:
                    made = function(event)
                    if made is not None:
                        check_ran(made, function)
                except BaseException as error:
                    if not event._failed(error):
                        raise
                else:
                    delivered.add(event)
        finally:
            delivered.settle()

    def batches(
        self,
        *,
        max_events: int = DEFAULT_EVENTS,
        max_bytes: int = 1 << 20,
        linger: float = 0,
    ) -> Batches:
        """The events, for your own code to deliver, until the relay has stopped.

            for batch in relay.batches():
                for event in batch:
                    with event:
                        deliver(event)

        The relay is stepped by a thread of its own meanwhile, so the code for a
        batch may take its time. What it has not settled when it ends is ok; when
        it ends by an exception, that is the outcome (``outtray.outcomes``), and
        when it ends by ``break``, a retry. Several threads may loop at once.

        Args:
            max_events: of a batch, at most 16,384.
            max_bytes: of a batch, with payloads, keys and headers; one event may
                be larger.
            linger: seconds to wait for a batch to fill up; 0: take what is there.
        """
        owner = threading.get_ident()
        return Batches(self._loop(max_events, max_bytes, linger, owner))

    def _run_sink(self) -> None:
        interrupt: KeyboardInterrupt | None = None
        _running.add(self)
        try:
            while True:
                try:
                    while self._step(_SLICE):
                        pass
                    break
                except KeyboardInterrupt as one:
                    if interrupt is not None or self._handle is None:
                        raise
                    interrupt = one
                    self.stop()
        finally:
            _running.discard(self)
        if interrupt is not None:
            raise interrupt

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._deliveries.pump is not None:
                self._deliveries.leave_loops(threading.get_ident())
                self._deliveries.settle_left(error, "the relay is stopping")
                self._end()
            elif self._handle is not None and not self._done and kind is None:
                self.stop()
                self._run_sink()
        finally:
            self.close()
