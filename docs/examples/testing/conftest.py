import sqlite3

import pytest
from outtray.testing import create_outbox


@pytest.fixture
def conn():
    conn = sqlite3.connect(":memory:")
    conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    create_outbox(conn)
    yield conn
    conn.close()


@pytest.fixture
def outtray_connection(conn):
    """Tells outtray_outbox where to look."""
    return conn
