"""Mistakes are told with what to do instead."""

import asyncio
import contextlib
import copy
import datetime
import os
import pickle
import sqlite3

import aiosqlite
import asyncpg
import outtray
import outtray.cli
import outtray.sqlalchemy
import psycopg
import psycopg2
import pytest
import sqlalchemy
import sqlalchemy.orm
from outtray import Event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


@pytest.fixture
def outbox():
    return outtray.Outbox()


def test_what_is_no_connection(outbox, tmp_path):
    path = tmp_path / "a.db"
    conn = sqlite3.connect(path)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    for what, word in [
        (None, "no connection that outtray knows"),
        (conn.cursor(), "is not a connection"),
        (engine, "is not a connection"),
        (sqlalchemy.orm.sessionmaker(engine), "is not a connection"),
    ]:
        with pytest.raises(outtray.UnsupportedConnection, match=word):
            outbox.enqueue(what, "t")
    with pytest.raises(outtray.UnsupportedConnection, match="Session"):
        outbox.add(conn, "t")
    conn.close()


def test_the_other_method(outbox, tmp_path):
    async def go():
        conn = sqlite3.connect(tmp_path / "a.db")
        with pytest.raises(outtray.UnsupportedConnection, match=r"call outbox.enqueue"):
            await outbox.aenqueue(conn, "t")
        conn.close()
        async with aiosqlite.connect(tmp_path / "a.db") as conn:
            with pytest.raises(outtray.UnsupportedConnection, match="await outbox"):
                outbox.enqueue(conn, "t")

    asyncio.run(go())


def test_transactions_that_failed(outbox, pg_outbox):
    for connect, error in [
        (psycopg.connect, psycopg.Error),
        (psycopg2.connect, psycopg2.Error),
    ]:
        conn = connect(pg_outbox.url)
        with pytest.raises(error):
            conn.cursor().execute("SELECT 1/0")
        with pytest.raises(outtray.TransactionFailed):
            outbox.enqueue(conn, "t")
        conn.rollback()
        outbox.enqueue(conn, "t")
        conn.commit()
        conn.close()
        with pytest.raises((error, outtray.OuttrayError)):
            outbox.enqueue(conn, "t")
    assert pg_outbox.events() == ["t", "t"]


def test_alchemy_on_sqlite_without_install(outbox, sqlite_outbox):
    path = sqlite_outbox.url.removeprefix("sqlite:")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with sqlalchemy.orm.Session(engine) as session:
        session.begin()
        with pytest.raises(outtray.NotInTransaction, match="install"):
            outbox.enqueue(session, "t")
    with engine.connect() as conn, pytest.raises(outtray.NotInTransaction):
        outbox.enqueue(conn, "t")
    engine.dispose()


def test_alchemy_without_a_transaction(outbox, sqlite_outbox):
    """What to write is told in the words of the kind of session."""
    path = sqlite_outbox.url.removeprefix("sqlite:")

    async def go():
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        async with AsyncSession(engine) as session:
            with pytest.raises(
                outtray.NotInTransaction, match="`async with session.begin"
            ):
                await outbox.aenqueue(session, "t")
        await engine.dispose()

    asyncio.run(go())
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as conn:
        with pytest.raises(outtray.NotInTransaction, match="`with connection.begin"):
            outbox.enqueue(conn, "t")
    engine.dispose()


@pytest.mark.parametrize("autocommit", [True, False])
def test_psycopg_in_a_pipeline(autocommit, outbox, pg_outbox):
    """Its status says nothing there: the blocks of transaction() do."""
    conn = psycopg.connect(pg_outbox.url, autocommit=autocommit)
    with conn.pipeline() as pipeline:
        if autocommit:
            for begin in ("SELECT 1", "BEGIN"):
                conn.execute(begin)
                with pytest.raises(outtray.NotInTransaction, match="transaction"):
                    outbox.enqueue(conn, "t")
            pipeline.sync()  # now it is known
            outbox.enqueue(conn, "after BEGIN")
            conn.execute("COMMIT")
            with conn.transaction():
                outbox.enqueue(conn, "in a block")
            with pytest.raises(outtray.NotInTransaction):
                outbox.enqueue(conn, "t")
        else:
            outbox.enqueue(conn, "not autocommit")
            conn.commit()
    conn.close()
    assert pg_outbox.events() == (
        ["after BEGIN", "in a block"] if autocommit else ["not autocommit"]
    )


def test_a_pipeline_that_was_aborted(outbox, pg_outbox):
    """The driver tells, at the latest with the result; nothing is kept."""
    with psycopg.connect(pg_outbox.url) as conn:
        with pytest.raises((psycopg.Error, outtray.TransactionFailed)):
            with conn.pipeline():
                conn.execute("SELECT 1/0")
                outbox.enqueue(conn, "t")
        conn.rollback()
        outbox.enqueue(conn, "fine")
    assert pg_outbox.events() == ["fine"]


