"""The relay on the loop of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ._deliveries import DEFAULT_EVENTS, Deliveries, Loop, drain_log
from .batch import Batch, Delivered
from .errors import OuttrayError
from .handlers import check_ran
from .relay import BaseRelay

_Self = TypeVar("_Self", bound="AsyncRelay")


class News:
    """Wakes the tasks that wait for the thread of a relay."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def listen(self) -> None:
        """On the running loop."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self.close()
        loop.add_reader(self._deliveries.begin().fd, self._hear)
        self._loop = loop

    async def wait(self) -> None:
        """Until something is new since the last look, which was just now."""
        if self._loop is None:
            return
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def _hear(self) -> None:
        deliveries = self._deliveries
        deliveries.begin().hear()
        drain_log(deliveries.handle, deliveries.log)
        with contextlib.suppress(Exception):  # whoever waits hears it, too
            deliveries.ended()
        if deliveries.done:
            self.close()
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._deliveries.begin().fd)


class AsyncBatches:
    """What ``relay.batches()`` gives."""

    def __init__(self, loop: Loop, news: News) -> None:
        self._loop = loop
        self._news = news

    def __aiter__(self) -> AsyncBatches:
        return self

    async def __anext__(self) -> Batch:
        deliveries = self._loop.deliveries
        self._news.listen()
        task = asyncio.current_task()
        while (batch := self._loop.advance(task)) is None:
            if deliveries.ended():
                raise StopAsyncIteration
            await self._news.wait()
        return batch

    def close(self) -> None:
        """The loop over it is over."""
        self._loop.leave()

    def __del__(self) -> None:
        self._loop.leave()


class AsyncRelay(BaseRelay):
    """``Relay`` for asyncio: it waits for its descriptor on the running loop.
    Takes the same arguments.

        async with outtray.AsyncRelay(store, sink) as relay:
            await relay.run()

    In a web application, beside the requests:

        async with outtray.AsyncRelay(store, sink).background():
            ...
    """

    _may_await = True

    _heard: News | None = None

    @property
    def _news(self) -> News:
        if self._heard is None:
            self._heard = News(self._deliveries)
        return self._heard

    def close(self) -> None:
        """Free it at once, on the thread of its loop. What is under way is
        abandoned and will be delivered again, unless ``stop`` was run to its
        end."""
        if self._heard is not None:
            self._heard.close()
        super().close()

    async def run(self, *, tasks: int = 1, max_events: int | None = None) -> None:
        """Run until it has stopped. When its task is cancelled, it stops
        cleanly first.

        A relay without a sink calls its handlers, which may be async, in so many
        tasks. Events of one key are never in two at once. A handler that is not
        async keeps the loop from anything else while it works.

        Args:
            tasks: that call handlers; a relay with a sink needs no more.
            max_events: of a batch; default 500, or with several tasks 1.

        Raises:
            outtray.Misuse: there is neither a sink nor a handler.
            outtray.OuttrayError: what time will not cure, e.g. StoreNoSchema.
        """
        if self._script:
            await self._run_handlers(tasks, max_events)
            return
        try:
            await self._run()
        except asyncio.CancelledError:
            if self._handle is not None and not self._done:
                self.stop()
                await self._run()
            raise

    async def _run_handlers(self, tasks: int, max_events: int | None) -> None:
        self._needs_handlers()
        self._not_in_handler(asyncio.current_task())
        if tasks < 1:
            raise ValueError("tasks is a number from 1 on")
        most = max_events or (DEFAULT_EVENTS if tasks == 1 else 1)
        try:
            if tasks == 1:
                await self._handle_batches(most)
            else:
                async with asyncio.TaskGroup() as group:
                    for _ in range(tasks):
                        group.create_task(self._handle_batches(most))
        except BaseException as error:
            self._deliveries.settle_left(error)
            await self._end_soon()
            several: Sequence[BaseException] = getattr(error, "exceptions", ())
            if tasks > 1 and several:
                raise several[0] from None
            raise

    async def _handle_batches(self, max_events: int) -> None:
        batches = self.batches(max_events=max_events)
        me = asyncio.current_task()
        self._deliveries.handling.add(me)
        try:
            async for batch in batches:
                for handler, part in self._deliveries.parts(batch):
                    if handler is None:
                        self._deliveries.no_handler(part)
                    elif handler.batch:
                        with part:
                            made = handler.function(part)
                            if inspect.isawaitable(made):
                                await made
                            else:
                                check_ran(made, handler.function)
                    else:
                        await self._handle_events(handler.function, part)
        finally:
            self._deliveries.handling.discard(me)
            batches.close()

    async def _handle_events(self, function: Callable[[Any], Any], part: Batch) -> None:
        delivered = Delivered(part._taken)
        try:
            for event in part:
                try:
                    made = function(event)
                    if inspect.isawaitable(made):
                        await made
                    elif made is not None:
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
    ) -> AsyncBatches:
        """``Relay.batches`` for ``async for``:

            async for batch in relay.batches():
                for event in batch:
                    with event:
                        await deliver(event)

        Several tasks may loop at once. One that is cancelled gives back what it
        has not settled.
        """
        try:
            owner = asyncio.current_task()
        except RuntimeError:  # no loop is running yet
            owner = None
        loop = self._loop(max_events, max_bytes, linger, owner)
        return AsyncBatches(loop, self._news)

    async def _end_soon(self) -> None:
        """Stop the pump cleanly, waiting on the loop."""
        if self._handle is None or self.done:
            return
        self.stop()
        self._news.listen()
        with contextlib.suppress(OuttrayError):  # it was raised by batches()
            while not self._deliveries.ended():
                await self._news.wait()

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
            if self._deliveries.pump is not None:
                self._deliveries.leave_loops(asyncio.current_task())
                self._deliveries.settle_left(error, "the relay is stopping")
                await self._end_soon()
            elif self._handle is not None and not self._done and kind is None:
                self.stop()
                await self._run()
        finally:
            self.close()
