"""A relay that is stepped by a thread of its own, in C, without the interpreter's
lock: its lease is renewed whatever the code of the user does meanwhile.

    step ─► a batch is ready, a line of the log, the end ─► fd ─► hear, look

The thread belongs to the handle. It ends after ``relay_stop`` by itself, with
``close`` at once, and with the last reference to the handle. At the exit of the
interpreter relays that still run are stopped cleanly, for the thread must not
outlive the libraries that it is in.
"""

from __future__ import annotations

import select
from typing import Any

from . import _core


class Pump:
    """The thread that steps one relay."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        _core.pump_start(handle)
        self.fd: int = _core.pump_fd(handle)

    def hear(self) -> None:
        """Forget that there was news; to be called before looking for it."""
        _core.pump_hear(self._handle)

    def ended(self) -> bool:
        """Has it ended? Raises why, if that is an error."""
        return _core.pump_ended(self._handle)

    def take(self, limits: tuple[int, int, int]) -> Any | None:
        """What the core gives now; others who wait learn of what is left."""
        taken = _core.relay_take(self._handle, *limits)
        if taken is not None and _core.relay_ready(self._handle):
            _core.pump_pass_on(self._handle)
        return taken

    def wait(self, seconds: float | None = None) -> bool:
        """For news, which Ctrl-C ends at once. False: not in time."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def numbers(self) -> Any:
        return _core.pump_numbers(self._handle)

    def close(self) -> None:
        """End it at once, waiting for the step that is under way."""
        _core.pump_stop(self._handle)