def test_async_transactions_that_failed(outbox, pg_outbox):
    async def go():
        conn = await psycopg.AsyncConnection.connect(pg_outbox.url)
        with pytest.raises(psycopg.Error):
            await conn.execute("SELECT 1/0")
        with pytest.raises(outtray.TransactionFailed, match="roll it back"):
            await outbox.aenqueue(conn, "t")
        await conn.rollback()
        await outbox.aenqueue(conn, "psycopg")
        await conn.commit()
        await conn.close()

        # asyncpg does not tell; the server does, and its error comes through.
        conn = await asyncpg.connect(pg_outbox.url)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            async with conn.transaction():
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await conn.execute("SELECT 1/0")
                await outbox.aenqueue(conn, "t")
        async with conn.transaction():
            await outbox.aenqueue(conn, "asyncpg")
        await conn.close()

        for driver in ("psycopg", "asyncpg"):
            url = pg_outbox.url.replace("postgresql:", f"postgresql+{driver}:")
            engine = create_async_engine(url)
            async with engine.connect() as conn:
                with pytest.raises(sqlalchemy.exc.DBAPIError):
                    await conn.execute(sqlalchemy.text("SELECT 1/0"))
                with pytest.raises(
                    (outtray.TransactionFailed, sqlalchemy.exc.DBAPIError)
                ):
                    await outbox.aenqueue(conn, "t")
                await conn.rollback()
                async with conn.begin():
                    await outbox.aenqueue(conn, f"alchemy {driver}")
            await engine.dispose()

    asyncio.run(go())
    assert pg_outbox.events() == [
        "psycopg",
        "asyncpg",
        "alchemy psycopg",
        "alchemy asyncpg",
    ]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_alchemy_autocommit_of_one_connection(driver, outbox, pg_outbox):
    """in_transaction() is true there, and no isolation level shows it."""
    url = pg_outbox.url.replace("postgresql:", f"postgresql+{driver}:")
    engine = sqlalchemy.create_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        with conn.begin():
            assert conn.in_transaction()
            with pytest.raises(outtray.NotInTransaction, match="AUTOCOMMIT"):
                outbox.enqueue(conn, "t")
        with sqlalchemy.orm.Session(conn) as session, session.begin():
            with pytest.raises(outtray.NotInTransaction, match="AUTOCOMMIT"):
                outbox.enqueue(session, "t")
    other = engine.execution_options(isolation_level="AUTOCOMMIT")
    with sqlalchemy.orm.Session(other) as session:
        outbox.add(session, "t")
        with pytest.raises(outtray.NotInTransaction, match="AUTOCOMMIT"):
            session.commit()
    with engine.begin() as conn:
        outbox.enqueue(conn, "fine")
    engine.dispose()
    assert pg_outbox.events() == ["fine"]


def test_alchemy_autocommit_on_sqlite(outbox, sqlite_outbox):
    """With install() it is a transaction all the same, or it is refused."""
    path = sqlite_outbox.url.removeprefix("sqlite:")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    outtray.sqlalchemy.install(engine)
    outtray.sqlalchemy.install(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        with contextlib.suppress(outtray.NotInTransaction):
            outbox.enqueue(conn, "undone")
        conn.rollback()
    with engine.begin() as conn:
        outbox.enqueue(conn, "fine")
    engine.dispose()
    assert sqlite_outbox.events() == ["fine"]


def test_install_is_for_sqlite(pg_outbox):
    url = pg_outbox.url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url)
    with pytest.raises(outtray.UnsupportedConnection, match="SQLite only"):
        outtray.sqlalchemy.install(engine)


def test_executescript_commits(outbox, sqlite_outbox):
    """As the driver documents it; what comes after it is a new transaction."""
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))
    outbox.enqueue(conn, "before")
    conn.executescript("SELECT 1")
    assert not conn.in_transaction
    outbox.enqueue(conn, "after")
    conn.rollback()
    conn.close()
    assert sqlite_outbox.events() == ["before"]


def test_another_thread(outbox, sqlite_outbox):
    """sqlite3 says so itself."""
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))

    async def go():
        with pytest.raises(sqlite3.ProgrammingError, match="thread"):
            await asyncio.to_thread(outbox.enqueue, conn, "t")

    asyncio.run(go())
    conn.close()


def test_without_the_rule(sqlite_outbox):
    path = sqlite_outbox.url.removeprefix("sqlite:")
    conn = sqlite3.connect(path, isolation_level=None)
    outtray.Outbox(require_transaction=False).enqueue(conn, "alone")
    conn.close()
    assert sqlite_outbox.events() == ["alone"]


