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
from outtray import _core

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import drivers  # noqa: E402

NASTY = b"\x00\xff%s %% ' \" \\ $1 ? \xf0\x9f\x92\xa9"


class Undo(Exception):
    """Raised to roll back."""


@pytest.fixture(params=drivers.ALL)
def case(request, shared_outboxes):
    """(an outbox, what makes a connection to it)"""
    cls, kind, options = drivers.ALL[request.param]
    if options.get("newer") and not drivers.NEWER:
        pytest.skip("the attribute autocommit of sqlite3 needs Python 3.12")
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
    if isinstance(c, (drivers.Sqlite3, drivers.Aiosqlite)) and c.level:
        return  # here the savepoint is the transaction, of the rows as well
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
async def test_many_of_every_kind(where, connect):
    """So many that PostgreSQL gets a COPY; in the transaction, like any other."""
    moment = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, datetime.timezone.utc)
    kinds = [
        {"topic": "nasty", "payload": NASTY, "key": "k%s\"'\\é", "type": "T"},
        {"topic": "tombstone", "headers": {"h": "é\\"}},
        {"topic": "empty", "payload": b"", "key": "", "deliver_at": moment},
    ]
    events = [outtray.Event(**kinds[n % 3]) for n in range(240)]
    async with connect() as c:
        with pytest.raises(Undo):
            async with c.transaction():
                await c.enqueue_many(events)
                raise Undo
        async with c.transaction():
            await c.write(1)
            with pytest.raises(Undo):
                async with c.savepoint():
                    await c.enqueue_many(events)
                    raise Undo
            ids = await c.enqueue_many(iter(events))
            await c.enqueue("after")
    assert where.orders() == [1]
    assert where.events("id")[:-1] == [as_id(where, one) for one in ids]
    columns = "topic, payload, key, type, headers, deliver_at"
    rows = where.events(columns)
    assert rows[240:] == [("after", None, None, None, None, None)]
    headers, until = {"h": "é\\"}, moment
    if where.kind == "sqlite":
        headers, until = json.dumps(headers), 1893553445678901
        rows = [(*r[:4], r[4] and json.dumps(json.loads(r[4])), r[5]) for r in rows]
    assert rows[:240] == 80 * [
        ("nasty", NASTY, "k%s\"'\\é", "T", None, None),
        ("tombstone", None, None, None, headers, None),
        ("empty", b"", "", None, None, until),
    ]


@run
async def test_the_bad_one_of_many(where, connect):
    """It is named by its place in the list, and nothing is sent."""
    good = [outtray.Event("t")] * 4050
    given = "01912d68-783e-7a03-8467-5661c1240001"
    async with connect() as c, c.transaction():
        if isinstance(c, (drivers.AlchemyAdd, drivers.AsyncAlchemyAdd)):
            return  # add() takes one
        for bad, text in [
            ({"topic": ""}, "^event 4050: topic: it is empty"),
            ({"topic": "t", "key": 7}, "^event 4050: key must be str"),
            ({"topic": "t", "headers": {"a": 1}}, "^event 4050: header 'a'"),
            ({"topic": "t", "payload": {1}}, "^event 4050: payload for 't'"),
            ({"topic": "t", "key": "\ud800"}, "^event 4050: .*not UTF-8"),
        ]:
            with pytest.raises(outtray.EventError, match=text):
                await c.enqueue_many([*good, outtray.Event(**bad), *good])
        twice = [outtray.Event("t", id=given)] * 2
        with pytest.raises(
            outtray.InvalidEvent, match="^event 4051: .*that of event 4050$"
        ):
            await c.enqueue_many([*good, *twice])
    assert where.events() == []


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


LIMITS = {  # what is allowed just so, and what is one byte too much
    "topic": ("é" * 124 + "t", "é" * 125),
    "key": ("é" * 512, "é" * 512 + "k"),
    "type": ("é" * 127 + "t", "é" * 128),
    "payload": (b"\x00" * 921_600, b"\x00" * 921_601),
    "headers": ({f"h{n}": "v" for n in range(64)}, {f"h{n}": "v" for n in range(65)}),
}


