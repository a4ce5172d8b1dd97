"""The relay in the lifespan of an application, on the loop of its requests."""

import asyncio
import contextlib
import logging
import sqlite3
import threading

import outtray
import outtray.fastapi
import pytest
from fastapi import FastAPI


@contextlib.asynccontextmanager
async def started(app):
    """As a server does it."""
    async with app.router.lifespan_context(app) as state:
        yield state


def enqueue(where, *topics):
    conn = sqlite3.connect(where.url.removeprefix("sqlite:"))
    with conn:
        for topic in topics:
            outtray.Outbox().enqueue(conn, topic, b"1")
    conn.close()


async def delivered(relay, n):
    async with asyncio.timeout(240):
        while relay.stats().delivered < n:
            await asyncio.sleep(0.01)


def test_it_delivers_and_stops(sqlite_outbox, tmp_path):
    events = tmp_path / "events.jsonl"
    seen = []

    @contextlib.asynccontextmanager
    async def own(app):
        seen.append("up")
        yield {"mine": 1}
        seen.append("down")
        assert app.state.outtray_relay.done  # what handlers use closes after it

    def make():
        return FastAPI(
            lifespan=outtray.fastapi.relay(
                sqlite_outbox.url, f"file://{events}", lifespan=own
            )
        )

    async def go():
        app = make()
        async with started(app) as state:
            assert state == {"mine": 1}
            enqueue(sqlite_outbox, "one", "two")
            await delivered(app.state.outtray_relay, 2)
        assert app.state.outtray_relay.done
        # Its lease was given back: the next one need not wait for its end.
        app = make()
        async with started(app):
            enqueue(sqlite_outbox, "three")
            await delivered(app.state.outtray_relay, 1)

    asyncio.run(go())
    assert seen == ["up", "down"] * 2
    lines = events.read_text().splitlines()
    assert [line.split('"topic":"')[1].split('"')[0] for line in lines] == [
        "one",
        "two",
        "three",
    ]


def test_an_error_of_the_application(sqlite_outbox):
    """The relay stops cleanly all the same."""
    app = FastAPI(lifespan=outtray.fastapi.relay(sqlite_outbox.url, "null:"))

    async def go():
        with pytest.raises(ZeroDivisionError):
            async with started(app):
                enqueue(sqlite_outbox, "one")
                await delivered(app.state.outtray_relay, 1)
                raise ZeroDivisionError
        assert app.state.outtray_relay.done

    asyncio.run(go())


def test_a_relay_that_ends(tmp_path, caplog):
    """It is told, and the application goes on."""
    sqlite3.connect(tmp_path / "a.db").close()
    app = FastAPI(lifespan=outtray.fastapi.relay(f"sqlite:{tmp_path}/a.db", "null:"))

    async def go():
        async with started(app):
            async with asyncio.timeout(240):
                while not app.state.outtray_relay.done:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "outtray.relay"):
        asyncio.run(go())
    assert "the relay in this process has ended" in caplog.text
    assert "outtray init" in caplog.text


def test_a_wrong_setting():
    app = FastAPI(lifespan=outtray.fastapi.relay("sqlite:a.db", "nonsense://x"))

    async def go():
        async with started(app):
            raise AssertionError("not reached")

    with pytest.raises(outtray.ConfigError):
        asyncio.run(go())


def test_from_the_environment(sqlite_outbox, monkeypatch):
    monkeypatch.setenv("OUTTRAY_STORE_URL", sqlite_outbox.url)
    monkeypatch.setenv("OUTTRAY_SINK_URL", "null:")
    app = FastAPI(lifespan=outtray.fastapi.relay())

    async def go():
        async with started(app):
            enqueue(sqlite_outbox, "one")
            await delivered(app.state.outtray_relay, 1)

    asyncio.run(go())


# --- events for the application itself ---


