"""What `doctor` calls too old: each finding on both sides of its limit.

Rows are given the age that they need. Transactions get theirs from the server,
so it is their limits that are moved: they are settings."""

import contextlib
import re
import socket
import sqlite3
import struct
import time

import psycopg
import pytest
from database import Database

on_a_server = pytest.mark.parametrize("store_url", ["pg"], indirect=True)


@pytest.fixture
def query(shop):
    """{o} stands for the outbox; times of SQLite are numbers."""

    def of_file(sql):
        path = shop.url.removeprefix("sqlite://")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as own:
            return own.execute(sql.replace("{o}", "outtray_")).fetchall()

    def of_server(sql):
        return Database(shop.url).query(sql.replace("{o}", "outtray."))

    return of_file if shop.url.startswith("sqlite:") else of_server


@pytest.fixture
def ago(shop):
    """An expression of SQL for so many hours ago."""
    if shop.url.startswith("sqlite:"):
        return lambda hours: f"(unixepoch() - {hours} * 3600) * 1000000"
    return lambda hours: f"now() - interval '1 hour' * ({hours})"


def finding(shop, check, **settings):
    """Its level, text and fix, if there is one beside "ok"."""
    words = []
    for name, value in settings.items():
        words += ["--set", f"{name.replace('_', '.', 1)}={value}"]
    found = shop.run("doctor", "--json", *words, status=None).json()["findings"]
    found = [one for one in found if one["check"] == check]
    assert found
    bad = [one for one in found if one["level"] != "ok"]
    return (bad[0]["level"], bad[0]["text"], bad[0]["fix"]) if bad else None


@on_a_server
def test_limits_of_the_settings(shop):
    said = {
        row["key"]: row["value"]
        for row in shop.run("conf", "--json").lines()
        if row["key"].startswith("doctor.")
    }
    assert said == {
        "doctor.transaction_age_ms": "60s",
        "doctor.snapshot_age_ms": "15m",
    }


@on_a_server
def test_old_snapshot(shop, query):
    with contextlib.closing(psycopg.connect(shop.url)) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM outtray.event")
        assert finding(shop, "snapshots") is None
        assert finding(shop, "snapshots", doctor_snapshot_age_ms="1h") is None
        level, text, fix = finding(shop, "snapshots", doctor_snapshot_age_ms="1ms")
        assert level == "warning" and f"process {reader.info.backend_pid} " in text
        assert "holds a snapshot for 00:00:" in text
        query(fix)
        assert finding(shop, "snapshots", doctor_snapshot_age_ms="1ms") is None


@on_a_server
def test_open_transaction(shop):
    with psycopg.connect(shop.url, application_name="till") as writer:
        writer.execute("SELECT outtray.enqueue('t', 'x')")
        assert finding(shop, "writers") is None
        assert finding(shop, "writers", doctor_transaction_age_ms="1h") is None
        level, text, _ = finding(shop, "writers", doctor_transaction_age_ms="1ms")
        assert level == "warning" and "till, idle in transaction" in text
        # What only reads keeps no event back.
        writer.rollback()
        writer.execute("SELECT count(*) FROM outtray.event")
        assert finding(shop, "writers", doctor_transaction_age_ms="1ms") is None


@on_a_server
def test_forgotten_prepared_transaction(shop, query):
    with psycopg.connect(shop.url, autocommit=True) as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT outtray.enqueue('t', 'x')")
        writer.execute("PREPARE TRANSACTION 'forgotten'")
    try:
        assert finding(shop, "prepared") is None
        assert finding(shop, "prepared", doctor_transaction_age_ms="1h") is None
        level, text, fix = finding(shop, "prepared", doctor_transaction_age_ms="1ms")
        assert level == "warning" and "its events, and none else, wait" in text
    finally:
        query("ROLLBACK PREPARED 'forgotten'")
    assert fix == "COMMIT PREPARED 'forgotten', or ROLLBACK PREPARED 'forgotten'"
    assert finding(shop, "prepared", doctor_transaction_age_ms="1ms") is None


class Standby:
    """As much of one as it takes to hold old rows by its feedback: the
    protocol of replication, spoken by hand."""

    def __init__(self, url, slot):
        info = psycopg.conninfo.conninfo_to_dict(url)
        self.socket = socket.create_connection((info["host"], int(info["port"])), 20)
        words = b"user\0postgres\0replication\0true\0\0"
        self.socket.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        self.wait_for(b"Z")
        with psycopg.connect(url) as own:
            ((lsn, xid),) = own.execute(
                "SELECT pg_current_wal_lsn()::text, pg_current_xact_id()::text::bigint"
            ).fetchall()
        self.send(b"Q", f"START_REPLICATION SLOT {slot} PHYSICAL {lsn}\0".encode())
        self.wait_for(b"W")
        self.epoch, self.xmin = divmod(xid, 1 << 32)

    def hold(self):
        """Say that rows as old as this are needed."""
        feedback = struct.pack("!cqIIII", b"h", 0, self.xmin, self.epoch, 0, 0)
        self.send(b"d", feedback)

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!i", 4 + len(body)) + body)

    def wait_for(self, wanted):
        while True:
            kind, size = struct.unpack("!ci", self.socket.recv(5, socket.MSG_WAITALL))
            body = self.socket.recv(size - 4, socket.MSG_WAITALL) if size > 4 else b""
            assert kind != b"E", body
            if kind == wanted:
                return


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


