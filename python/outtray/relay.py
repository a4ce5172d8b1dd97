"""Moving events from the outbox to a sink, in this process."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from . import _core, _sqlite
from .errors import Forked, Misuse, OutOfMemory

# While C waits, Python hears no signal: it waits for so long at most.
_SLICE = 0.1
# So old may numbers be that another thread is told.
_STATS_AGE = 0.05

_LEVELS = {
    _core.LOG_DEBUG: logging.DEBUG,
    _core.LOG_INFO: logging.INFO,
    _core.LOG_WARN: logging.WARNING,
    _core.LOG_ERROR: logging.ERROR,
}

_Self = TypeVar("_Self", bound="BaseRelay")


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
    stall: str  #: why nothing is moving; "none"
    stall_detail: str  #: for people


def _stats(handle: Any) -> RelayStats:
    raw = _core.relay_numbers(handle)
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
        _core.conf_load_file(conf, os.fspath(file))
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
        self._lock = threading.Lock()
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
        _sqlite.choose(required=store is None or store.startswith("sqlite:"))
        self._handle = _core.relay_open(conf)
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
        if self._handle is not None:
            _core.relay_stop(self._handle)

    def fileno(self) -> int:
        """A descriptor that is readable when ``step()`` has something to do.
        Never read it; ``timeout()`` says how long a loop may wait for it."""
        return int(_core.relay_fd(self._open()))

    def timeout(self) -> float | None:
        """How long a loop may wait for ``fileno()``, in seconds; None: for
        ever."""
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
                self._last_stats = _stats(self._handle)
            assert self._last_stats is not None
            return self._last_stats
        finally:
            self._lock.release()

    @property
    def done(self) -> bool:
        """Has it stopped?"""
        return self._done

    def close(self) -> None:
        """Free it at once. What is under way is abandoned and will be
        delivered again, unless ``stop`` was run to its end."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with self._lock:
            if os.getpid() == self._pid:
                self._last_stats = _stats(handle)
                self._drain_log(handle)
            _core.relay_close(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None and self._pid == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2)

    def _same_process(self) -> None:
        if os.getpid() != self._pid:
            raise Forked(
                "this relay was opened before fork(): open one in the child instead"
            )

    def _open(self) -> Any:
        self._same_process()
        if self._handle is None:
            raise Misuse("this relay is closed")
        return self._handle

    def _step(self, seconds: float | None) -> bool:
        milliseconds = -1 if seconds is None else max(0, round(seconds * 1000))
        with self._lock:
            handle = self._open()
            try:
                going = _core.relay_step(handle, milliseconds) == 1
            except BaseException:
                self._done = True
                raise
            finally:
                self._drain_log(handle)
            self._done = not going
            now = time.monotonic()
            if now - self._stats_at > _STATS_AGE or not going:
                self._stats_at = now
                self._last_stats = _stats(handle)
        return going

    def _drain_log(self, handle: Any) -> None:
        while (line := _core.relay_log_next(handle)) is not None:
            level, facility, text = line
            self._log.log(_LEVELS[level], "%s: %s", facility, text)


class Relay(BaseRelay):
    """Moves events of one subscription to a sink, on the calling thread.

    Any number may run against an outbox, in any processes: one owns the
    subscription, the others wait for its lease.

        with outtray.Relay("sqlite:shop.db", "kafka://127.0.0.1:9092") as relay:
            relay.run()

    Args:
        store: URL of the database, ``sqlite:FILE`` or ``postgresql://…``.
        sink: URL of the destination, ``kafka://HOST``, ``file://PATH``,
            ``stdout:``.
        outbox: the name of the outbox; default ``outtray``.
        subscription: whose cursor it is; default ``main``.
        until_empty: stop once nothing is left to deliver.
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

    def run(self) -> None:
        """Step until it has stopped. Ctrl-C stops it cleanly and is raised
        when that is done; a second one at once."""
        interrupt: KeyboardInterrupt | None = None
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
            if self._handle is not None and not self._done and kind is None:
                self.stop()
                self.run()
        finally:
            self.close()
