"""Fixtures of all Python tests: a database and topics of their own on the
shared servers, servers of their own, and the program."""

import os
import pathlib
import shutil
import tempfile

import pytest
from database import Database
from kafka_server import Kafka
from pg_server import Postgres
from program import Program
from topics import Topics


def environment(name):
    """A variable that ./dev test sets; without it a test fails, so that
    nothing is skipped silently."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run it through ./dev test", pytrace=False)
    return value


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
    program = Program(environment("OUTTRAY_TEST_BIN"), tmp_path)
    yield program
    program.stop_all()


@pytest.fixture
def open_path():
    """A scratch folder that other users may enter. Not below tmp_path: each
    pytest that begins shuts the folder of all."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own_pg():
    """Makes PostgreSQL servers for tests that kill or pause them:
    own_pg(version="system", settings=None)."""
    # Not below tmp_path, which the user postgres may not enter.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    made = []

    def make(version="system", settings=None):
        made.append(Postgres(folder / str(len(made)), version, settings))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def own_kafka(tmp_path_factory):
    """Makes Kafkas for tests that kill or pause nodes:
    own_kafka(count=1, properties="", proxied=0)."""
    made = []

    def make(count=1, properties="", proxied=0):
        folder = tmp_path_factory.mktemp("kafka")
        made.append(Kafka(folder, count, properties, proxied=proxied))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
