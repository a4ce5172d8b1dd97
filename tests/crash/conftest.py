"""Servers that the tests of this folder may kill, and shops on them."""

import itertools
import os

import mortal
import pytest
from program import Program
from shop import FileShop, Shop

# OUTTRAY_TEST_LONG=1 ./dev test crash: a thousand kills instead of two hundred.
LONG = bool(os.environ.get("OUTTRAY_TEST_LONG"))


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL that these tests may kill."""
    with mortal.postgres() as postgres:
        yield postgres


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A Kafka that these tests may kill."""
    with mortal.kafka(tmp_path_factory.mktemp("kafka"), proxied=1) as cluster:
        yield cluster


@pytest.fixture
def program(tmp_path):
    """Makes runners of the program, each in a folder of its own."""
    made, number = [], itertools.count()

    def make():
        folder = tmp_path / f"p{next(number)}"
        folder.mkdir()
        made.append(Program(os.environ["OUTTRAY_TEST_BIN"], folder))
        return made[-1]

    yield make
    for one in made:
        one.stop_all()


@pytest.fixture
def shop(program, request):
    """Makes shops: shop("postgres"), events to Kafka; shop("sqlite"), to a
    file."""

    def make(store):
        if store == "sqlite":
            return FileShop(program())
        server = request.getfixturevalue("server")
        broker = request.getfixturevalue("broker")
        mortal.revive(server, broker)
        return Shop(server, broker, program())

    return make
