"""outbox.add: whatever a session does, an event shares the fate of the
transaction, or of the savepoint, that it was added in, and keeps its order."""

import asyncio

import outtray
import pytest
import sqlalchemy
import sqlalchemy.orm
from outtray.testing import create_outbox
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

outbox = outtray.Outbox()


class Base(sqlalchemy.orm.DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    n = sqlalchemy.orm.mapped_column(sqlalchemy.Integer, primary_key=True)
    total = sqlalchemy.orm.mapped_column(sqlalchemy.Integer)


@pytest.fixture(params=["pg", "sqlite"])
def engine(request, tmp_path):
    if request.param == "pg":
        url = request.getfixturevalue("pg").url.replace("ql:", "ql+psycopg:")
        engine = sqlalchemy.create_engine(url)
    else:
        import outtray.sqlalchemy

        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/shop.db")
        outtray.sqlalchemy.install(engine)
    with engine.begin() as conn:
        create_outbox(conn)
        Base.metadata.create_all(conn)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    with sqlalchemy.orm.Session(engine) as session:
        yield session


@pytest.fixture
def topics(engine):
    def read():
        separator = "_" if engine.dialect.name == "sqlite" else "."
        sql = f"SELECT topic FROM outtray{separator}event ORDER BY seq"
        with engine.connect() as conn:
            return list(conn.execute(sqlalchemy.text(sql)).scalars())

    return read


def add(session, topic):
    return outbox.add(session, topic)


def test_an_outer_event_survives_its_savepoint(session, topics):
    """Added before the savepoint, in which another one is released."""
    add(session, "outer")
    nested = session.begin_nested()
    add(session, "undone")
    with session.begin_nested():
        add(session, "undone, too")
    nested.rollback()
    session.commit()
    assert topics() == ["outer"]


def test_the_order_is_that_of_the_program(session, topics):
    add(session, "1")
    with session.begin_nested():
        add(session, "2")
        outbox.enqueue(session, "3")
        with session.begin_nested():
            add(session, "4")
        add(session, "5")
    add(session, "6")
    session.commit()
    assert topics() == list("123456")


def listen(session, name, *topics):
    def listener(*_):
        for topic in topics:
            add(session, topic)

    sqlalchemy.event.listen(session, name, listener)


@pytest.mark.parametrize(
    "name", ["before_flush", "after_flush", "after_flush_postexec", "before_commit"]
)
@pytest.mark.parametrize("first", [True, False])
def test_from_a_listener(name, first, session, topics):
    """As collectors of domain events do, also after others were written."""
    listen(session, name, "from the listener")
    if first:
        add(session, "first")
    session.add(Order(n=1))
    session.commit()
    assert topics() == ["first"] * first + ["from the listener"]
    session.add(Order(n=2))
    with pytest.raises(ZeroDivisionError), session.begin_nested():
        raise ZeroDivisionError
    session.rollback()
    assert len(topics()) == 1 + first


def test_from_a_mapper(session, topics):
    def listener(_mapper, _conn, order):
        add(sqlalchemy.orm.object_session(order), f"order {order.n}")

    sqlalchemy.event.listen(Order, "after_insert", listener)
    try:
        session.add(Order(n=7))
        session.flush()
        session.rollback()
        session.add(Order(n=8))
        session.commit()
    finally:
        sqlalchemy.event.remove(Order, "after_insert", listener)
    assert topics() == ["order 8"]


FIRST = """
import outtray

outbox = outtray.Outbox(require_transaction=False)

import sqlalchemy, sqlalchemy.orm
import outtray.testing

engine = sqlalchemy.create_engine("sqlite://")
with engine.begin() as conn:
    outtray.testing.create_outbox(conn)
session = sqlalchemy.orm.Session(engine)
sqlalchemy.event.listen(
    session, "before_commit", lambda session: outbox.add(session, "first of all")
)
session.begin()
session.commit()
print(session.execute(sqlalchemy.text("SELECT topic FROM outtray_event")).all())
"""


def test_the_first_of_all_from_a_listener():
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", FIRST], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[('first of all',)]\n"


@pytest.mark.parametrize("name", ["after_commit", "after_rollback"])
def test_too_late(name, session, topics):
    caught = []

    def listener(session):
        for call in (outbox.add, outbox.enqueue):
            try:
                call(session, "late")
            except outtray.OuttrayError as error:
                caught.append(error)

    sqlalchemy.event.listen(session, name, listener)
    add(session, "in time")
    session.commit() if name == "after_commit" else session.rollback()
    assert [type(error) for error in caught] == [outtray.NotInTransaction] * 2
    assert all("before the commit" in str(error) for error in caught)
    assert topics() == ["in time"] * (name == "after_commit")
    # The session is as SQLAlchemy leaves it.
    caught.clear()
    sqlalchemy.event.remove(session, name, listener)
    add(session, "again")
    session.commit()
    assert topics()[-1] == "again"


def test_after_a_failed_flush(session, topics):
    session.add(Order(n=1))
    session.commit()
    session.add(Order(n=1))
    add(session, "undone")
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        session.flush()
    for call in (outbox.add, outbox.enqueue):
        with pytest.raises((outtray.TransactionFailed, outtray.NotInTransaction)):
            call(session, "refused")
    session.rollback()
    add(session, "fine")
    session.commit()
    assert topics() == ["fine"]


def test_closed_and_used_again(session, topics):
    add(session, "closed")
    session.close()
    add(session, "rolled back")
    session.rollback()
    add(session, "expunged stays")
    session.expunge_all()
    session.commit()
    session.commit()
    assert topics() == ["expunged stays"]


def test_many(session, topics):
    for n in range(2500):
        add(session, str(n))
    session.commit()
    assert topics() == [str(n) for n in range(2500)]


@pytest.mark.parametrize("viewed", [False, True])
def test_a_buffer_that_is_used_again(viewed, engine, session):
    """What is written is what was there when it was added."""
    buffer = bytearray(b"one")
    outbox.add(session, "orders", memoryview(buffer) if viewed else buffer)
    buffer[:] = b"two"
    session.commit()
    separator = "_" if engine.dialect.name == "sqlite" else "."
    sql = f"SELECT payload FROM outtray{separator}event"
    with engine.connect() as conn:
        payload = conn.execute(sqlalchemy.text(sql)).scalar_one()
    assert bytes(payload) == b"one"


def test_scoped(engine, topics):
    scoped = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(engine))
    add(scoped, "scoped")
    outbox.enqueue(scoped, "at once")
    scoped.commit()
    scoped.remove()
    assert topics() == ["scoped", "at once"]


