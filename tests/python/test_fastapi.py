"""The relay in the lifespan of an application, on the loop of its requests."""

import asyncio
import contextlib
import logging
import sqlite3

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
    async with asyncio.timeout(60):
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
        assert not app.state.outtray_relay.done

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
            async with asyncio.timeout(60):
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
