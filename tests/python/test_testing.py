"""outtray.testing and the plugin of pytest, as the tests of others use them."""

import asyncio
import contextlib
import datetime
import pathlib
import sqlite3
import sys
import unittest.mock

import outtray
import outtray.testing
import psycopg
import psycopg2
import pytest
import sqlalchemy
import sqlalchemy.orm
from outtray import schema
from outtray.testing import EnqueuedEvents, create_outbox

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import drivers  # noqa: E402

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("name", drivers.ALL)
def test_on_every_connection(name, shared_outboxes):
    """It sees the open transaction, and nothing of one that was rolled back;
    and looking leaves the connection as it was."""
    cls, kind, options = drivers.ALL[name]
    if options.get("newer") and not drivers.NEWER:
        pytest.skip("the attribute autocommit of sqlite3 needs Python 3.12")
    where = shared_outboxes[kind]
    where.empty()

    async def go():
        async with cls(where.url, **options) as c:
            await c.enqueue("before") if name.endswith("-add") else None
            await c.rollback() if name.endswith("-add") else None
            found = EnqueuedEvents(c.target())
            events = found.aload if isinstance(c, drivers.AsyncDriver) else None

            async def seen():
                await events() if events else None
                return [one.topic for one in found]

            await events() if events else None
            with contextlib.suppress(ZeroDivisionError):
                async with c.transaction():
                    await c.enqueue("undone", b"1")
                    raise ZeroDivisionError
            assert await seen() == []
            async with c.transaction():
                await c.write(1)
                event_id = await c.enqueue(
                    "orders", {"n": 1}, key="7", headers={"a": "b"}, type="T"
                )
                if not name.endswith(("-add", "pipeline")):
                    assert await seen() == ["orders"]
            assert await seen() == ["orders"]
            async with c.transaction():  # not a savepoint in what seen() began
                await c.write(2)
            one = found.assert_enqueued("orders", id=event_id)
            assert (one.id, one.topic, one.key) == (event_id, "orders", "7")
            assert (one.type, one.headers) == ("T", {"a": "b"})
            assert (one.payload, one.json()) == (b'{"n":1}', {"n": 1})
            age = datetime.datetime.now(datetime.timezone.utc) - one.created_at
            assert abs(age) < datetime.timedelta(minutes=5)
            assert one.deliver_at is None

    asyncio.run(go())
    assert where.orders() == [1, 2]


@pytest.mark.parametrize("kind", ["pg", "sqlite"])
@pytest.mark.parametrize("hidden", [(), ("psycopg",), ("psycopg", "psycopg2")])
def test_by_url(kind, hidden, shared_outboxes, monkeypatch):
    where = shared_outboxes[kind]
    where.empty()
    outbox = outtray.Outbox()
    for driver in hidden:
        monkeypatch.setitem(sys.modules, driver, None)
    for url in {
        where.url,
        where.url.replace("postgresql:", "postgresql+asyncpg:"),
        where.url.replace("sqlite:", "sqlite+aiosqlite:///"),
    }:
        found = EnqueuedEvents(url)
        create_outbox(url)
        if kind == "sqlite":
            conn = sqlite3.connect(where.url.removeprefix("sqlite:"))
            with conn:
                outbox.enqueue(conn, "t", "text")
            conn.close()
        else:
            where.query("SELECT outtray.enqueue('t', 'text'::text)")
        found.assert_enqueued("t", payload="text", count=1)


