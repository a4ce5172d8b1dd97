"""A real nginx with its Lua module, and the applications of this folder in it."""

import os
import pathlib
import subprocess

import lua_modules
import nginx
import psycopg
import pytest

FOLDER = pathlib.Path(__file__).parent
COLLECT = FOLDER.parent / "lua/collect.lua"


def start(folder, configuration, values, collect=False):
    environment = {
        **lua_modules.environment("luajit"),
        # Workers end with what they have; leaks are looked for in tests/lua.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    values = {
        **values,
        "LUA_PATH": f"{FOLDER}/?.lua;" + environment["LUA_PATH"],
        "LUA_CPATH": environment["LUA_CPATH"],
        "COLLECT": f'dofile "{COLLECT}"' if collect else "",
    }
    return nginx.Nginx(folder, FOLDER / configuration, values, environment).start()


def stop(server):
    server.stop()
    log = server.log()
    assert "AddressSanitizer" not in log
    assert "runtime error" not in log


def on(database, sql):
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def collect():
    """Does the collector of nginx never rest?"""
    return False


@pytest.fixture(scope="module")
def shop_url(collect):
    """A database with an outbox and a table of orders, new for each nginx."""
    server = os.environ.get("OUTTRAY_TEST_PG")
    if not server:
        pytest.fail("OUTTRAY_TEST_PG is not set: run it through ./dev test")
    name = f"resty_{os.urandom(4).hex()}"
    url = server.rpartition("/")[0] + "/" + name
    on(server, f"CREATE DATABASE {name}")
    command = [os.environ["OUTTRAY_TEST_BIN"], "init", "--store", url]
    subprocess.run(command, check=True, capture_output=True)
    on(url, "CREATE TABLE orders (n integer PRIMARY KEY)")
    yield url
    on(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def shop(shop_url, collect, tmp_path_factory):
    """(nginx, query of its database)"""
    values = nginx.database(shop_url)
    folder = tmp_path_factory.mktemp("nginx")
    server = start(folder, "nginx.conf", values, collect)
    yield server, lambda sql: on(shop_url, sql)
    stop(server)


def of_gateway(options, workers, phases=False):
    return {
        "WORKERS": workers,
        "PHASES": str(phases).lower(),
        "OPTIONS": ", ".join(f"{name} = {value!r}" for name, value in options.items()),
    }


@pytest.fixture
def gateway(tmp_path, outtray):
    """gateway(**options): an nginx with a gateway of these options, into the
    outbox tmp_path/gateway.db, which is made unless init=False."""
    made = []

    def make(
        path=tmp_path / "gateway.db", init=True, workers=2, phases=False, **options
    ):
        if init:
            outtray.run("init", "--store", f"sqlite:{path}")
        folder = tmp_path / f"nginx{len(made)}"
        folder.mkdir()
        # Who does not test it must not wait in vain for a slow disk.
        options = {"store": f"sqlite://{path}", "timeout": 60, **options}
        values = of_gateway(options, workers, phases)
        made.append(start(folder, "gateway.conf", values))
        return made[-1]

    yield make
    for server in made:
        stop(server)


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    """An nginx whose gateway has no outbox: it is never asked for one."""
    folder = tmp_path_factory.mktemp("nginx")
    values = of_gateway({"store": f"sqlite://{folder}/none.db"}, 1)
    server = start(folder, "gateway.conf", values)
    yield server
    stop(server)
