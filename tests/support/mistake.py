"""An outbox that somebody makes a mistake with: what was committed, what
arrived, who names the mistake, and the remedy that the text names."""

import contextlib
import json
import re
import sqlite3
import uuid

import psycopg
from program import whole_lines
from scene import SECONDS, Scene, Stage

# What begins a statement that a text tells to type, and what ends it.
STATEMENT = re.compile(
    r"\b((?:ALTER|INSERT|UPDATE|DELETE|DROP|CREATE|GRANT|REVOKE|SELECT (?=setval|pg_))"
    r".*?)(?= sends all|: all that|, if this|, or let|$)",
    re.DOTALL,
)


def line_with(text, word):
    """The line of a log or an error that has the word, as a person reads it."""
    (line, *_) = [line for line in text.splitlines() if word in line]
    return json.loads(line)["text"] if line.startswith("{") else line


def statement(text):
    """The SQL that a text tells to type."""
    found = STATEMENT.search(text)
    assert found, f"nothing to type in: {text}"
    return found[1]


class Mistake(Scene):
    """A scene with a file for a sink, and the ids of all that was committed."""

    def __init__(self, stage, name):
        super().__init__(stage, name)
        self.file = self.program.folder / "arrived"
        self.sink = f"file://{self.file}"
        self.committed = []
        self.roles = []
        self.insert = "SELECT {o}.enqueue('t', 'x', key => %s)::text"

    def put(self, n=1, key="k", connection=None):
        """Commit n events."""
        connection = connection or self.connect(autocommit=True)
        text = self.insert.replace("{o}", self.name)
        for _ in range(n):
            ((event,),) = connection.execute(text, (key,)).fetchall()
            self.committed.append(event)
        return self.committed[-n:]

    def forget(self):
        """The mistake itself destroyed what was committed and not sent."""
        self.committed = [id for id in self.committed if id in self.arrived()]

    def arrived(self):
        return [json.loads(line)["id"] for line in whole_lines(self.file)]

    def missing(self):
        return set(self.committed) - set(self.arrived())

    def drain(self, *words, status=0, env=None):
        """Relay all there is, or as far as it goes; what it said."""
        done = self.run(
            *("relay", "--until-empty", "--sink", self.sink, *words),
            status=status,
            env=env,
        )
        return done.stderr

    def doctor(self, check, **options):
        """The worst finding of a check: text and fix."""
        found = self.run("doctor", "--json", status=None, **options).json()
        worst = [f for f in found["findings"] if f["check"] == check]
        worst.sort(key=lambda f: ["FAILED", "warning", "ok"].index(f["level"]))
        assert worst and worst[0]["level"] != "ok", (check, found)
        return worst[0]["text"], worst[0]["fix"]

    def cure(self, text):
        """Type the SQL that a text names."""
        self.sql(statement(text))

    def role(self, kind="relay"):
        """A role, with the rights that init gives; the URL to log in by."""
        name = f"{kind}_{self.name}"
        self.sql(f"DROP ROLE IF EXISTS {name}")
        self.sql(f"CREATE ROLE {name} LOGIN")
        self.roles.append(name)
        self.run("init", f"--{kind}-role", name)
        return name, self.url.replace("postgres@", f"{name}@")

    def connect_as(self, url):
        connection = psycopg.connect(url, autocommit=True)
        self.stack.callback(connection.close)
        return connection

    def hear(self, relay, *words):
        """Until the relay has said it; the line that has the last word."""
        relay.wait_for(lambda: all(word in relay.stderr for word in words), SECONDS)
        return line_with(relay.stderr, words[-1])

    def all_arrive(self, relay):
        """The relay that runs goes on by itself."""
        relay.wait_for(lambda: not self.missing(), SECONDS)

    def close(self):
        for name in self.roles:
            self.stack.callback(self.sql, f"DROP OWNED BY {name}; DROP ROLE {name}")
        super().close()


class FileMistake(Mistake):
    """The same in a SQLite file."""

    def __init__(self, stage, name):
        folder = stage.folder / name
        self.path = folder / "shop.db"
        super().__init__(Stage(stage.path, f"sqlite://{self.path}", stage.folder), name)

    def connect(self, **options):
        connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        self.stack.callback(connection.close)
        return connection

    def sql(self, text, connection=None):
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as own:
            own.isolation_level = None
            text = text.replace("{o}", self.name)
            if ";" in text and "CREATE TRIGGER" not in text:
                own.executescript(text)
                return []
            return own.execute(text).fetchall()

    def put(self, n=1, key="k", connection=None):
        for _ in range(n):
            self.committed.append(str(uuid.uuid4()))
            with contextlib.closing(
                sqlite3.connect(self.path, timeout=20, isolation_level=None)
            ) as own:
                own.execute(
                    f"INSERT INTO {self.name}_event (id, topic, key, payload) "
                    "VALUES (?, 't', ?, 'x')",
                    (self.committed[-1], key),
                )
        return self.committed[-n:]
