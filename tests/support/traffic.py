"""An application that writes events while a test breaks things, and the count
of what arrived. Each key has a counter in a row that the writer locks first,
so the order of a key's events is the order of its numbers. What was committed
is read from a business table, which is written in the same transactions: it
knows better than a writer whose connection died in its COMMIT."""

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections import Counter

import psycopg
from lateness import Patience

TABLES = """
CREATE TABLE ledger (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);
CREATE TABLE truth (id uuid PRIMARY KEY, key text NOT NULL, n bigint NOT NULL);
INSERT INTO ledger (key) SELECT 'k' || i FROM generate_series(0, {keys} - 1) i;
"""

COUNT = "UPDATE ledger SET n = n + 1 WHERE key = %s RETURNING n"
ENQUEUE = """
WITH made AS (SELECT outtray.enqueue(%s, %s::text, key => %s,
                              deliver_at => %s) AS id)
INSERT INTO truth SELECT id, %s, %s FROM made
"""


class Tally:
    """What a topic holds against what was committed."""

    def __init__(self, truth, messages):
        self.committed = len(truth)
        self.delivered = len(messages)
        self.ghosts = []
        self.disorder = []
        seen = Counter()
        last = {}
        for message in messages:
            event = identity(message)
            seen[event] += 1
            if event not in truth:
                self.ghosts.append(event)
                continue
            key, n = truth[event]
            body = json.loads(message.value())
            assert (body["key"], body["n"]) == (key, n), (event, body, key, n)
            assert message.key().decode() == key
            if seen[event] > 1:
                continue
            if n < last.get(key, 0):
                self.disorder.append((key, last[key], n))
            last[key] = n
        self.lost = [event for event in truth if event not in seen]
        self.duplicates = self.delivered - len(seen)

    def __str__(self):
        return (
            f"committed {self.committed}, delivered {self.delivered}, "
            f"lost {len(self.lost)} {self.lost[:3]}, "
            f"ghosts {len(self.ghosts)} {self.ghosts[:3]}, "
            f"duplicates {self.duplicates}, "
            f"out of order {len(self.disorder)} {self.disorder[:3]}"
        )

    def good(self, duplicates=None):
        assert self.committed > 0
        assert not self.lost and not self.ghosts and not self.disorder, str(self)
        assert duplicates is None or self.duplicates <= duplicates, str(self)
        return self


def identity(message):
    for name, value in message.headers() or []:
        if name in ("id", "outtray-id"):
            return value.decode()
    raise AssertionError("a message without an id")


class Traffic:
    """Writers on a database with an outbox, into one topic."""

    def __init__(
        self, url, topic, keys=40, writers=2, pause=0.0, filler="", again=False
    ):
        self.url, self.topic = url, topic
        self.keys, self.pause, self.filler = keys, pause, filler
        self.ending = threading.Event()
        self.errors = Counter()
        self.rounds = 0
        self.slowest = 0.0
        if not again:  # the tables are there
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(TABLES.format(keys=keys))
        self.threads = [
            threading.Thread(target=self._write, args=(seed,), daemon=True)
            for seed in range(writers)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(120)

    def run(self, rounds):
        """Wait for so many transactions."""
        patience = Patience(60)
        while self.rounds < rounds:
            assert not patience.broken(), f"{self.rounds} transactions: {patience}"
            time.sleep(0.02)

    def _write(self, seed):
        dice = random.Random(seed)
        connection = None
        while not self.ending.is_set():
            try:
                if connection is None or connection.closed:
                    connection = self.connect(seed)
                started = time.monotonic()
                self.transaction(connection, dice)
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.rounds += 1
            except psycopg.Error as error:
                self.errors[type(error).__name__] += 1
                if connection is not None:
                    connection.close()
                self.ending.wait(0.2)
            if self.pause:
                self.ending.wait(self.pause)
        if connection is not None:
            connection.close()

    def connect(self, _writer):
        return psycopg.connect(
            self.url,
            connect_timeout=3,
            keepalives_idle=2,
            application_name="writer",
        )

    def transaction(self, connection, dice):
        """One to four events; now and then a savepoint or all is undone."""
        keys = sorted(dice.sample(range(self.keys), dice.choice((1, 1, 1, 2))))
        for key in keys:
            self.event(connection, f"k{key}")
            if dice.random() < 0.1:
                with connection.transaction(force_rollback=True):
                    self.event(connection, f"k{key}")  # in a savepoint
        self.end(connection, dice)

    def end(self, connection, dice):
        if dice.random() < 0.1:
            connection.rollback()
        else:
            connection.commit()

    def event(self, connection, key, filler=None, deliver_at=None):
        n = connection.execute(COUNT, [key]).fetchone()[0]
        body = json.dumps({"key": key, "n": n, "filler": filler or self.filler})
        connection.execute(ENQUEUE, [self.topic, body, key, deliver_at, key, n])

    def truth(self):
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT id::text, key, n FROM truth")
            return {event: (key, n) for event, key, n in rows}

    def left(self):
        """Events that are neither delivered nor given up on."""
        with psycopg.connect(self.url, connect_timeout=3) as connection:
            return connection.execute(
                "SELECT pending + retrying + waiting + blocked + scheduled"
                " FROM outtray.status WHERE subscription = 'main'"
            ).fetchone()[0]

    def drained(self, seconds=60):
        """Wait until nothing is left; how long that took."""
        patience = Patience(seconds)
        left = None
        while not patience.broken():
            with contextlib.suppress(psycopg.Error, sqlite3.Error):
                left = self.left()
                if left == 0:
                    return patience.took()
            time.sleep(0.05)
        raise AssertionError(f"{left} events are left after {patience}")

    def tally(self, kafka):
        return Tally(self.truth(), kafka.read(self.topic, seconds=300))