@run
async def test_limits(where, connect):
    most = {name: fits for name, (fits, _) in LIMITS.items()}
    async with connect() as c, c.transaction():
        for name, (_, too_much) in LIMITS.items():
            with pytest.raises(outtray.EventError) as caught:
                await c.enqueue(**{**most, name: too_much})
            assert name in str(caught.value)
            assert isinstance(caught.value, outtray.TooLarge) or name == "headers"
        await c.enqueue(**most)
        async with c.savepoint():
            await c.enqueue_many([outtray.Event(**most)])
    expected = (most["topic"], most["key"], most["type"], most["payload"])
    assert where.events("topic, key, type, payload") == [expected] * 2


@run
async def test_wrong_types(where, connect):
    async with connect() as c, c.transaction():
        for options, text in [
            ({"topic": 7}, "topic must be str"),
            ({"key": 7}, "key must be str"),
            ({"type": 7}, "type must be str"),
            ({"headers": ["a"]}, "headers must be a mapping"),
            ({"headers": {"a": 1}}, "must be str"),
            ({"deliver_at": "soon"}, "must be a datetime"),
            ({"payload": memoryview(b"abcd")[::2]}, "contiguous"),
        ]:
            with pytest.raises(outtray.InvalidEvent, match=text) as caught:
                await c.enqueue(**{"topic": "t", **options})
            detail = caught.value.detail
            assert detail["code"] == caught.value.code == -22
            assert detail["name"] == "INVALID_EVENT"
            assert detail["retryable"] is False
            assert detail["message"] == str(caught.value)
        await c.enqueue("fine")
    assert where.events() == ["fine"]


@run
async def test_many_of_a_wrong_type(where, connect):
    async with connect() as c, c.transaction():
        if isinstance(c, (drivers.AlchemyAdd, drivers.AsyncAlchemyAdd)):
            return  # add() takes one
        with pytest.raises(outtray.InvalidEvent, match="takes outtray.Event, not"):
            await c.enqueue_many([outtray.Event("t"), ("t", b"")])
        await c.enqueue_many([])
    assert where.events() == []


@run
async def test_concurrent(where, connect):
    """Connections that write at the same time, and one Outbox for all."""
    workers, rounds = 4, 12

    async def work(worker):
        async with connect() as c:
            for n in range(rounds):
                try:
                    async with c.transaction():
                        await c.write(worker * 1000 + n)
                        await c.enqueue(f"{worker}", {"n": n}, key=f"{worker}")
                        if n % 4 == 3:
                            raise Undo
                except Undo:
                    pass

    if isinstance(connect(), drivers.AsyncDriver):
        await asyncio.gather(*map(work, range(workers)))
    else:
        await asyncio.gather(
            *(asyncio.to_thread(asyncio.run, work(n)) for n in range(workers))
        )
    kept = [n for n in range(rounds) if n % 4 != 3]
    seen = {str(worker): [] for worker in range(workers)}
    for topic, payload in where.events("topic, payload"):
        seen[topic].append(json.loads(payload)["n"])
    assert seen == {str(worker): kept for worker in range(workers)}
    assert where.orders() == [w * 1000 + n for w in range(workers) for n in kept]


@run
async def test_closed(where, connect):
    async with connect() as c:
        pass
    sessions = (drivers.AlchemyAdd, drivers.AsyncAlchemyAdd)
    if isinstance(c, (drivers.Alchemy, drivers.AsyncAlchemy)) and c.session:
        expected = outtray.NotInTransaction  # a session can be used again
    elif isinstance(c, drivers.Django):
        expected = outtray.NotInTransaction  # and Django connects again
    elif isinstance(c, drivers.AsyncpgPool):
        import asyncpg

        expected = asyncpg.InterfaceError  # given back; it says so itself
    else:
        expected = outtray.ConnectionClosed
    if not isinstance(c, sessions):
        with pytest.raises(expected) as caught:
            await c.enqueue("t")
        assert len(str(caught.value)) > 40
    if isinstance(c, drivers.Django):
        c.conn.close()


