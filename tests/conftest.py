"""Fixtures of all Python tests: a database and topics of their own on the
shared servers, servers of their own, and the program."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE / "support") not in sys.path:
    sys.path.insert(0, str(HERE / "support"))

from kafka_server import Kafka  # noqa: E402
from pg_server import Postgres  # noqa: E402
from program import Program  # noqa: E402
from topics import Topics  # noqa: E402


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120))


def environment(name):
    """A variable that ./dev test sets; without it a test fails, so that
    nothing is skipped silently."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run it through ./dev test", pytrace=False)
    return value


class Database:
    """A database of one test."""

    def __init__(self, url):
        self.url = url

    def connect(self, **options):
        import psycopg

        return psycopg.connect(self.url, autocommit=True, **options)

    def query(self, sql, *parameters):
        """Run one statement; its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def pg():
    """A new database on the shared PostgreSQL."""
    server = environment("OUTTRAY_TEST_PG")
    name = f"t{os.getpid()}_{os.urandom(4).hex()}"
    Database(server).query(f"CREATE DATABASE {name}")
    yield Database(server.rpartition("/")[0] + "/" + name)
    Database(server).query(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def kafka():
    """Topics of this test on the shared Kafka."""
    return Topics(environment("OUTTRAY_TEST_KAFKA"))


@pytest.fixture
def outtray(tmp_path):
    """The program, run in a scratch folder; what it started is stopped."""
    program = Program(environment("OUTTRAY_BIN"), tmp_path)
    yield program
    program.stop_all()


@pytest.fixture
def own_pg(tmp_path_factory):
    """Makes PostgreSQL servers for tests that kill or pause them:
    own_pg(version="system", settings=None)."""
    made = []

    def make(version="system", settings=None):
        folder = tmp_path_factory.mktemp("pg")
        for parent in [folder, *folder.parents]:
            if os.stat(parent).st_uid == os.getuid() and parent != HERE:
                parent.chmod(parent.stat().st_mode | 0o055)
            if parent.name.startswith("pytest-"):
                break
        made.append(Postgres(folder / "pg", version, settings))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def own_kafka(tmp_path_factory):
    """Makes Kafkas for tests that kill or pause nodes:
    own_kafka(count=1, properties="")."""
    made = []

    def make(count=1, properties=""):
        made.append(Kafka(tmp_path_factory.mktemp("kafka"), count, properties))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