@pytest.mark.parametrize("kind", ["pg", "sqlite"])
def test_create_outbox(kind, pg, tmp_path):
    url = pg.url if kind == "pg" else f"sqlite:{tmp_path}/new.db"
    create_outbox(url, "shop")
    create_outbox(url, "shop")
    found = EnqueuedEvents(url, "shop")
    outbox = outtray.Outbox("shop")
    if kind == "pg":
        with psycopg.connect(url) as conn:
            outbox.enqueue(conn, "t")
        engine = sqlalchemy.create_engine(
            url.replace("postgresql", "postgresql+psycopg")
        )
    else:
        conn = sqlite3.connect(tmp_path / "new.db")
        with conn:
            outbox.enqueue(conn, "t")
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        conn.close()
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/new.db")
    found.assert_enqueued("t")
    # It is what the relay wants.
    with outtray.Relay(url, "null:", outbox="shop", until_empty=True) as relay:
        relay.run()
    with engine.begin() as conn:
        create_outbox(conn, "second")
        dialect = "postgresql" if kind == "pg" else "sqlite"
        for statement in schema.statements(schema.sql(dialect, 1, "third")):
            conn.execute(sqlalchemy.text(statement))
    with sqlalchemy.orm.Session(engine) as session:
        assert len(EnqueuedEvents(session, "second")) == 0
    with outtray.Relay(url, "null:", outbox="third", until_empty=True) as relay:
        relay.run()
    with engine.begin() as conn:
        for statement in schema.statements(schema.drop_sql(dialect, "third")):
            conn.execute(sqlalchemy.text(statement))
    with pytest.raises(outtray.StoreNoSchema):
        with outtray.Relay(url, "null:", outbox="third", until_empty=True) as relay:
            relay.run()
    engine.dispose()
    if kind == "pg":
        for connect in (psycopg.connect, psycopg2.connect):
            with connect(url) as conn:
                create_outbox(conn, "fourth")
                assert len(EnqueuedEvents(conn, "fourth")) == 0
                conn.rollback()


def test_schema_of_others():
    with pytest.raises(outtray.Unsupported, match="mysql"):
        schema.sql("mysql", 1)
    with pytest.raises(outtray.NotFound, match="no migration 99"):
        schema.sql("sqlite", 99)
    with pytest.raises(outtray.Misuse):
        schema.drop_sql("sqlite", "no name")


def test_assertions(memory_outbox):
    outbox, found = outtray.Outbox(), EnqueuedEvents(memory_outbox)
    with pytest.raises(AssertionError, match=r"^an event is not enqueued; nothing is$"):
        found.assert_enqueued()
    outbox.enqueue(memory_outbox, "orders.created", {"id": 7, "at": "now"}, key="7")
    outbox.enqueue(
        memory_outbox, "orders.created", {"id": 8}, key="8", headers={"a": "b"}
    )
    outbox.enqueue(memory_outbox, "orders.gone", None, key="8", type="Gone")
    outbox.enqueue(memory_outbox, "raw", b"\xff")
    for wanted in [
        {},
        {"topic": "orders.created", "count": 2},
        {"key": "7", "payload": {"id": 7, "at": unittest.mock.ANY}},
        {"payload": '{"id":8}'},
        {"payload": b"\xff", "count": 1},
        {"payload": None, "type": "Gone"},
        {"key": None},
        {"headers": {"a": "b"}},
        {"headers": {}, "count": 4},
        {"topic": "raw", "count": 1},
        {"key": "8", "payload": lambda order: order["id"] == 8},
    ]:
        found.assert_enqueued(**wanted)
    for wanted, text in [
        ({"topic": "orders.paid"}, "an event with topic='orders.paid' is not enqueued"),
        ({"topic": "orders.created", "count": 3}, "is enqueued 2 times, not 3"),
        ({"key": "7", "payload": {"id": 9}}, r"key='7' payload=b.*another payload"),
        ({"payload": b"\xfe"}, "another payload"),
        ({"headers": {"a": "c"}}, "another headers"),
        ({"id": "0"}, "another id"),
    ]:
        with pytest.raises(AssertionError, match=text):
            found.assert_enqueued(**wanted)
    found.refute_enqueued("orders.paid")
    with pytest.raises(AssertionError, match="key='8' is enqueued: 'orders.created'"):
        found.refute_enqueued(key="8")
    assert [one.key for one in found.all("orders.created")] == ["7", "8"]
    assert len(found) == 4
    assert found.assert_enqueued("orders.gone").json() is None
    found.clear()
    assert list(found) == []
    outbox.enqueue_many(memory_outbox, [outtray.Event("many") for _ in range(30)])
    with pytest.raises(AssertionError, match="and 10 more"):
        found.assert_enqueued("few")
    assert repr(found) == "<outtray.testing.EnqueuedEvents of 'outtray'>"


