"""Every documented exit status, from the program itself: each has a way to get
it, and the help of its verb has it, too."""

import contextlib
import re
import signal
import sqlite3
import subprocess

import pytest
from database import Database

NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"
ANY_VERB = {70, 74, 143}  # of any verb, as the page says

WAYS = {}  # status: [function]; it returns the verb and the status


def way(status):
    def register(function):
        WAYS.setdefault(status, []).append(function)
        return function

    return register


class Till:
    """An outbox in a file, and a database with none."""

    def __init__(self, program, folder, pg):
        self.program = program
        self.path = folder / "till.db"
        self.pg = pg
        program.env.update(OUTTRAY_STORE_URL=f"sqlite://{self.path}")
        program.env.update(OUTTRAY_CONFIG="")
        program.run("init")

    def run(self, *words, **options):
        return words[0], self.program.run(*words, status=None, **options).status

    def connect(self):
        own = sqlite3.connect(self.path, isolation_level=None)
        return contextlib.closing(own)

    def signalled(self, *words, number, ready, times=1):
        """Send it a signal once it is ready."""
        run = self.program.start(*words)
        run.wait_for(lambda: ready(run))
        for _ in range(times - 1):
            run.tell(number)
        run.send(number)
        return words[0], run.wait().status


@way(0)
def done(till):
    return till.run("status")


@way(1)
def unhealthy(till):
    return till.run("doctor", "--sink", "kafka://127.0.0.1:1", "--timeout", "1s")


@way(1)
def broken_promise(till):
    till.run("enqueue", "t", "{}")
    till.run("relay", "--until-empty", "--sink", "null:")
    return till.run("reconcile", "--arrived", "/dev/null")


@way(2)
def misuse(till):
    return till.run("show")


@way(2)
def wrong_setting(till):
    return till.run("relay", "--sink", "mysql://127.0.0.1")


@way(65)
def invalid_event(till):
    return till.run("enqueue", "t", "{}", "--header", "id=1")


@way(65)
def too_large(till):
    return till.run("enqueue", "t", "{}", "--set", "enqueue.max_payload_bytes=1")


@way(66)
def not_found(till):
    return till.run("show", "0190a8c0-0000-7000-8000-000000000000")


@way(69)
def no_database(till):
    return till.run("status", "--store", NOWHERE)


@way(69)
def no_broker(till):
    return till.run("check", "--sink", "kafka://127.0.0.1:1", "--timeout", "1s")


@way(70)
def damaged_database(till):
    """Where the log has its rows."""
    with till.connect() as own:
        own.execute("PRAGMA journal_mode = DELETE")
        own.execute("PRAGMA journal_mode = WAL")
        ((root,),) = own.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'outtray_event'"
        )
        ((size,),) = own.execute("PRAGMA page_size")
    with open(till.path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    return till.run("tail")


@way(73)
def exists(till):
    return till.run("init")


@way(74)
def full_output(till):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [till.program.path, "status", "--json"],
            env=till.program.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert b"standard output" in done.stderr
    return "status", done.returncode


@way(75)
def busy(till):
    with till.connect() as own:
        own.execute("BEGIN IMMEDIATE")
        return till.run("enqueue", "t", "{}")


@way(77)
def login_refused(till):
    url = till.pg.url.replace("//postgres@", "//nobody_at_all@")
    return till.run("status", "--store", url)


@way(77)
def right_missing(till):
    role = "exits_" + till.pg.url.rpartition("/")[2]
    till.run("init", "--store", till.pg.url)
    Database(till.pg.url).query(f"CREATE ROLE {role} LOGIN")
    url = till.pg.url.replace("//postgres@", f"//{role}@")
    try:
        return till.run("enqueue", "t", "{}", "--store", url)
    finally:
        Database(till.pg.url).query(f"DROP ROLE {role}")


@way(78)
def no_outbox(till):
    return till.run("status", "--store", till.pg.url)


@way(78)
def topic_refused(till):
    return till.run("check", "--sink", till.kafka.url, "--topic", "not.there")


@way(130)
def second_signal(till):
    """The relay still has an event with its sink."""
    till.run("enqueue", "t", "{}")
    return till.signalled(
        *("relay", "--sink", "fault:?script=hang"),
        number=signal.SIGINT,
        ready=lambda run: "relaying from" in run.stderr,
        times=2,
    )


def catches_sigterm(run):
    with open(f"/proc/{run.pid}/status") as status:
        (mask,) = re.findall(r"^SigCgt:\s*(\w+)", status.read(), re.MULTILINE)
    return int(mask, 16) >> (signal.SIGTERM - 1) & 1


@way(143)
def terminated(till):
    """Nothing is under way that has to end well."""
    return till.signalled(
        *("check", "--sink", "kafka://127.0.0.1:1", "--timeout", "1m"),
        number=signal.SIGTERM,
        ready=catches_sigterm,
    )


@pytest.fixture
def till(outtray, tmp_path, pg, kafka):
    till = Till(outtray, tmp_path, pg)
    till.kafka = kafka
    return till


def statuses(text):
    """Of the list at the end of a help, or of the page of all."""
    return {int(n) for n in re.findall(r"^ +(\d+)  \w", text, re.MULTILINE)}


@pytest.mark.parametrize(
    "status, function",
    [(status, f) for status, functions in WAYS.items() for f in functions],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_status(till, status, function):
    verb, seen = function(till)
    assert seen == status
    said = till.program.run(verb, "--help").stdout
    listed = statuses(said[said.index("\nexit status") :])
    assert status in listed | ANY_VERB, verb


def test_every_documented_status_has_a_way(outtray):
    page = outtray.run("help", "--markdown").stdout
    page = page[page.index("\n## Exit status") :]
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed and listed | ANY_VERB == set(WAYS)
    assert all(str(status) in page for status in ANY_VERB)