def test_a_session_with_binds_alone(engine, topics):
    """Where the outbox is, nobody can know: said where the event is added, and
    with the way out."""
    with sqlalchemy.orm.Session(binds={Order: engine}) as session:
        with session.begin():
            session.add(Order(n=1))
            for enqueue in (outbox.add, outbox.enqueue):
                with pytest.raises(outtray.UnsupportedConnection, match="binds for"):
                    enqueue(session, "nowhere")
            conn = session.connection(bind_arguments={"mapper": Order})
            outbox.enqueue(conn, "here")
    assert topics() == ["here"]
    with sqlalchemy.orm.Session(engine, binds={Order: engine}) as session:
        with session.begin():
            outbox.add(session, "with both")
    assert topics() == ["here", "with both"]


def test_an_async_session_with_binds_alone(pg):
    create_outbox(pg.url)

    async def go():
        engine = create_async_engine(pg.url.replace("ql:", "ql+asyncpg:"))
        async with AsyncSession(binds={Order: engine}) as session, session.begin():
            with pytest.raises(outtray.UnsupportedConnection, match="AsyncSession"):
                await outbox.aenqueue(session, "nowhere")
            with pytest.raises(outtray.UnsupportedConnection, match="binds for"):
                outbox.add(session, "nowhere")
            arguments = {"mapper": Order}
            conn = await session.connection(bind_arguments=arguments)
            await outbox.aenqueue(conn, "here")
        await engine.dispose()

    asyncio.run(go())
    assert pg.query("SELECT topic FROM outtray.event") == [("here",)]


def test_async(pg):
    """The same of an AsyncSession, whose listeners are given its Session."""
    create_outbox(pg.url)
    pg.query("CREATE TABLE orders (n int PRIMARY KEY, total int)")

    async def go():
        engine = create_async_engine(pg.url.replace("ql:", "ql+asyncpg:"))
        async with AsyncSession(engine) as session:
            sync = session.sync_session
            listen(sync, "before_flush", "from the flush")
            caught = []

            def late(session):
                try:
                    add(session, "late")
                except outtray.NotInTransaction as error:
                    caught.append(error)

            sqlalchemy.event.listen(sync, "after_commit", late)
            add(session, "1")
            async with session.begin_nested() as nested:
                add(session, "undone")
                await nested.rollback()
            async with session.begin_nested():
                add(session, "2")
            session.add(Order(n=1))
            await session.commit()
            assert len(caught) == 2  # at the release of the savepoint, too
        await engine.dispose()

    asyncio.run(go())
    rows = pg.query("SELECT topic FROM outtray.event ORDER BY seq")
    assert [topic for (topic,) in rows] == ["1", "2", "from the flush"]
