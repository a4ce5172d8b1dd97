"""The same on the loop of asyncio."""

import asyncio
import pathlib
import sqlite3
import sys

import outtray
import pytest
from lateness import Promise

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import SOON, enqueue, held, in_order, number  # noqa: E402


def open_relay(where, until_empty=True, **settings):
    return outtray.AsyncRelay(
        where.url, until_empty=until_empty, settings={**SOON, **settings}
    )


def test_a_loop(sqlite_outbox):
    enqueue(sqlite_outbox, 1000)

    async def go():
        numbers = []
        async with open_relay(sqlite_outbox) as relay:
            async for batch in relay.batches(max_events=100):
                await asyncio.sleep(0)
                numbers += map(number, batch)
            assert relay.done and relay.stats().delivered == 1000
        return numbers

    assert asyncio.run(go()) == list(range(1000))


def test_a_body_that_raises(sqlite_outbox):
    enqueue(sqlite_outbox, 20)

    async def go():
        numbers, raised = [], 0
        async with open_relay(sqlite_outbox) as relay:
            while not relay.done:
                try:
                    async for batch in relay.batches():
                        if raised < 2:
                            raised += 1
                            await asyncio.sleep(0)
                            raise KeyError
                        numbers += map(number, batch)
                except KeyError:
                    pass
        return numbers

    numbers = asyncio.run(go())
    assert sorted(numbers) == list(range(20)) and in_order(numbers)


def test_handlers(sqlite_outbox):
    """Of both kinds, in several tasks; the keys keep their order."""
    enqueue(sqlite_outbox, 100, keys=10)
    enqueue(sqlite_outbox, 20, topic="mail", prefix="mail")

    async def go():
        numbers, busy, most, mail = [], set(), 0, []
        async with open_relay(sqlite_outbox) as relay:

            @relay.handler("orders")
            async def orders(event):
                nonlocal most
                assert event.key not in busy
                busy.add(event.key)
                most = max(most, len(busy))
                await asyncio.sleep(0.005)
                busy.remove(event.key)
                if number(event) % 13 == 0 and event.attempts == 0:
                    raise OSError("not at first")
                numbers.append(number(event))

            @relay.handler("mail", batch=True)
            def mails(batch):
                mail.extend(map(number, batch))

            await relay.run(tasks=5)
            assert relay.stats().delivered == 120
        return numbers, most, mail

    numbers, most, mail = asyncio.run(go())
    assert sorted(numbers) == list(range(100)) and in_order(numbers, 10)
    assert most > 1 and mail == list(range(20))


def test_one_that_ends_the_program(sqlite_outbox):
    enqueue(sqlite_outbox, 20, keys=20)

    async def go(tasks):
        async with open_relay(sqlite_outbox, False) as relay:

            @relay.handler("orders")
            async def orders(event):
                await asyncio.sleep(0)
                if number(event) == 3:
                    raise MemoryError

            with pytest.raises(MemoryError):
                await relay.run(tasks=tasks)
            assert relay.done and relay.stats().fence == 0

    asyncio.run(go(1))
    asyncio.run(go(3))


