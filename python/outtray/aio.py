"""The relay on the loop of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TypeVar

from .relay import BaseRelay

_Self = TypeVar("_Self", bound="AsyncRelay")


class AsyncRelay(BaseRelay):
    """``Relay`` for asyncio: it waits for its descriptor on the running loop
    and needs no thread. Takes the same arguments.

        async with outtray.AsyncRelay(store, sink) as relay:
            await relay.run()

    In a web application, beside the requests:

        async with outtray.AsyncRelay(store, sink).background():
            ...
    """

    async def run(self) -> None:
        """Run until it has stopped. When its task is cancelled, it stops
        cleanly first."""
        try:
            await self._run()
        except asyncio.CancelledError:
            if self._handle is not None and not self._done:
                self.stop()
                await self._run()
            raise

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        descriptor = self.fileno()
        loop.add_reader(descriptor, wake.set)
        try:
            while self._step(0):
                seconds = self.timeout()
                if seconds == 0:
                    await asyncio.sleep(0)
                    continue
                wake.clear()
                timer = loop.call_later(seconds, wake.set) if seconds else None
                try:
                    await wake.wait()
                finally:
                    if timer is not None:
                        timer.cancel()
        finally:
            loop.remove_reader(descriptor)

    @contextlib.asynccontextmanager
    async def background(self: _Self) -> AsyncIterator[_Self]:
        """Run it while the block runs, and stop it cleanly at its end. An
        error of the relay is raised at the end, too."""
        async with self:
            task = asyncio.ensure_future(self.run())
            try:
                yield self
            finally:
                if not task.done():
                    self.stop()
                await task

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._handle is not None and not self._done and kind is None:
                self.stop()
                await self._run()
        finally:
            self.close()
