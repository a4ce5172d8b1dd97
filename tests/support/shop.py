"""An application with an outbox in a PostgreSQL and topics in a Kafka, or both
in files: what tests kill, freeze and mislead, and what they count at last."""

import contextlib
import json
import os
import random
import sqlite3
import threading

import psycopg
from topics import Topics
from traffic import Tally, Traffic


class Shop:
    """An outbox with an application on it, in a database of its own."""

    def __init__(self, server, broker, outtray):
        self.server, self.broker, self.outtray = server, broker, outtray
        self.node = broker.nodes[0]
        self.kafka = Topics(broker.bootstrap)
        self.name = f"t{os.urandom(4).hex()}"
        self.url = server.url.rpartition("/")[0] + "/" + self.name
        self.query("CREATE DATABASE " + self.name, url=server.url)
        outtray.env = {
            "OUTTRAY_STORE_URL": self.url,
            "OUTTRAY_SINK_URL": self.kafka.url,
        }
        outtray.run("init")

    def query(self, sql, *parameters, url=None):
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def traffic(self, **options):
        topic = options.pop("topic", None) or self.kafka.topic()
        return Traffic(self.url, topic, **options)

    def relay(self, *options, env=None):
        return self.outtray.start("relay", "--log.format", "json", *options, env=env)

    def position(self):
        return self.query("SELECT max(position) FROM outtray.cursor")[0][0] or 0

    def moved(self, running, seconds=20):
        """Wait until the relay has published something new."""
        before = self.position()
        running.wait_for(lambda: self.position() > before + 20, seconds)

    def tally(self, traffic, seconds=40):
        traffic.stop()
        traffic.drained(seconds)
        return traffic.tally(self.kafka)


class FileShop:
    """The same in an SQLite file, which may be on another disk, and a file of
    lines."""

    def __init__(self, outtray, disk=None):
        self.outtray = outtray
        folder = outtray.folder / f"t{os.urandom(4).hex()}"
        folder.mkdir()
        self.file, self.out = (disk or folder) / "shop.db", folder / "out"
        outtray.env = {
            "OUTTRAY_STORE_URL": f"sqlite:{self.file}",
            "OUTTRAY_SINK_URL": f"file://{self.out}",
        }
        outtray.run("init")

    def query(self, sql, *parameters):
        with contextlib.closing(connect(self.file)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def traffic(self, **options):
        return FileTraffic(self, **options)

    relay = Shop.relay
    moved = Shop.moved

    def position(self):
        return self.query("SELECT max(position) FROM outtray_cursor")[0][0] or 0

    def tally(self, traffic, seconds=40):
        traffic.stop()
        traffic.drained(seconds)
        return traffic.tally()


class Line:
    """A line of the file sink, as if it were a message of Kafka."""

    def __init__(self, text):
        self.body = json.loads(text)

    def headers(self):
        return [("id", self.body["id"].encode())]

    def key(self):
        return self.body["key"].encode()

    def value(self):
        return self.body["payload"].encode()


def connect(file):
    """synchronous=NORMAL, as many applications run it."""
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


class FileTraffic(Traffic):
    """Writers on an SQLite file."""

    def __init__(self, shop, keys=40, writers=1, pause=0.002, filler="", again=False):
        self.shop = shop
        self.topic, self.keys, self.pause, self.filler = "orders", keys, pause, filler
        self.ending = threading.Event()
        self.rounds = 0
        self.failed = None
        if not again:
            self.make_tables()
        self.threads = [
            threading.Thread(target=self._write, args=(seed,), daemon=True)
            for seed in range(writers)
        ]

    def make_tables(self):
        with contextlib.closing(connect(self.shop.file)) as connection:
            connection.execute("CREATE TABLE ledger (key TEXT PRIMARY KEY, n INTEGER)")
            connection.execute("CREATE TABLE truth (id TEXT, key TEXT, n INTEGER)")
            for key in range(self.keys):
                connection.execute("INSERT INTO ledger VALUES (?, 0)", [f"k{key}"])

    def _write(self, seed):
        dice = random.Random(seed)
        with contextlib.closing(connect(self.shop.file)) as connection:
            while not self.ending.is_set():
                try:
                    self.transaction(connection, dice)
                    self.rounds += 1
                except sqlite3.Error as error:
                    self.failed = error  # a full disk, say: the test knows
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    self.ending.wait(0.2)
                self.ending.wait(self.pause)

    def transaction(self, connection, dice):
        connection.execute("BEGIN IMMEDIATE")
        for key in dice.sample(range(self.keys), dice.choice((1, 1, 1, 2))):
            self.event(connection, f"k{key}")
            if dice.random() < 0.1:
                connection.execute("SAVEPOINT s")
                self.event(connection, f"k{key}")
                connection.execute("ROLLBACK TO s")
                connection.execute("RELEASE s")
        connection.execute("ROLLBACK" if dice.random() < 0.1 else "COMMIT")

    def event(self, connection, key, filler=None, deliver_at=None):
        n = connection.execute(
            "UPDATE ledger SET n = n + 1 WHERE key = ? RETURNING n", [key]
        ).fetchone()[0]
        body = json.dumps({"key": key, "n": n, "filler": filler or self.filler})
        seq, event = connection.execute(
            "INSERT INTO outtray_event (topic, key, payload, deliver_at)"
            " VALUES (?, ?, ?, ?) RETURNING seq, id",
            [self.topic, key, body, deliver_at],
        ).fetchone()
        connection.execute("INSERT INTO truth VALUES (?, ?, ?)", [event, key, n])

    def truth(self):
        rows = self.shop.query("SELECT id, key, n FROM truth")
        return {event: (key, n) for event, key, n in rows}

    def left(self):
        return self.shop.query(
            "SELECT pending + retrying + waiting + blocked + scheduled"
            " FROM outtray_status WHERE subscription = 'main'"
        )[0][0]

    def tally(self):
        lines = self.shop.out.read_text().splitlines()
        return Tally(self.truth(), [Line(line) for line in lines])