def test_another_serializer(memory_outbox):
    found = EnqueuedEvents(memory_outbox, decode=lambda data: data[::-1])
    outtray.Outbox(serializer=lambda text: b"cba").enqueue(memory_outbox, "t", [1])
    found.assert_enqueued("t", payload=lambda it: it == b"abc")
    found.decode = outtray.json_serializer
    with pytest.raises(AssertionError, match="another payload"):
        found.assert_enqueued("t", payload={})


def test_deliver(memory_outbox):
    outbox, found = outtray.Outbox(), EnqueuedEvents(memory_outbox)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    outbox.enqueue(memory_outbox, "scheduled", deliver_at=later)
    outbox.enqueue(memory_outbox, "first")
    seen = []

    def handle(event):
        seen.append(event.topic)
        if event.topic == "first":
            outbox.enqueue(memory_outbox, "second")
        if event.topic == "bad" and seen.count("bad") < 3:
            raise ValueError("not today")

    assert found.deliver(handle) == 2
    assert found.deliver(handle) == 0
    assert seen == ["first", "second"]
    outbox.enqueue(memory_outbox, "bad")
    for _ in range(2):
        with pytest.raises(ValueError, match="not today"):
            found.deliver(handle)
    assert found.deliver(handle) == 1
    assert found.deliver(handle, now=later) == 1
    assert seen == ["first", "second", "bad", "bad", "bad", "scheduled"]
    outbox.enqueue(memory_outbox, "loop")
    with pytest.raises(AssertionError, match="without an end"):
        found.deliver(lambda event: outbox.enqueue(memory_outbox, "loop"))

    async def ahandle(event):
        await asyncio.sleep(0)
        seen.append(event.topic)

    found.clear()
    outbox.enqueue(memory_outbox, "awaited")
    assert asyncio.run(found.adeliver(ahandle)) == 1
    assert seen[-1] == "awaited"

    async def again(event):
        outbox.enqueue(memory_outbox, "loop")

    outbox.enqueue(memory_outbox, "loop")
    with pytest.raises(AssertionError, match="without an end"):
        asyncio.run(found.adeliver(again))


def test_misuse(tmp_path):
    async def go():
        import aiosqlite

        async with aiosqlite.connect(tmp_path / "a.db") as conn:
            found = EnqueuedEvents(conn)
            with pytest.raises(outtray.Misuse, match="aload"):
                found.all()
            with pytest.raises(outtray.Misuse, match="not awaited"):
                create_outbox(conn)

    asyncio.run(go())
    with pytest.raises(outtray.UnsupportedConnection):
        EnqueuedEvents(object())
    with pytest.raises(outtray.Unsupported, match="mysql"):
        EnqueuedEvents("mysql://h/d")
    with pytest.raises(outtray.Misuse):
        EnqueuedEvents(f"sqlite:{tmp_path}/a.db", "no name")


def test_text_that_comes_as_bytes(tmp_path):
    """An application may want its own text so."""
    conn = sqlite3.connect(tmp_path / "shop.db")
    create_outbox(conn)
    conn.text_factory = bytes
    events = EnqueuedEvents(conn)
    with conn:
        outtray.Outbox().enqueue(
            conn, "t", {"n": 1}, key="k", type="T", headers={"a": "b"}
        )
    found = events.assert_enqueued("t", key="k", type="T", headers={"a": "b"})
    assert events.assert_enqueued(id=found.id, payload={"n": 1}) == found
    told = []
    assert events.deliver(told.append) == 1 and told == [found]
    handled = []
    for _ in range(2):
        with conn, outtray.Inbox().once(conn, "billing", found.id) as first:
            handled.append(first)
    assert handled == [True, False]
    conn.close()