@run
async def test_the_other_method(where, connect):
    async with connect() as c:
        if isinstance(c, drivers.AsyncDriver):
            with pytest.raises(outtray.UnsupportedConnection, match="await outbox.ae"):
                c.outbox.enqueue(c.target(), "t")
            with pytest.raises(outtray.UnsupportedConnection, match="await outbox.ae"):
                c.outbox.enqueue_many(c.target(), [])
        else:
            with pytest.raises(
                outtray.UnsupportedConnection, match=r"outbox.enqueue\("
            ):
                await c.outbox.aenqueue(c.target(), "t")
            with pytest.raises(
                outtray.UnsupportedConnection, match=r"outbox.enqueue\("
            ):
                await c.outbox.aenqueue_many(c.target(), [])
    assert where.events() == []


@run
async def test_an_error_of_the_server(where, connect):
    """It is the driver's own, and leaves what the driver leaves."""
    async with connect() as c:
        good, c.outbox = c.outbox, outtray.Outbox("nowhere")
        seen = []
        for call in (
            lambda: c.enqueue("t"),
            lambda: c.enqueue_many([outtray.Event("t")] * 300),
        ):
            with pytest.raises(Exception, match="(?i)nowhere") as caught:
                async with c.transaction():
                    await c.write(1)
                    await call()
            if not getattr(c, "pipeline", False):  # it tells at its end
                assert "`outtray init`" in caught.value.__notes__[0]
            seen.append(caught.type.__module__)
        assert seen[0] == seen[1] != "outtray.errors"
        c.outbox = good
        async with c.transaction():
            await c.write(2)
            await c.enqueue("fine")
    assert where.orders() == [2]
    assert where.events() == ["fine"]


def test_a_role_that_may_not(shared_outboxes):
    import psycopg

    with psycopg.connect(shared_outboxes["pg"].url) as conn:
        conn.execute("SET ROLE pg_read_all_stats")  # which every server has
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            outtray.Outbox().enqueue(conn, "t")
        conn.rollback()
    assert "`outtray init --app-role ROLE`" in caught.value.__notes__[0]


ENCODED = [drivers.Psycopg, drivers.PsycopgAsync, drivers.Psycopg2]


@pytest.mark.parametrize("driver", ENCODED)
def test_another_encoding(driver, shared_outboxes):
    """The text of a COPY would be taken for one in it."""
    where = shared_outboxes["pg"]
    where.empty()
    events = [outtray.Event("é", key="ü")] * 300

    async def go():
        async with driver(where.url) as c, c.transaction():
            if driver is drivers.Psycopg2:
                c.conn.set_client_encoding("LATIN1")
            else:
                await c.execute("SET client_encoding = LATIN1")
            await c.enqueue_many(events)

    asyncio.run(go())
    assert where.events("topic, key") == [("é", "ü")] * 300


class Order:
    """What an application makes of its rows."""

    def __init__(self, *, n):
        self.n = n


OWN = ["sqlite3", "aiosqlite", "psycopg", "psycopg-async"]