def test_handlers(sqlite_outbox):
    """They have what the application opens, from its start to its end."""
    seen, open_things = [], []

    @contextlib.asynccontextmanager
    async def own(app):
        open_things.append("a pool")
        yield
        open_things.clear()

    relay = outtray.fastapi.relay(
        sqlite_outbox.url, lifespan=own, tasks=3, settings={"retry.min_ms": 1}
    )

    @relay.handler("orders.*")
    async def deliver(event):
        assert open_things == ["a pool"]
        await asyncio.sleep(0.01)
        seen.append((event.topic, threading.current_thread()))

    @relay.handler("mail")
    def in_a_thread(event):
        assert open_things == ["a pool"]
        if event.attempts == 0:
            next(iter([]))  # an outcome, like any other exception
        seen.append((event.topic, threading.current_thread()))

    class Object:
        async def __call__(self, batch):
            for event in batch:
                seen.append((event.topic, threading.current_thread()))

    relay.handler("batch", batch=True)(Object())
    app = FastAPI(lifespan=relay)

    async def go(*topics):
        seen.clear()
        async with started(app):
            enqueue(sqlite_outbox, *topics)
            await delivered(app.state.outtray_relay, len(topics))
            with pytest.raises(outtray.Misuse, match="has started"):
                relay.handler("late")
        assert not open_things
        assert sorted(topic for topic, _ in seen) == sorted(topics)

    asyncio.run(go("orders.created", "mail", "batch", "orders.paid"))
    loop = threading.current_thread()
    assert all((thread is loop) == (topic != "mail") for topic, thread in seen)
    # A server may start an application more than once: test clients do.
    asyncio.run(go("orders.created", "mail"))


def test_a_stop_while_a_handler_works(sqlite_outbox):
    """It is waited for, and what it did is written."""
    began, seen = threading.Event(), []
    relay = outtray.fastapi.relay(sqlite_outbox.url)

    @relay.handler("*")
    def slow(event):
        began.set()
        threading.Event().wait(0.3)
        seen.append(event.topic)

    app = FastAPI(lifespan=relay)

    async def go():
        async with started(app):
            enqueue(sqlite_outbox, "one")
            assert await asyncio.to_thread(began.wait, 240)
        assert seen == ["one"]
        assert app.state.outtray_relay.stats().delivered == 1

    asyncio.run(go())


@pytest.mark.parametrize("handled", [False, True])
def test_a_sink_or_a_handler(handled, sqlite_outbox):
    """One of the two, and the application does not start without."""
    closed = []

    @contextlib.asynccontextmanager
    async def own(app):
        closed.append("never opened")
        yield

    options = {"lifespan": own}
    if handled:
        options["sink"] = "null:"
    relay = outtray.fastapi.relay(sqlite_outbox.url, **options)
    if handled:
        relay.handler("*")(print)
        with pytest.raises(outtray.Misuse, match="a handler already, print"):
            relay.handler("*")(print)
    wanted = "leave the sink out" if handled else "no sink and no handler"

    async def go():
        with pytest.raises(outtray.Misuse, match=wanted):
            async with started(FastAPI(lifespan=relay)):
                raise AssertionError("not reached")

    asyncio.run(go())
    assert not closed
    with pytest.raises(ValueError, match="tasks"):
        outtray.fastapi.relay(tasks=0)


def test_a_sink_of_the_environment(sqlite_outbox, monkeypatch):
    """A setting for `outtray relay` need not be in the way."""
    monkeypatch.setenv("OUTTRAY_STORE_URL", sqlite_outbox.url)
    monkeypatch.setenv("OUTTRAY_SINK_URL", "null:")
    seen = []
    relay = outtray.fastapi.relay(sink="script:", environment=True)
    relay.handler("*")(lambda event: seen.append(event.topic))
    app = FastAPI(lifespan=relay)

    async def go():
        async with started(app):
            enqueue(sqlite_outbox, "one")
            await delivered(app.state.outtray_relay, 1)

    asyncio.run(go())
    assert seen == ["one"]