CONFTEST = """
import sqlite3
import outtray.testing, pytest

@pytest.fixture
def conn(tmp_path):
    conn = sqlite3.connect(tmp_path / "shop.db")
    outtray.testing.create_outbox(conn)
    conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    conn.commit()
    yield conn
    conn.close()

@pytest.fixture
def outtray_connection(conn):
    return conn
"""
SHOP = """
import outtray

outbox = outtray.Outbox()

def create_order(conn, id, fail=False):
    with conn:
        conn.execute("INSERT INTO orders VALUES (?)", [id])
        outbox.enqueue(conn, "orders.created", {"id": id}, key=str(id))
        if fail:
            raise RuntimeError
"""
TESTS = """
import pytest, shop

def test_order(conn, outtray_outbox):
    shop.create_order(conn, 7)
    outtray_outbox.assert_enqueued(topic="orders.created", key="7", payload={"id": 7})
    assert len(outtray_outbox) == 1

def test_short(conn, assert_enqueued):
    shop.create_order(conn, 7)
    assert assert_enqueued("orders.created").json() == {"id": 7}

def test_rollback(conn, outtray_outbox):
    with pytest.raises(RuntimeError):
        shop.create_order(conn, 7, fail=True)
    outtray_outbox.refute_enqueued()

def test_consumer(conn, outtray_outbox):
    shop.create_order(conn, 7)
    seen = []
    assert outtray_outbox.deliver(lambda event: seen.append(event.json())) == 1
    assert seen == [{"id": 7}]

def test_wrong(conn, outtray_outbox):
    shop.create_order(conn, 7)
    outtray_outbox.assert_enqueued("orders.created", key="8")
"""
# Of the files of tests alone; not what this process was started with.
OWN = ("-p", "no:cacheprovider", "-p", "no:timeout")


def test_the_plugin(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    done = pytester.runpytest_subprocess(*OWN)
    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(
        [
            "E * AssertionError: an event with topic='orders.created', key='8' is "
            "not enqueued; there is",
            "E *'orders.created' key='7' payload=*  (another key)",
        ]
    )


def test_the_setting_of_the_plugin(pytester, sqlite_outbox):
    pytester.makeini(f"[pytest]\nouttray_store = {sqlite_outbox.url}\n")
    path = sqlite_outbox.url.removeprefix("sqlite:")
    pytester.makepyfile(
        shop=SHOP,
        test_shop=f"""
        import sqlite3, shop
        def test_order(outtray_outbox):
            conn = sqlite3.connect({path!r})
            conn.execute("DROP TABLE orders")
            conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            shop.create_order(conn, 7)
            conn.close()
            outtray_outbox.assert_enqueued(key="7")
        """,
    )
    pytester.runpytest_subprocess(*OWN).assert_outcomes(passed=1)


def test_the_plugin_without_a_database(pytester):
    pytester.makepyfile("def test_order(outtray_outbox): pass")
    done = pytester.runpytest_subprocess(*OWN)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*outtray_outbox does not know which database*"])


def test_the_plugin_costs_nothing(pytester):
    pytester.makepyfile(
        "import sys\ndef test_it(): assert 'outtray' not in sys.modules"
    )
    pytester.runpytest_subprocess(*OWN).assert_outcomes(passed=1)


def test_deliver_to_what_is_async(memory_outbox):
    """Nothing of it would run, and the test would pass."""
    found = EnqueuedEvents(memory_outbox)
    with memory_outbox:
        outtray.Outbox().enqueue(memory_outbox, "orders", b"1")

    async def handle(event):
        raise AssertionError("this does not run")

    with pytest.raises(outtray.OuttrayError, match="await adeliver"):
        found.deliver(handle)
