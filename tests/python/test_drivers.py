"""Events are as atomic as the caller's own rows, on every driver."""

import asyncio
import datetime
import functools
import json
import pathlib
import sys
import uuid

import outtray
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import drivers  # noqa: E402

NASTY = b"\x00\xff%s %% ' \" \\ $1 ? \xf0\x9f\x92\xa9"


class Undo(Exception):
    """Raised to roll back."""


@pytest.fixture(params=drivers.ALL)
def case(request, shared_outboxes):
    """(an outbox, what makes a connection to it)"""
    cls, kind, options = drivers.ALL[request.param]
    where = shared_outboxes[kind]
    where.empty()
    return where, functools.partial(cls, where.url, **options)


def run(test):
    """Run the coroutine function of a test."""

    def wrapper(case):
        asyncio.run(test(*case))

    wrapper.__name__ = test.__name__
    return wrapper


@run
async def test_commit(where, connect):
    async with connect() as c, c.transaction():
        await c.write(1)
        event_id = await c.enqueue("orders", {"n": 1}, key="7")
    assert where.orders() == [1]
    assert where.events("id, topic, key") == [(as_id(where, event_id), "orders", "7")]


@run
async def test_rollback(where, connect):
    async with connect() as c:
        with pytest.raises(Undo):
            async with c.transaction():
                await c.write(1)
                await c.enqueue("orders", b"1")
                raise Undo
        async with c.transaction():
            await c.write(2)
            await c.enqueue("second", b"2")
    assert where.orders() == [2]
    assert where.events() == ["second"]


@run
async def test_savepoints(where, connect):
    async with connect() as c, c.transaction():
        await c.write(1)
        await c.enqueue("outer", b"1")
        async with c.savepoint():
            await c.write(2)
            await c.enqueue("released", b"2")
        with pytest.raises(Undo):
            async with c.savepoint():
                await c.write(3)
                await c.enqueue("undone", b"3")
                raise Undo
        await c.enqueue("last", b"4")
    assert where.orders() == [1, 2]
    assert where.events() == ["outer", "released", "last"]


@run
async def test_rollback_of_a_released_savepoint(where, connect):
    async with connect() as c:
        with pytest.raises(Undo):
            async with c.transaction():
                async with c.savepoint():
                    await c.write(1)
                    await c.enqueue("released", b"1")
                raise Undo
    if isinstance(c, drivers.Sqlite3) and c.level:
        return  # here the savepoint is the transaction, of the rows as well
    if isinstance(c, drivers.Aiosqlite):
        return
    assert where.orders() == []
    assert where.events() == []


@run
async def test_autocommit_is_refused(where, connect):
    async with connect(bare=True) as c:
        with pytest.raises(outtray.NotInTransaction) as caught:
            await c.enqueue("orders", b"1")
            await c.commit()
        assert len(str(caught.value)) > 60
        assert caught.value.code == -23
        assert not caught.value.retryable
        with pytest.raises(outtray.NotInTransaction):
            await c.enqueue_many([outtray.Event("orders")])
            await c.commit()
    assert where.events() == []


@run
async def test_what_is_stored(where, connect):
    moment = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, datetime.timezone.utc)
    given = "01912D68-783e-7a03-8467-5661c1240001"
    async with connect() as c, c.transaction():
        made = await c.enqueue(
            "t'\"%s\\",
            NASTY,
            key="k'%$1?\\é",
            type="ty\"'%",
            headers={"a": 'q"\\%s é'},
            deliver_at=moment,
            id=given,
        )
        await c.enqueue("empty", b"")
        await c.enqueue("tombstone")
        await c.enqueue("text", "é%s")
        await c.enqueue("json", {"ü": [1, None]})
        await c.enqueue("view", memoryview(b"view"))
    assert made == given.lower()
    first, *rest = where.events("topic, payload, key, type, headers, deliver_at, id")
    assert first[:4] == ("t'\"%s\\", NASTY, "k'%$1?\\é", "ty\"'%")
    headers = first[4] if where.kind == "pg" else json.loads(first[4])
    assert headers == {"a": 'q"\\%s é'}
    if where.kind == "pg":
        assert first[5] == moment
    else:
        assert first[5] == int(moment.timestamp()) * 1_000_000 + 678901
    assert first[6] == as_id(where, made)
    assert [(row[0], row[1]) for row in rest] == [
        ("empty", b""),
        ("tombstone", None),
        ("text", "é%s".encode()),
        ("json", '{"ü":[1,null]}'.encode()),
        ("view", b"view"),
    ]
    assert [row[2:6] for row in rest] == [(None,) * 4] * 5


@run
async def test_many(where, connect):
    async with connect() as c, c.transaction():
        ids = await c.enqueue_many(
            outtray.Event(f"t{n}", {"n": n}, key=str(n)) for n in range(4100)
        )
    assert len(set(ids)) == 4100
    assert where.events("id, topic") == [
        (as_id(where, event_id), f"t{n}") for n, event_id in enumerate(ids)
    ]


@run
async def test_a_bad_event_leaves_the_transaction_usable(where, connect):
    bad = [
        (outtray.TooLarge, ("t", b"x" * 1_000_000), {}),
        (outtray.InvalidEvent, ("", b""), {}),
        (outtray.InvalidEvent, ("t", b""), {"id": "no-uuid"}),
        (outtray.InvalidEvent, ("t", b""), {"headers": {"a": 1}}),
        (outtray.InvalidEvent, ("t", b""), {"deliver_at": datetime.datetime.now()}),
        (outtray.InvalidText, ("\ud800", b""), {}),
        (outtray.NotSerializable, ("t", {1, 2}), {}),
        (outtray.NotSerializable, ("t", float("nan")), {}),
    ]
    async with connect() as c, c.transaction():
        await c.write(1)
        for error, arguments, options in bad:
            with pytest.raises(error):
                await c.enqueue(*arguments, **options)
        with pytest.raises(outtray.InvalidEvent):
            await c.enqueue_many([outtray.Event("good"), outtray.Event("")])
        await c.enqueue("fine", b"")
    assert where.orders() == [1]
    # What was added one by one before the bad one stays added.
    added = isinstance(c, (drivers.AlchemyAdd, drivers.AsyncAlchemyAdd))
    assert where.events() == ["good"] * added + ["fine"]


def as_id(where, text):
    return uuid.UUID(text) if where.kind == "pg" else text
