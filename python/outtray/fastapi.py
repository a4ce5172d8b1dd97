"""FastAPI and Starlette: a relay in the process of the application.

    app = FastAPI(lifespan=outtray.fastapi.relay(config="outtray.ini"))

or, where the application itself delivers the events:

    relay = outtray.fastapi.relay("postgresql://127.0.0.1/shop")

    @relay.handler("orders.*")
    async def deliver(event):
        ...

    app = FastAPI(lifespan=relay)

A process of its own (``outtray relay``) is the better place for production: it
is restarted and measured by itself, and no request waits for its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from .aio import AsyncRelay
from .errors import Misuse, OuttrayError
from .handlers import Handlers

__all__ = ["RelayLifespan", "relay"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
_Function = TypeVar("_Function", bound=Callable[..., Any])


class RelayLifespan:
    """What ``relay`` returns: a lifespan that runs an ``AsyncRelay``."""

    def __init__(
        self,
        make: Callable[[], AsyncRelay],
        lifespan: Lifespan | None,
        limits: dict[str, Any],
    ) -> None:
        self._make = make
        self._lifespan = lifespan
        self._limits = limits  # of run()
        self._handlers = Handlers()
        self._running = 0

    def handler(
        self, pattern: str, *, batch: bool = False
    ) -> Callable[[_Function], _Function]:
        """Register a function for the topics of a pattern, as
        ``AsyncRelay.handler`` does; before the application starts.

            @relay.handler("orders.*")
            async def deliver(event):
                ...

        An ``async def`` shares the loop with the requests, a plain ``def`` is
        called in a thread, as FastAPI does it with endpoints.

        Args:
            batch: give it a ``Batch`` at a time instead of a ``BatchEvent``.

        Raises:
            outtray.Misuse: the pattern has a handler, or the application has
                started.
        """
        if self._running:
            raise Misuse(
                f"a handler for {pattern!r}: the application has started with "
                "those it had. Register it when its module is imported, or with "
                "app.state.outtray_relay"
            )

        def register(function: _Function) -> _Function:
            self._handlers.add(pattern, function, batch)
            return function

        return register

    @contextlib.asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[Any]:
        self._running += 1
        try:
            async with self._make() as one:
                for own in self._handlers:
                    one.handler(own.pattern, batch=own.batch)(_awaitable(own.function))
                if one._script:
                    one._needs_handlers()
                app.state.outtray_relay = one
                # Handlers use what the application's own lifespan opens.
                async with self._around(app) as state, self._task(one):
                    yield state
        finally:
            self._running -= 1

    def _around(self, app: Any) -> AbstractAsyncContextManager[Any]:
        if self._lifespan is None:
            return contextlib.nullcontext()
        return self._lifespan(app)

    @contextlib.asynccontextmanager
    async def _task(self, one: AsyncRelay) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self._run(one))
        try:
            yield
        finally:
            if not one.done:
                one.stop()
            await task

    async def _run(self, one: AsyncRelay) -> None:
        try:
            await one.run(**self._limits)
        except OuttrayError as error:
            logging.getLogger("outtray.relay").error(
                "the relay in this process has ended: %s", error
            )


def relay(
    store: str | None = None,
    sink: str | None = None,
    *,
    lifespan: Lifespan | None = None,
    tasks: int = 1,
    max_events: int | None = None,
    **options: Any,
) -> RelayLifespan:
    """A lifespan that runs an ``AsyncRelay`` while the application is up, and
    lets it finish what is under way when the application stops.

    Each worker process has one; one of them owns the subscription, the others
    wait and take over. It is ``app.state.outtray_relay``, for a health check:
    ``stats().stall`` says why nothing moves, ``done`` that it has ended. When it
    ends with an error, that is logged and the application goes on.

    Args:
        store, sink, options: as of ``AsyncRelay``. Without store, sink and
            config, the configuration is the environment (``OUTTRAY_STORE_URL``,
            ``OUTTRAY_SINK_URL``, …). Without a sink its handlers deliver the
            events: see ``handler``.
        lifespan: one of your own. The relay starts after it and stops before
            it, so that handlers may use what it opens.
        tasks, max_events: as of ``AsyncRelay.run``, for handlers.

    Raises:
        outtray.ConfigError: when the application starts: a setting is wrong.
        outtray.Misuse: when the application starts: there is neither a sink nor
            a handler, or there are both.
    """
    if tasks < 1:
        raise ValueError("tasks is a number from 1 on")
    if store is None and sink is None and "config" not in options:
        options.setdefault("environment", True)
    return RelayLifespan(
        functools.partial(AsyncRelay, store, sink, **options),
        lifespan,
        {"tasks": tasks, "max_events": max_events},
    )


def _awaitable(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A plain function must not stop the loop of the requests."""
    called = (function, type(function).__call__)  # or an object that is called
    if any(map(inspect.iscoroutinefunction, called)):
        return function

    def plain(what: Any) -> Any:
        try:
            return function(what)
        except StopIteration as error:  # whoever awaits would wait for ever
            raise RuntimeError("the handler raised StopIteration") from error

    async def in_thread(what: Any) -> None:
        made = await asyncio.to_thread(plain, what)
        if inspect.isawaitable(made):  # of a lambda, say
            await made

    return in_thread
