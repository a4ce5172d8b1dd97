"""Outboxes with relays of their own, many of which play at once in one
database, and what people see of them."""

import contextlib
import os
import signal

import psycopg
from program import Program

# For what a scene needs before it begins; nothing is promised of it.
SECONDS = 40


class Stage:
    """A database, the program, and a scratch folder."""

    def __init__(self, path, url, folder):
        self.path, self.url, self.folder = path, url, folder


@contextlib.contextmanager
def new_stage(folder):
    """On the shared server; its database goes with it."""
    server = os.environ["OUTTRAY_TEST_PG"]
    name = f"t{os.getpid()}_{os.urandom(4).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = server.rpartition("/")[0] + "/" + name
    yield Stage(os.environ["OUTTRAY_TEST_BIN"], url, folder)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Scene:
    """An outbox, its relays, and who is in their way."""

    def __init__(self, stage, name):
        self.name = name.replace(" ", "_").replace("-", "_")
        self.url = stage.url
        folder = stage.folder / self.name
        folder.mkdir(parents=True)
        self.program = Program(stage.path, folder)
        self.program.env = {
            "OUTTRAY_STORE_URL": stage.url,
            "OUTTRAY_STORE_OUTBOX": self.name,
        }
        self.stack = contextlib.ExitStack()

    def run(self, *words, **options):
        return self.program.run(*words, **options)

    def relay(self, sink="null:", *, ttl="6s", **settings):
        settings = {"relay_lease_ttl_ms": ttl, **settings}
        words = []
        for name, value in settings.items():
            words += ["--set", f"{name.replace('_', '.', 1)}={value}"]
        return self.program.start("relay", "--sink", sink, *words)

    def owned(self, relay):
        relay.wait_for(lambda: self.one()["owner"], SECONDS)
        return relay

    def enqueue(self, topic="t", **options):
        words = [
            f"--{name.replace('_', '-')}={value}" for name, value in options.items()
        ]
        return self.run("enqueue", topic, "{}", *words).stdout.strip()

    def connect(self, **options):
        connection = psycopg.connect(self.url, **options)
        self.stack.callback(connection.close)
        return connection

    def sql(self, text, connection=None):
        """{o} stands for the outbox."""
        connection = connection or self.connect(autocommit=True)
        cursor = connection.execute(text.replace("{o}", self.name))
        return cursor.fetchall() if cursor.description else []

    def begin(self, *statements):
        """A transaction that stays open."""
        connection = self.connect()
        for statement in statements:
            self.sql(statement, connection)
        return connection

    def one(self):
        (one,) = self.run("status", "--json").json()["subscriptions"]
        return one

    def status(self):
        """What it says: codes, and the text of an error instead."""
        done = self.run("status", "--json", status=None)
        if done.status != 0:
            return {done.stderr}, done.stderr
        all_ = done.json()
        (one,) = all_["subscriptions"]
        codes = {reason["code"] for reason in one["reasons"] + all_["obstacles"]}
        codes |= {f"{n} {state}" for state, n in one["held"].items() if n}
        return codes, done.stdout

    def explain(self, event):
        done = self.run("explain", event, "--json", status=None)
        if done.status != 0:
            return {done.stderr}, done.stderr
        return {reason["code"] for reason in done.json()["reasons"]}, done.stdout

    def close(self):
        self.stack.close()
        for relay in self.program.running:
            if relay.alive():
                relay.send(signal.SIGCONT)
                relay.kill()
