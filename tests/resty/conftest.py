"""A real nginx with its Lua module, and the application of shop.lua in it."""

import os
import pathlib
import subprocess

import lua_modules
import nginx
import psycopg
import pytest

FOLDER = pathlib.Path(__file__).parent
COLLECT = FOLDER.parent / "lua/collect.lua"


def start(folder, pg_url, collect):
    environment = {
        **lua_modules.environment("luajit"),
        # Workers end with what they have; leaks are looked for in tests/lua.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    values = {
        **nginx.database(pg_url),
        "LUA_PATH": f"{FOLDER}/?.lua;" + environment["LUA_PATH"],
        "LUA_CPATH": environment["LUA_CPATH"],
        "COLLECT": f'dofile "{COLLECT}"' if collect else "",
    }
    return nginx.Nginx(folder, FOLDER / "nginx.conf", values, environment).start()


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
    server = start(tmp_path_factory.mktemp("nginx"), shop_url, collect)
    yield server, lambda sql: on(shop_url, sql)
    server.stop()
    log = server.log()
    assert "AddressSanitizer" not in log
    assert "runtime error" not in log
