"""Mistakes are told with what to do instead."""

import asyncio
import sqlite3

import aiosqlite
import outtray
import psycopg
import psycopg2
import pytest
import sqlalchemy
import sqlalchemy.orm


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


def test_alchemy_after_commit(outbox, pg_outbox):
    url = pg_outbox.url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url)
    session = sqlalchemy.orm.Session(engine)
    caught = []

    @sqlalchemy.event.listens_for(session, "after_commit")
    def too_late(session):
        try:
            outbox.enqueue(session, "late")
        except Exception as error:
            caught.append(error)

    session.begin()
    outbox.enqueue(session, "in time")
    session.commit()
    session.close()
    engine.dispose()
    assert len(caught) == 1
    assert pg_outbox.events() == ["in time"]


def test_alchemy_forgets_with_its_savepoint(outbox, pg_outbox):
    """Also what was added before close, and in a session used again."""
    url = pg_outbox.url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url)
    with sqlalchemy.orm.Session(engine) as session:
        outbox.add(session, "closed")
        session.close()
        outbox.add(session, "rolled back")
        session.rollback()
        outbox.add(session, "one")
        with session.begin_nested():
            outbox.add(session, "two")
            inner = session.begin_nested()
            outbox.add(session, "undone")
            inner.rollback()
        outbox.add(session, "three")
        session.commit()
        session.commit()
    engine.dispose()
    assert pg_outbox.events() == ["one", "two", "three"]


def test_without_the_rule(sqlite_outbox):
    path = sqlite_outbox.url.removeprefix("sqlite:")
    conn = sqlite3.connect(path, isolation_level=None)
    outtray.Outbox(require_transaction=False).enqueue(conn, "alone")
    conn.close()
    assert sqlite_outbox.events() == ["alone"]


def test_names():
    with pytest.raises(outtray.Misuse, match="name"):
        outtray.Outbox('no" name')
    assert repr(outtray.Outbox("shop")) == "<outtray.Outbox 'shop'>"


def test_serializers(sqlite_outbox):
    conn = sqlite3.connect(sqlite_outbox.url.removeprefix("sqlite:"))
    with conn:
        outtray.Outbox(serializer=repr).enqueue(conn, "t", {1})
        with pytest.raises(outtray.NotSerializable, match="returned int"):
            outtray.Outbox(serializer=len).enqueue(conn, "t", [1])
    conn.close()
    assert sqlite_outbox.events("payload") == [b"{1}"]
