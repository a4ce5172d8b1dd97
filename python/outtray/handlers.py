"""Which function is for which topic."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .batch import BatchEvent
from .errors import Misuse, SinkMisconfigured

# Topics whose handler is remembered.
_MOST_TOPICS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Handler:
    """A function and the topics that it is for."""

    pattern: str
    function: Callable[[Any], Any]
    batch: bool  #: is it given a batch, or an event?
    rank: tuple[bool, int, int]  #: the highest that matches is taken


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", function))


def check_kind(function: Callable[[Any], Any], may_await: bool) -> None:
    """Raise if a call of it would not run it."""
    # Of an object that is called, what it is called by.
    for one in (function, getattr(function, "__call__", None)):  # noqa: B004
        if inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
            raise Misuse(
                f"{_name(function)} has a yield in it, so a call runs nothing of it: "
                "a handler is a plain function"
            )
        if not may_await and inspect.iscoroutinefunction(one):
            raise Misuse(f"{_name(function)} is async: register it with an AsyncRelay")


def check_ran(
    made: object,
    function: Callable[[Any], Any],
    instead: str = "register what is async with an AsyncRelay",
) -> None:
    """Raise if a handler has returned what is still to be run, as one that
    wraps an async function does."""
    if isinstance(made, Coroutine):
        made.close()  # or Python warns that nobody awaits it
    elif not isinstance(made, AsyncGenerator):
        return
    raise SinkMisconfigured(
        f"the handler {_name(function)} returned a {type(made).__name__}, which "
        f"nothing has run: return when all is done, or {instead}"
    )


class Handlers:
    """All of a relay. The exact name of a topic comes before patterns; of those
    the one with more characters that are no wildcards; then the first that was
    registered."""

    def __init__(self) -> None:
        self._all: dict[str, Handler] = {}
        self._found: dict[str, Handler | None] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Handler]:
        """In the order in which they were registered."""
        return iter(self._all.values())

    def add(self, pattern: str, function: Callable[[Any], Any], batch: bool) -> None:
        if pattern in self._all:
            other = self._all[pattern].function
            raise Misuse(
                f"{pattern!r} has a handler already, "
                f"{_name(other)}: a topic has one; call "
                "both from one function, or give each a subscription of its own"
            )
        plain = re.sub(r"\[[^]]+\]|[*?]", "", pattern)
        rank = (plain == pattern, len(plain), -len(self._all))
        self._all[pattern] = Handler(pattern, function, batch, rank)
        self._found.clear()

    def find(self, topic: str) -> Handler | None:
        try:
            return self._found[topic]
        except KeyError:
            pass
        matching = [h for h in self._all.values() if fnmatchcase(topic, h.pattern)]
        handler = max(matching, key=lambda one: one.rank, default=None)
        if len(self._found) >= _MOST_TOPICS:
            self._found.clear()
        self._found[topic] = handler
        return handler

    def share_out(
        self, events: Sequence[BatchEvent], keyed: bool
    ) -> list[tuple[Handler | None, list[int]]]:
        """The events by their handlers, as few parts as keep the order of each
        key when one part is handled after the other."""
        parts: list[tuple[Handler | None, list[int]]] = []
        latest: dict[Handler | None, int] = {}  # the last part of each handler
        of_key: dict[str, int] = {}  # the last part that has the key
        for event in events:
            handler, key = self.find(event.topic), event.key if keyed else None
            at = latest.get(handler, -1)
            if at < 0 or (key is not None and of_key.get(key, at) > at):
                at = latest[handler] = len(parts)
                parts.append((handler, []))
            parts[at][1].append(event._index)
            if key is not None:
                of_key[key] = at
        return parts
