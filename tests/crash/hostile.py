"""Writers, and others in the database, that make everything hard: commits that
are not durable yet, prepared transactions, a bulk insert that stays open, an
old snapshot, VACUUM, pg_dump."""

import contextlib
import random
import subprocess
import threading
import uuid

import psycopg
from pg_server import system_bin
from traffic import Traffic

BULK = """
INSERT INTO truth
SELECT outtray.enqueue(%(topic)s, json_build_object('key', key, 'n', 1,
                       'filler', '')::text, key => key)::uuid, key, 1
FROM (SELECT 'bulk' || i AS key FROM generate_series(%(first)s::int, %(last)s) i) keys
"""


class HastyTraffic(Traffic):
    """Half of the writers do not wait for their commits."""

    def connect(self, writer):
        connection = super().connect(writer)
        if writer % 2:
            connection.execute("SET synchronous_commit = off")
            connection.commit()
        return connection


class HostileTraffic(HastyTraffic):
    """And some transactions are prepared, and ended by somebody else."""

    def end(self, connection, dice):
        if dice.random() < 0.05:
            connection.execute(f"PREPARE TRANSACTION '{uuid.uuid4()}'")
            connection.commit()
        else:
            super().end(connection, dice)


class Crowd:
    """The others. Each tries again when the server went away."""

    def __init__(self, traffic, bulk, seed):
        self.traffic, self.bulk = traffic, bulk
        self.dice = random.Random(seed)
        self.ending = threading.Event()
        self.prepared = self.dumps = self.vacuums = 0
        self.bulk_done = False
        self.threads = [
            threading.Thread(target=self.again, args=[work], daemon=True)
            for work in (self.look_after, self.look_back, self.insert, self.dump)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(600)  # a long bulk insert goes to its end
            assert not thread.is_alive()

    def again(self, work):
        while not self.ending.is_set():
            with contextlib.suppress(psycopg.Error):
                work()
            self.ending.wait(0.3)

    def connect(self, **options):
        return psycopg.connect(self.traffic.url, connect_timeout=3, **options)

    def end_prepared(self, age):
        with self.connect(autocommit=True) as connection:
            rows = connection.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
                " AND prepared < now() - make_interval(secs => %s)",
                [age],
            )
            for (gid,) in rows.fetchall():
                how = "COMMIT" if self.dice.random() < 0.8 else "ROLLBACK"
                connection.execute(f"{how} PREPARED '{gid}'")
                self.prepared += 1

    def look_after(self):
        self.end_prepared(0.7)
        if self.dice.random() < 0.3:
            with self.connect(autocommit=True) as connection:
                connection.execute("VACUUM outtray.event, outtray.cursor")
                self.vacuums += 1

    def look_back(self):
        """A snapshot that gets old."""
        with self.connect() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            while not self.ending.wait(1):
                connection.execute("SELECT count(*) FROM ledger")

    def insert(self):
        """One transaction that lasts as long as the test, in pieces: the seqs of
        others come between."""
        if self.bulk_done:
            return
        piece = max(1, self.bulk // 20)
        with self.connect() as connection:
            for first in range(1, self.bulk + 1, piece):
                last = min(self.bulk, first + piece - 1)
                bounds = {"topic": self.traffic.topic, "first": first, "last": last}
                connection.execute(BULK, bounds)
                self.ending.wait(0.3)
            while not self.ending.wait(1):
                connection.execute("SELECT 1")
            connection.commit()
            self.bulk_done = True

    def dump(self):
        program = system_bin() / "pg_dump"
        command = [program, "-d", self.traffic.url, "-f", "/dev/null"]
        done = subprocess.run(command, capture_output=True)
        self.dumps += done.returncode == 0
        self.ending.wait(2)

    def settle(self):
        """What is still prepared ends, and so does the bulk."""
        self.end_prepared(0)
        self.insert()