@pytest.mark.parametrize("name", OWN)
def test_rows_of_the_application(name, shared_outboxes):
    """A connection that makes objects of rows makes them of its own alone; and
    cursors of psycopg that take the statements of the server."""
    import psycopg
    from outtray.testing import EnqueuedEvents
    from psycopg.rows import class_row

    cls, kind, options = drivers.ALL[name]
    where = shared_outboxes[kind]
    where.empty()
    inbox, event_id = outtray.Inbox(), uuid.uuid4()
    raw = getattr(psycopg, "AsyncRawCursor" if "async" in name else "RawCursor")

    def make(cursor, row):
        return Order(**{column[0]: n for column, n in zip(cursor.description, row)})

    async def go(c):
        awaited = isinstance(c, drivers.AsyncDriver)
        if kind == "pg":
            c.conn.row_factory, c.conn.cursor_factory = class_row(Order), raw
        else:
            c.conn.row_factory = make
        found = EnqueuedEvents(c.conn)
        await found.aload() if awaited else None
        await c.enqueue("orders", b"%", key="%s")
        if awaited:
            async with inbox.aonce(c.conn, "billing", event_id) as first:
                assert first
        else:
            with inbox.once(c.conn, "billing", event_id) as first:
                assert first
        await found.aload() if awaited else None
        found.assert_enqueued("orders", key="%s", payload=b"%")
        await c.commit()

    async def main():
        async with cls(where.url, **options) as c:
            await go(c)

    asyncio.run(main())
    assert where.events("topic, key") == [("orders", "%s")]


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+psycopg2"])
def test_a_copy_is_one_of_sqlalchemy(scheme, shared_outboxes):
    """Its listeners see it, as they see every other statement."""
    import sqlalchemy

    where = shared_outboxes["pg"]
    where.empty()
    engine = sqlalchemy.create_engine(drivers.alchemy_url(where.url, scheme))
    seen = []
    sqlalchemy.event.listen(
        engine, "after_cursor_execute", lambda _, __, sql, *___: seen.append(sql)
    )
    with engine.begin() as conn:
        for _ in range(2):
            outtray.Outbox().enqueue_many(conn, [outtray.Event("t")] * 200)
    engine.dispose()
    assert [sql.split()[0] for sql in seen] == ["COPY", "COPY"]
    assert where.events() == ["t"] * 400


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+asyncpg"])
def test_the_connection_below_an_async_one(scheme, shared_outboxes):
    """run_sync hands out one that looks like any other, and cannot COPY; and
    one that was lost is told as SQLAlchemy tells it."""
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    where = shared_outboxes["pg"]
    where.empty()
    outbox, events = outtray.Outbox(), [outtray.Event("t")] * 200

    async def go():
        engine = create_async_engine(drivers.alchemy_url(where.url, scheme))
        async with engine.begin() as conn:
            await conn.run_sync(outbox.enqueue_many, events)
        async with engine.connect() as conn:
            await conn.begin()
            await conn.invalidate()
            with pytest.raises(sqlalchemy.exc.PendingRollbackError):
                await outbox.aenqueue(conn, "t")
            await conn.rollback()
            async with conn.begin():
                await outbox.aenqueue(conn, "after")
        await engine.dispose()

    asyncio.run(go())
    assert where.events() == ["t"] * 200 + ["after"]


def test_how_many_are_sent():
    """From 200 on by a COPY, where the driver has one and no lock is taken."""
    events = [outtray.Event("t")] * 200
    for strict, copies, n, expected in [
        (False, True, 200, "COPY "),
        (False, True, 199, "INSERT "),
        (False, False, 200, "INSERT "),
        (True, True, 200, "WITH "),
    ]:
        outbox = outtray.Outbox(strict=strict)
        copies = copies and outbox._may_copy(_core.POSTGRESQL)
        ((sql, *_),) = outbox._build_many(
            _core.DOLLAR, _core.POSTGRESQL, events[:n], copies
        )
        assert sql.startswith(expected)
    assert not outtray.Outbox()._may_copy(_core.SQLITE)


def test_every_statement_begins_with_insert():
    """sqlite3 begins its transaction before such a one, and before no other."""
    one = ("t", "k", None, None, b"", None, None)
    for strict in (False, True):
        for events in ((one,), (one, one)):
            outbox = outtray.Outbox(strict=strict)
            sql, *_ = outbox._build(_core.QMARK, _core.SQLITE, events)
            assert sql.startswith("INSERT ")


def test_when_sqlite3_is_in_a_transaction():
    """Of all its ways, also those that this version of Python does not have."""
    from outtray.adapters.sqlite3 import LEGACY, atomic

    for autocommit, level, in_transaction, expected in [
        (False, "", True, True),
        (False, None, False, True),
        (True, "", False, False),
        (True, None, True, True),
        (LEGACY, "", False, True),
        (LEGACY, "DEFERRED", False, True),
        (LEGACY, None, False, False),
        (LEGACY, None, True, True),
    ]:
        assert atomic(autocommit, level, in_transaction) is expected


def as_id(where, text):
    return uuid.UUID(text) if where.kind == "pg" else text