@pytest.mark.parametrize(
    "wrong, text",
    [
        ({"topic": 7}, "topic must be str, not int"),
        ({"key": 7}, "key must be str, not int"),
        ({"type": Event}, "type must be str, not type"),
        ({"id": 7}, "id: .*7"),
        ({"headers": ["a"]}, r"headers must be a mapping of str to str, not \['a'\]"),
        ({"headers": {"a": 1}}, "header 'a': names and values must be str, not 1"),
        ({"deliver_at": 3600}, "deliver_at must be a datetime, not 3600"),
    ],
)
def test_values_of_a_wrong_type(wrong, text, outbox, memory_outbox):
    arguments = {"topic": "t", **wrong}
    with pytest.raises(outtray.InvalidEvent, match=f"^{text}"):
        outbox.enqueue(memory_outbox, **arguments)
    with pytest.raises(outtray.InvalidEvent, match=f"^event 1: {text}"):
        outbox.enqueue_many(memory_outbox, [Event("t"), Event(**arguments)])


def test_names():
    with pytest.raises(outtray.Misuse, match="name"):
        outtray.Outbox('no" name')
    with pytest.raises(outtray.Misuse, match="given to enqueue"):
        outtray.Outbox(object())
    with pytest.raises(outtray.InvalidUrl, match="begin with a scheme"):
        outtray.Relay(object())
    assert repr(outtray.Outbox("shop")) == "<outtray.Outbox 'shop'>"


@pytest.mark.parametrize(
    "wrong, text",
    [
        ({"name": "a\0b"}, "NUL"),
        ({"name": "\ud800"}, "UTF-8"),
        ({"serializer": None}, "serializer is a function"),
        ({"strict": "no"}, "strict is True or False, not 'no'"),
        ({"max_payload_bytes": 1e6}, "number of bytes"),
        ({"max_payload_bytes": -1}, "number of bytes from 0 on, not -1"),
        ({"max_headers_bytes": 1 << 63}, "number of bytes"),
    ],
)
def test_arguments_of_an_outbox(wrong, text):
    with pytest.raises(outtray.Misuse, match=text):
        outtray.Outbox(**wrong)


class NoOffset(datetime.tzinfo):
    def utcoffset(self, moment):
        return None


def test_a_time_zone_without_an_offset(outbox, memory_outbox):
    moment = datetime.datetime(2030, 1, 1, tzinfo=NoOffset())
    with pytest.raises(outtray.InvalidEvent, match="no time zone"):
        outbox.enqueue(memory_outbox, "t", deliver_at=moment)


def test_text_that_c_would_cut_short(tmp_path):
    """At a NUL; and a name of a file that is not UTF-8."""
    with pytest.raises(outtray.Misuse, match="NUL"):
        outtray.Relay("sqlite:shop.db\0.bak")
    with pytest.raises(outtray.Misuse, match="NUL"):
        outtray.Relay("sqlite:shop.db", config="a\0b")
    with pytest.raises(outtray.Misuse, match="%E9"):
        outtray.Relay("sqlite:caf\udce9.db")
    with pytest.raises(TypeError, match="7 is no text, but of type int"):
        outtray.Relay("sqlite:shop.db", settings={7: 7})
    with pytest.raises(ValueError, match="null byte"):
        outtray.cli.main(["version\0x"])
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ini")
    with open(file, "w") as out:
        out.write("[relay]\nbatch_events = 7\n")
    with outtray.Relay("sqlite:shop.db", "null:", config=file) as relay:
        relay.close()


def pickled(one):
    return pickle.loads(pickle.dumps(one))


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, pickled])
def test_copies_of_an_outbox(way, memory_outbox):
    """It may be part of what goes to another process, or is copied."""
    outbox = outtray.Outbox(strict=True, max_payload_bytes=3, serializer=repr)
    made = way(outbox)
    with memory_outbox:
        made.enqueue(memory_outbox, "t", {})
        with pytest.raises(outtray.TooLarge):
            made.enqueue(memory_outbox, "t", b"1234")


def test_serializers(sqlite_outbox):
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))
    with conn:
        outtray.Outbox(serializer=repr).enqueue(conn, "t", {1})
        with pytest.raises(outtray.NotSerializable, match="returned int"):
            outtray.Outbox(serializer=len).enqueue(conn, "t", [1])
        for error in (ZeroDivisionError("no"), KeyError("x"), RuntimeError()):

            def fails(_, error=error):
                raise error

            with pytest.raises(outtray.NotSerializable, match="payload for 't'") as e:
                outtray.Outbox(serializer=fails).enqueue(conn, "t", [1])
            assert e.value.__cause__ is error
    conn.close()
    assert sqlite_outbox.events("payload") == [b"{1}"]
