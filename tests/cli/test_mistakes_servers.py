"""Mistakes with a server, a database or a file system of their own: refused or
reported by name, and after the remedy all that was committed arrives."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import psycopg
import pytest
from pg_server import Postgres, system_bin
from program import whole_lines

SECONDS = 40


def enqueue(url, n):
    with psycopg.connect(url, autocommit=True) as connection:
        return {
            str(connection.execute("SELECT outtray.enqueue('t', 'x')").fetchone()[0])
            for _ in range(n)
        }


def sql(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def arrived(file):
    return {json.loads(line)["id"] for line in whole_lines(file)}


def obstacles(outtray, **env):
    found = outtray.run("status", "--json", env=env).json()["obstacles"]
    return {one["code"]: one["text"] for one in found}


def finding(outtray, check):
    found = outtray.run("doctor", "--json", status=None).json()["findings"]
    return [f for f in found if f["check"] == check and f["level"] != "ok"]


def test_the_url_of_a_standby(outtray, own_pg, tmp_path):
    primary = own_pg()
    file = tmp_path / "arrived"
    outtray.env.update(OUTTRAY_STORE_URL=primary.url)
    outtray.run("init")
    committed = enqueue(primary.url, 5)
    standby = Postgres(primary.folder.parent / "standby")
    standby.make_folder()
    subprocess.run(
        [system_bin() / "pg_basebackup", "-D", standby.data, "-R", "-c", "fast"]
        + ["-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres"],
        check=True,
        cwd=standby.folder,
        **standby.user(),
    )
    standby.start()
    try:
        outtray.env.update(OUTTRAY_STORE_URL=standby.url)
        relay = outtray.start("relay", "--sink", f"file://{file}")
        relay.wait_for(lambda: "is a standby" in relay.stderr, SECONDS)
        assert "connect to the primary" in relay.stderr
        (found,) = finding(outtray, "primary")
        assert "standby" in found["text"] and "store.url" in found["fix"]
        assert "standby" in outtray.run("status", status=None).stdout
        assert not arrived(file)
        # It waits, for a standby may be promoted. The remedy: the primary, or
        # all hosts, of which the one is taken that writes.
        relay.stop()
        both = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        url = f"postgresql://postgres@{both}/postgres"
        outtray.env.update(OUTTRAY_STORE_URL=url)
        outtray.run("relay", "--until-empty", "--sink", f"file://{file}")
        assert arrived(file) == committed
    finally:
        standby.stop()


def test_a_synchronous_standby_that_is_away(outtray, own_pg, tmp_path):
    """No commit comes back, nor does that of a relay's cursor or lease: said to
    a role as well that sees no sessions but its own."""
    server = own_pg()
    file = tmp_path / "arrived"
    outtray.env.update(OUTTRAY_STORE_URL=server.url)
    sql(server.url, "CREATE ROLE relay LOGIN")
    outtray.run("init", "--relay-role", "relay")
    url = server.url.replace("postgres@", "relay@")
    relay = outtray.start(
        *("relay", "--sink", f"file://{file}", "--set", "relay.lease_ttl_ms=2s"),
        env={"OUTTRAY_STORE_URL": url},
    )
    committed = enqueue(server.url, 1)
    relay.wait_for(lambda: arrived(file) == committed, SECONDS)
    sql(server.url, "ALTER SYSTEM SET synchronous_standby_names = 'away'")
    sql(server.url, "SELECT pg_reload_conf()")
    # Who commits an event waits too: to end it would be no remedy.
    waiting = threading.Thread(target=lambda: committed.update(enqueue(server.url, 1)))
    waiting.start()
    relay.wait_for(lambda: "`outtray status` may say for what" in relay.stderr, SECONDS)
    relay.wait_for(lambda: "2 commits wait" in str(obstacles(outtray)), SECONDS)
    time.sleep(5)  # what status calls an open transaction of a writer
    assert list(obstacles(outtray, OUTTRAY_STORE_URL=url)) == ["standby"]
    (text,) = obstacles(outtray).values()
    assert "synchronous_standby_names is 'away'" in text
    for statement in finding(outtray, "standby")[0]["fix"].split(": ")[1].split("; "):
        sql(server.url, statement)
    waiting.join(SECONDS)
    relay.wait_for(lambda: arrived(file) == committed, SECONDS)
    assert len(committed) == 2 and not finding(outtray, "standby")


def test_a_database_that_is_renamed(outtray, pg, tmp_path):
    server = os.environ["OUTTRAY_TEST_PG"]
    name = pg.url.rpartition("/")[2]
    file = tmp_path / "arrived"
    outtray.env.update(OUTTRAY_STORE_URL=pg.url)
    outtray.run("init")
    committed = enqueue(pg.url, 3)
    relay = outtray.start("relay", "--sink", f"file://{file}")
    relay.wait_for(lambda: arrived(file) == committed, SECONDS)

    def rename(old, new):
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {old} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = '{old}'"
            )
            connection.execute(f"ALTER DATABASE {old} RENAME TO {new}")
            connection.execute(f"ALTER DATABASE {new} ALLOW_CONNECTIONS true")

    rename(name, f"{name}x")
    try:
        # Told once when it began; status tells what it is now.
        relay.wait_for(lambda: "refused: database" in relay.stderr, SECONDS)
        done = outtray.run("status", status=78)
        assert f'"{name}" does not exist' in done.stderr
        assert "store.url" in done.stderr
    finally:
        rename(f"{name}x", name)
    committed |= enqueue(pg.url, 2)
    relay.wait_for(lambda: arrived(file) == committed, SECONDS)


@pytest.fixture
def shop_of_everybody():
    """A folder that another user may enter."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="shop-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(outtray, folder):
    """The program as a user who owns nothing here; root may write anything."""
    if os.getuid() != 0:
        return outtray.path
    script = folder / "as-nobody"
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script.write_text(f'#!/bin/sh\nexec {nobody} {outtray.path} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_a_file_that_may_not_be_written(outtray, shop_of_everybody):
    path = shop_of_everybody / "shop.db"
    outtray.env.update(OUTTRAY_STORE_URL=f"sqlite://{path}")
    outtray.run("init")
    outtray.run("enqueue", "t", "{}")
    program = outtray.path
    outtray.path = as_nobody(outtray, shop_of_everybody)
    path.chmod(0o444)
    shop_of_everybody.chmod(0o555 if os.getuid() else 0o755)
    for words in (["relay", "--sink", "null:"], ["doctor"]):
        said = outtray.run(*words, status=77).stderr
        assert "may not write" in said and "chmod" in said
    outtray.path = program
    shop_of_everybody.chmod(0o755)
    path.chmod(0o644)
    got = outtray.run("relay", "--until-empty", "--json", "--sink", "null:").json()
    assert got["delivered"] == 1


def test_the_wal_is_deleted(outtray, tmp_path):
    """What was only in it is gone, log and cursor alike, so they fit: what the
    file has is sent (again), and what is new is not taken for old."""
    path, file = tmp_path / "shop.db", tmp_path / "arrived"
    outtray.env.update(OUTTRAY_STORE_URL=f"sqlite://{path}")
    outtray.run("init")
    first = outtray.run("enqueue", "t", "{}").stdout.strip()
    relay = outtray.start("relay", "--sink", f"file://{file}")
    relay.wait_for(lambda: first in arrived(file), SECONDS)
    outtray.run("enqueue", "t", "{}")
    relay.wait_for(lambda: len(arrived(file)) == 2, SECONDS)
    relay.kill()
    for tail in ("-wal", "-shm"):
        path.with_name(f"shop.db{tail}").unlink()
    third = outtray.run("enqueue", "t", "{}").stdout.strip()
    file.unlink()
    outtray.run("relay", "--until-empty", "--sink", f"file://{file}")
    assert arrived(file) == {first, third}
