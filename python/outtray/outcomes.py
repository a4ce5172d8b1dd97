"""What became of an event that your own code delivers, said by an exception.

raised in the code of a handler     the events that it was for
----------------------------------  -----------------------------------------
nothing                             ok: delivered
outtray.Retry                       again, not before ``after`` seconds; a try
                                    is counted
outtray.Reject                      never again: relay.on_reject decides (dead,
                                    listed, redrivable)
outtray.SinkUnavailable             nothing can be delivered now: the breaker
                                    opens; no try is counted
outtray.SinkMisconfigured           the topic cannot be delivered: its events
                                    wait; no try is counted
any other Exception                 as Retry, after a pause that grows
MemoryError, KeyboardInterrupt,     given back: delivered again; no try is
SystemExit, CancelledError, …       counted, and it comes through
"""

from __future__ import annotations

import math

from . import _core
from .errors import SinkMisconfigured, SinkUnavailable

__all__ = ["Reject", "Retry"]

# Longer ones are cut by the core as well, by bytes.
_REASON = 400
_LONGEST = 10 * 366 * 86400.0


class Retry(Exception):
    """Deliver it again, not before so many seconds.

    Args:
        reason: why, for people: it is kept with the event. No secrets.
        after: seconds; None: a pause of the relay's own, which grows.
    """

    after: float | None = None  # of one that does not call this __init__

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        milliseconds(after)  # what is no pause is an error of the handler
        self.after = after


class Reject(Exception):
    """Never deliver it: it becomes a dead event, with this reason.

    Args:
        reason: why, for people: it is kept with the event. No secrets.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


def milliseconds(after: float | None) -> int:
    """Of a pause in seconds; 0: the relay's own."""
    if after is None:
        return 0
    if not after >= 0 or math.isinf(after):
        raise ValueError(f"after is a number of seconds from 0 on, not {after!r}")
    return math.ceil(min(after, _LONGEST) * 1000)


def clean(reason: str) -> str:
    """A reason as the core takes it."""
    short = reason[:_REASON].replace("\0", "\\0")
    return short.encode("utf-8", "backslashreplace").decode()


def comes_through(error: BaseException) -> bool:
    """Is it no outcome, but the end of the program or of a task?"""
    return isinstance(error, MemoryError) or not isinstance(error, Exception)


def _text(error: BaseException) -> str:
    """Whatever its __str__ does."""
    try:
        return str(error)
    except Exception:
        return ""


def describe(error: BaseException) -> str:
    """``ValueError: text``"""
    text, name = _text(error), type(error).__qualname__
    return f"{name}: {text}" if text else name


def outcome_of(error: BaseException) -> tuple[int, int, str]:
    """(outcome, milliseconds, reason) of the table above."""
    if isinstance(error, Retry):
        return _core.OUTCOME_RETRY, milliseconds(error.after), _text(error)
    if isinstance(error, Reject):
        return _core.OUTCOME_REJECTED, 0, _text(error)
    if isinstance(error, SinkUnavailable):
        return _core.OUTCOME_UNAVAILABLE, 0, describe(error)
    if isinstance(error, SinkMisconfigured):
        return _core.OUTCOME_MISCONFIGURED, 0, describe(error)
    if comes_through(error):
        return _core.OUTCOME_UNKNOWN, 0, describe(error)
    return _core.OUTCOME_RETRY, 0, describe(error)
