"""FastAPI and Starlette: a relay in the process of the application.

    app = FastAPI(lifespan=outtray.fastapi.relay(config="outtray.ini"))

A process of its own (``outtray relay``) is the better place for production: it
is restarted and measured by itself, and no request waits for its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from .aio import AsyncRelay
from .errors import OuttrayError

__all__ = ["relay"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def relay(
    store: str | None = None,
    sink: str | None = None,
    *,
    lifespan: Lifespan | None = None,
    **options: Any,
) -> Lifespan:
    """A lifespan that runs an ``AsyncRelay`` while the application is up, and
    lets it finish what is under way when the application stops.

    Each worker process has one; one of them owns the subscription, the others
    wait and take over. It is ``app.state.outtray_relay``, for a health check:
    ``stats().stall`` says why nothing moves, ``done`` that it has ended. When it
    ends with an error, that is logged and the application goes on.

    Args:
        store, sink, options: as of ``AsyncRelay``. Without any, the
            configuration is the environment (``OUTTRAY_STORE_URL``,
            ``OUTTRAY_SINK_URL``, …).
        lifespan: one of your own, around which the relay runs.

    Raises:
        outtray.ConfigError: when the application starts: a setting is wrong.
    """
    if store is None and sink is None and "config" not in options:
        options.setdefault("environment", True)

    @contextlib.asynccontextmanager
    async def lifespan_with_relay(app: Any) -> AsyncIterator[Any]:
        async with _running(AsyncRelay(store, sink, **options), app):
            if lifespan is None:
                yield None
            else:
                async with lifespan(app) as state:
                    yield state

    return lifespan_with_relay


@contextlib.asynccontextmanager
async def _running(one: AsyncRelay, app: Any) -> AsyncIterator[None]:
    async with one:
        app.state.outtray_relay = one
        task = asyncio.ensure_future(_run(one))
        try:
            yield
        finally:
            if not one.done:
                one.stop()
            await task


async def _run(one: AsyncRelay) -> None:
    try:
        await one.run()
    except OuttrayError as error:
        logging.getLogger("outtray.relay").error(
            "the relay in this process has ended: %s", error
        )
