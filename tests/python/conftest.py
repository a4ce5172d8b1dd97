"""Outboxes for the tests of the Python package."""

import os
import sqlite3

import psycopg
import pytest
from outtray.cli import main
from outtray.testing import create_outbox

# Django would refuse to be called below a running loop, which all drivers are
# here.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

ORDERS = "CREATE TABLE orders (n integer PRIMARY KEY)"


class Outboxes:
    """Where the events of one test are."""

    def __init__(self, kind, url, query):
        self.kind = kind
        self.url = url
        self.query = query

    def empty(self):
        if self.kind == "pg":
            self.query("TRUNCATE outtray.event, outtray.inbox, orders")
        else:
            self.query("DELETE FROM outtray_event")
            self.query("DELETE FROM outtray_inbox")
            self.query("DELETE FROM orders")

    def orders(self):
        return [n for (n,) in self.query("SELECT n FROM orders ORDER BY n")]

    def events(self, columns="topic"):
        table = "outtray.event" if self.kind == "pg" else "outtray_event"
        rows = self.query(f"SELECT {columns} FROM {table} ORDER BY seq")
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def make_sqlite(path):
    assert main(["init", "--store", f"sqlite:{path}"]) == 0

    def query(sql):
        conn = sqlite3.connect(path, isolation_level=None)
        try:
            return conn.execute(sql).fetchall()
        finally:
            conn.close()

    query(ORDERS)
    return Outboxes("sqlite", f"sqlite:{path}", query)


@pytest.fixture
def memory_outbox():
    """A connection to an outbox in memory."""
    conn = sqlite3.connect(":memory:")
    create_outbox(conn)
    conn.commit()
    yield conn
    conn.close()


@pytest.fixture
def sqlite_outbox(tmp_path):
    """An outbox and the table orders in a file."""
    return make_sqlite(tmp_path / "shop.db")


@pytest.fixture
def pg_outbox(pg):
    """An outbox and the table orders in a database of PostgreSQL."""
    assert main(["init", "--store", pg.url]) == 0
    pg.query(ORDERS)
    return Outboxes("pg", pg.url, pg.query)


@pytest.fixture(scope="session")
def shared_outboxes(tmp_path_factory):
    """{kind: outbox}, for the many tests that empty one before."""
    folder = tmp_path_factory.mktemp("shared")
    url = os.environ.get("OUTTRAY_TEST_PG")
    if not url:
        pytest.fail("OUTTRAY_TEST_PG is not set: run it through ./dev test")
    name = f"python_{os.getpid()}"

    def on(database):
        def query(sql):
            with psycopg.connect(database, autocommit=True) as conn:
                cursor = conn.execute(sql)
                return cursor.fetchall() if cursor.description else []

        return query

    on(url)(f"CREATE DATABASE {name}")
    own = url.rpartition("/")[0] + "/" + name
    assert main(["init", "--store", own]) == 0
    on(own)(ORDERS)
    yield {
        "pg": Outboxes("pg", own, on(own)),
        "sqlite": make_sqlite(folder / "shop.db"),
    }
    on(url)(f"DROP DATABASE {name} WITH (FORCE)")
