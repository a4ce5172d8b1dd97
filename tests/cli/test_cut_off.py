"""A command that is stopped in the middle, by the network or by Ctrl-Z: what it
had locked is soon free again."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import time

import psycopg
import pytest
from fault_proxy import FaultProxy, deafen
from lateness import Promise
from oldest import oldest

# Locks on what an upgrade alters, and on what an enqueue writes.
ALTERED = (
    "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' "
    "AND relation = 'outtray.cursor'::regclass"
)
WRITTEN = (
    "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'RowExclusiveLock' "
    "AND relation = 'outtray.event'::regclass"
)
SILENCE = "--set=store.network_timeout_ms=2s"


@pytest.fixture
def proxy(pg, outtray):
    """Between the program and the database."""
    address, _, name = pg.url.rpartition("/")
    host, port = address.rpartition("@")[2].split(":")
    with FaultProxy((host, int(port))) as proxy:
        outtray.env["OUTTRAY_STORE_URL"] = pg.url.replace(port, str(proxy.port))
        yield proxy


def wait_for(condition, promise):
    while not condition():
        assert not promise.broken(), str(promise)
        time.sleep(0.02)


@contextlib.contextmanager
def half_an_upgrade(outtray, pg):
    """It has altered the cursor, whose relays wait, and goes no further."""
    with psycopg.connect(pg.url) as other:
        other.execute("SELECT FROM outtray.meta FOR UPDATE")
        upgrade = outtray.start("upgrade", SILENCE)
        upgrade.wait_for(lambda: pg.query(ALTERED) == [(1,)])
        yield upgrade
        other.rollback()
        wait_for(lambda: pg.query(ALTERED) == [(0,)], Promise(4, others=3))
        assert pg.query("SELECT schema_version FROM outtray.meta") == [(1,)]


def test_upgrade_whose_network_is_gone(outtray, pg, proxy):
    oldest(pg.url)
    with half_an_upgrade(outtray, pg) as upgrade:
        proxy.black_hole()
    upgrade.kill()
    proxy.heal()
    outtray.run("upgrade")


def test_upgrade_that_is_stopped(outtray, pg):
    oldest(pg.url)
    outtray.env["OUTTRAY_STORE_URL"] = pg.url
    with half_an_upgrade(outtray, pg) as upgrade:
        upgrade.send(signal.SIGSTOP)
    upgrade.send(signal.SIGCONT)
    upgrade.wait(status=69)
    outtray.run("upgrade")


def typing(outtray, lines):
    """An enqueue whose input has not ended."""
    command = [outtray.path, "enqueue", "--ndjson", SILENCE]
    run = subprocess.Popen(
        command, cwd=outtray.folder, env=outtray.environment(), stdin=subprocess.PIPE
    )
    line = json.dumps({"topic": "t", "payload": "x"}) + "\n"
    run.stdin.write(line.encode() * lines)
    run.stdin.flush()
    return run


def test_enqueue_whose_machine_is_gone(outtray, pg, proxy):
    """It may wait for its input for as long as it lives."""
    outtray.run("init")
    run = typing(outtray, 20000)
    wait_for(lambda: pg.query(WRITTEN) == [(1,)], Promise(20))
    time.sleep(5)
    assert pg.query(WRITTEN) == [(1,)]
    for connection in proxy.living():
        deafen(connection.server)
    wait_for(lambda: pg.query(WRITTEN) == [(0,)], Promise(4, others=3))
    run.kill()
    run.wait()


def test_enqueue_that_waits_for_its_input(outtray, sqlite_shop, sqlite_url):
    """An application writes meanwhile."""
    run = typing(outtray, 1)
    application = sqlite3.connect(sqlite_url.removeprefix("sqlite://"), timeout=0)
    application.execute("CREATE TABLE orders (id)")
    for i in range(100):
        with application:
            application.execute("INSERT INTO orders VALUES (?)", [i])
        time.sleep(0.01)
    run.stdin.close()
    assert run.wait(20) == 0
    application.close()
    assert len(sqlite_shop.events()) == 1