@pytest.mark.parametrize("way", ["loop", "one", "three"])
def test_cancelled(way, sqlite_outbox):
    """At once, and clean: the lease is given back, no try is counted."""
    enqueue(sqlite_outbox, 5)

    async def go():
        async with open_relay(sqlite_outbox, False) as relay:
            begun = asyncio.Event()

            @relay.handler("*")
            async def handle(event):
                begun.set()
                await asyncio.sleep(3600)

            async def loop():
                async for batch in relay.batches():
                    await handle(batch[0])

            ways = {"loop": loop, "one": relay.run, "three": lambda: relay.run(tasks=3)}
            task = asyncio.create_task(ways[way]())
            await asyncio.wait_for(begun.wait(), 240)
            promise = Promise(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not promise.broken(), str(promise)
        assert relay.done and relay.stats().fence == 0

    asyncio.run(go())
    (row,) = sqlite_outbox.query("SELECT owner, position FROM outtray_cursor")
    assert row == (None, 0)
    assert {attempts for (attempts,) in held(sqlite_outbox, "attempts")} <= {0}


def test_a_loop_that_nobody_ends(sqlite_outbox):
    enqueue(sqlite_outbox, 6)

    async def go():
        async with open_relay(sqlite_outbox, False) as relay:
            batches = relay.batches()
            await batches.__anext__()
            promise = Promise(5)
        assert not promise.broken(), str(promise)
        assert relay.done and relay.stats().fence == 0

    asyncio.run(go())


def test_stopped_while_it_waits(sqlite_outbox):
    async def go():
        async with open_relay(sqlite_outbox, False) as relay:
            asyncio.get_running_loop().call_later(0.3, relay.stop)
            async for _ in relay.batches():
                pytest.fail("a batch")
            assert relay.done

    asyncio.run(go())


def test_the_loop_is_idle_while_it_waits(sqlite_outbox):
    """And while a task has a batch: nothing spins."""
    enqueue(sqlite_outbox, 3)

    async def go():
        turns = 0
        async with open_relay(sqlite_outbox, False) as relay:
            batches = relay.batches()
            batch = await batches.__anext__()
            loop = asyncio.get_running_loop()
            select = loop._selector.select

            def counted(timeout):
                nonlocal turns
                turns += 1
                return select(timeout)

            loop._selector.select = counted
            await asyncio.sleep(0.5)
            batch.ok()
            loop.call_later(0.5, relay.stop)
            async for _ in batches:
                pass
        return turns

    assert asyncio.run(go()) < 100


def test_errors_surface(tmp_path):
    path = tmp_path / "empty.db"
    sqlite3.connect(path).close()

    async def go(use):
        async with outtray.AsyncRelay(f"sqlite:{path}") as relay:
            relay.handler("*")(print)
            with pytest.raises(outtray.StoreNoSchema):
                await use(relay)
        assert relay.done

    async def loop(relay):
        async for _ in relay.batches():
            pass

    asyncio.run(go(loop))
    asyncio.run(go(lambda relay: relay.run()))
    asyncio.run(go(lambda relay: relay.run(tasks=2)))


def test_background(sqlite_outbox):
    """Beside the requests of an application."""
    seen = []

    async def go():
        relay = open_relay(sqlite_outbox, False)
        relay.handler("*")(lambda event: seen.append(number(event)))
        async with relay.background():
            enqueue(sqlite_outbox, 10)
            while len(seen) < 10:
                await asyncio.sleep(0.01)

    asyncio.run(go())
    assert sorted(seen) == list(range(10))


def test_handlers_that_nobody_runs(sqlite_outbox):
    """An event of one would count as delivered."""
    enqueue(sqlite_outbox, 2)

    async def numbers(event):
        yield number(event)

    async def go():
        async with open_relay(sqlite_outbox, until_empty=False) as relay:
            with pytest.raises(outtray.Misuse, match="yield"):
                relay.handler("*")(numbers)
            relay.handler("*")(lambda event: numbers(event))

            async def stop():
                while len(held(sqlite_outbox, "seq")) < 2:
                    await asyncio.sleep(0.01)
                relay.stop()

            await asyncio.gather(relay.run(), stop())
            assert relay.stats().delivered == 0

    asyncio.run(go())
    assert {row[0] for row in held(sqlite_outbox, "state")} == {"waiting"}


def test_a_handler_that_runs_its_own_relay(sqlite_outbox):
    """It would wait for what it has in hand, for ever."""
    enqueue(sqlite_outbox, 3)

    async def go():
        async with open_relay(sqlite_outbox) as relay:

            @relay.handler("*")
            async def handle(event):
                with pytest.raises(outtray.Misuse, match="in hand"):
                    await relay.run()

            await relay.run(tasks=2)
            assert relay.stats().delivered == 3

    asyncio.run(go())