# Beside other tests the server once took no feedback of the standby for a minute.
@pytest.mark.parametrize("store_url", ["own_pg"], indirect=True)
def test_replication_slot_that_nobody_uses(shop, query):
    name = "lost_" + shop.url.rpartition("/")[2]
    query(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    state = (
        "SELECT active, xmin IS NOT NULL FROM pg_replication_slots "
        f"WHERE slot_name = '{name}'"
    )

    def found():
        one = finding(shop, "snapshots")
        return one and name in one[1] and one

    try:
        assert not found()  # it keeps no row yet
        standby = Standby(shop.url, name)

        def held():
            standby.hold()
            return query(state) == [(True, True)]

        wait_for(held)
        assert not found()  # somebody uses it
        standby.socket.close()
        wait_for(lambda: query(state) == [(False, True)])
        level, text, fix = found()
        assert level == "warning" and "nobody uses it" in text
        query(fix)
        assert not found()
    finally:
        query(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{name}'"
        )


def test_delivered_events_that_stay(shop, query, ago):
    shop.load([{"topic": "t", "payload": {}}] * 3)
    shop.relay("null:")
    off = {"prune_enabled": "false"}
    hour = {"prune_retention_ms": "1h"}
    for hours, settings, words in (
        (26, {}, None),  # 24 h, and a tenth
        (27, {}, "kept longer than prune.retention_ms"),
        (1.98, hour, None),  # at least an hour more
        (2.05, hour, "kept longer than prune.retention_ms"),
        (7 * 24 - 1, off, None),
        (7 * 24 + 1, off, "prune.enabled is off"),
    ):
        query(f"UPDATE {{o}}event SET created_at = {ago(hours)}")
        found = finding(shop, "retention", **settings)
        if words is None:
            assert found is None, hours
        else:
            assert found[0] == "warning" and words in found[1], hours
            assert found[2] == "outtray prune"
    shop.run("prune")
    assert finding(shop, "retention") is None
    assert query("SELECT count(*) FROM {o}event") == [(0,)]


def test_an_event_from_the_future(shop, query, ago):
    """It stays, keeps no other, and is named."""
    shop.load([{"topic": "t", "payload": {}}] * 5)
    shop.relay("null:")
    query(f"UPDATE {{o}}event SET created_at = {ago(30)} WHERE seq > 1")
    query(f"UPDATE {{o}}event SET created_at = {ago(-0.9)} WHERE seq = 1")
    assert finding(shop, "times") is None
    query(f"UPDATE {{o}}event SET created_at = {ago(-1.1)} WHERE seq = 1")
    level, text, fix = finding(shop, "times")
    assert level == "warning" and "the first with seq 1" in text
    assert finding(shop, "retention")[2] == "outtray prune"
    shop.run("prune")
    assert query("SELECT seq FROM {o}event") == [(1,)]
    assert finding(shop, "retention") is None
    query(fix)
    assert finding(shop, "times") is None
    shop.run("prune", "--older-than", "0s")
    assert query("SELECT seq FROM {o}event") == []


def test_what_is_kept_for_a_reason(shop, query, ago):
    """Dead, or not delivered yet: it is told as what it is."""
    assert finding(shop, "dead") is None and finding(shop, "lease") is None
    shop.enqueue("t")
    shop.relay("fault:?script=reject")
    query(f"UPDATE {{o}}event SET created_at = {ago(30 * 24)}")
    query(f"UPDATE {{o}}held SET last_error_at = {ago(20 * 24 + 5.5)}")
    assert finding(shop, "retention") is None
    level, text, _ = finding(shop, "dead")
    since = "first for 20 d"
    if not shop.url.startswith("sqlite:"):
        ((at,),) = query("SELECT date_trunc('second', last_error_at)::text FROM {o}held"
                         " WHERE state = 'dead'")  # fmt: skip
        since = f"first since {at}"
    assert (level, text) == (
        "warning",
        f"subscription main has 1 dead, the {since}",
    )
    shop.enqueue("t")
    query(f"UPDATE {{o}}event SET created_at = {ago(3 * 24 + 2.5)}")
    level, text, _ = finding(shop, "lease")
    assert level == "FAILED" and text.endswith("the lease is free")
    owner = "'0190a8c0-0000-7000-8000-000000000000'"
    query(f"UPDATE {{o}}cursor SET owner = {owner}, lease_expires_at = {ago(50.5)}")
    assert finding(shop, "retention") is None
    level, text, fix = finding(shop, "lease")
    assert level == "FAILED" and fix == "outtray relay"
    assert re.search(r"1 pending, the oldest for (3 days 02:|3 d 2 h)", text)
    assert re.search(r"ran out (2 days 02:\d\d:\d\d|2 d 2 h) ago", text)
    # A live lease is a relay; a pause is somebody's wish.
    query(f"UPDATE {{o}}cursor SET lease_expires_at = {ago(-0.5)}")
    assert finding(shop, "lease") is None
    query("UPDATE {o}cursor SET paused = true")
    assert finding(shop, "lease") == (
        "warning",
        "subscription main is paused, with 1 pending",
        "outtray resume",
    )


def test_lease_that_ends_too_late(shop, query, ago):
    shop.relay("null:")
    owner = "'0190a8c0-0000-7000-8000-000000000000'"
    for ahead, level in ((59 / 60, None), (62 / 60, "FAILED")):
        query(f"UPDATE {{o}}cursor SET owner = {owner}, "
              f"lease_expires_at = {ago(-ahead)}")  # fmt: skip
        found = finding(shop, "cursor")
        assert (found and found[0]) == level, ahead
