"""A gateway without a database: an event that was answered 201 is in the outbox on
this machine, whatever becomes of nginx, and is delivered by the relay beside it."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import struct
import threading
import time

import disk
import pytest


@contextlib.contextmanager
def opened(path):
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.isolation_level = None
        yield connection


def keys(path):
    """{key: id} of the outbox."""
    with opened(path) as connection:
        return dict(connection.execute("SELECT key, id FROM outtray_event"))


@contextlib.contextmanager
def locked(path):
    """Another writer is in the middle of its transaction."""
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def commits(path):
    """How often something was committed into the -wal file, which must be young."""
    data = path.with_name(path.name + "-wal").read_bytes()
    page = struct.unpack(">I", data[8:12])[0]
    salt = data[16:24]
    frames = [data[at : at + 24] for at in range(32, len(data), 24 + page)]
    return sum(f[8:16] == salt and f[4:8] != b"\0\0\0\0" for f in frames)


def stats(nginx):
    return json.loads(nginx.post("/stats")[1])


def waiting(nginx):
    """Events in the queues of all workers."""
    found = {}
    for _ in range(20):
        one = stats(nginx)
        found[one["pid"]] = one["events"]
    return sum(found.values())


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(64) as made:
        yield made


def send(pool, nginx, numbers, body=b""):
    """{key: future of (status, text)}"""
    return {str(n): pool.submit(nginx.post, "/events", body, key=n) for n in numbers}


def test_an_event(gateway, tmp_path):
    nginx = gateway()
    status, first = nginx.post("/events", b"a\0b", key="k", header="h")
    events = [{"topic": "a", "key": "x"}, {"topic": "a", "payload": {"n": 1}}]
    assert status == 201
    status, ids = nginx.post("/many", json.dumps(events).encode())
    assert status == 201
    with opened(tmp_path / "gateway.db") as connection:
        rows = connection.execute(
            "SELECT id, topic, key, headers, payload FROM outtray_event ORDER BY seq"
        ).fetchall()
    second, third = ids.split()
    assert rows == [
        (first, "clicks", "k", '{"x-header":"h"}', b"a\0b"),
        (second, "a", "x", None, None),
        (third, "a", None, None, b'{"n":1}'),
    ]


def test_requests_share_a_commit(gateway, pool, tmp_path):
    """What comes while one transaction is on its way goes into the next."""
    path = tmp_path / "gateway.db"
    nginx = gateway(workers=2, busy_timeout=120, timeout=120)
    assert nginx.post("/events", key="first")[0] == 201
    before = commits(path)
    with locked(path):
        sent = send(pool, nginx, range(60))
        wait_for(lambda: waiting(nginx) == 60)
    answers = {n: future.result() for n, future in sent.items()}
    assert {status for status, _ in answers.values()} == {201}
    found = keys(path)
    del found["first"]
    assert found == {n: text for n, (_, text) in answers.items()}
    # Of each worker one was on its way, and one gathered.
    assert 2 <= commits(path) - before <= 4


def test_the_lock_is_kept_by_another(gateway, pool, tmp_path):
    """Whoever waits too long is told whether the event can still be written."""
    path = tmp_path / "gateway.db"
    nginx = gateway(workers=1, timeout=1, busy_timeout=30)
    # A slow disk may take longer than the gateway waits here.
    wait_for(lambda: nginx.post("/events", key="before")[0] == 201)
    with locked(path):
        first = send(pool, nginx, ["first"])["first"]
        wait_for(lambda: waiting(nginx) == 1)
        later = send(pool, nginx, range(5))
        later = {n: future.result() for n, future in later.items()}
        status, text = first.result()
    code, event_id, message = text.split(" ", 2)
    assert (status, code) == (503, "COMMIT_UNKNOWN")
    assert "is not known" in message
    for status, text in later.values():
        assert status == 503
        assert text.startswith("STORE_BUSY")
        assert text.endswith("the event is not written")
    wait_for(lambda: waiting(nginx) == 0)
    wait_for(lambda: nginx.post("/events", key="after")[0] == 201)
    found = keys(path)
    assert set(found) == {"before", "first", "after"}
    assert found["first"] == event_id


def test_sqlite_gives_up_first(gateway, tmp_path):
    nginx = gateway(busy_timeout=0.1)
    assert nginx.post("/events", key="a")[0] == 201
    with locked(tmp_path / "gateway.db"):
        status, text = nginx.post("/events", key="b")
    assert status == 503
    assert text.startswith("STORE_BUSY")
    assert "another connection holds the write lock" in text
    assert nginx.post("/events", key="c")[0] == 201
    assert set(keys(tmp_path / "gateway.db")) == {"a", "c"}


@pytest.mark.parametrize(
    ("options", "body"),
    [({"max_events": 8}, b""), ({"max_bytes": 11000}, b"x" * 1000)],
    ids=["events", "bytes"],
)
def test_a_full_queue(gateway, pool, tmp_path, options, body):
    """What does not fit is refused at once; what was taken is written."""
    path = tmp_path / "gateway.db"
    nginx = gateway(workers=1, busy_timeout=120, timeout=120, **options)
    with locked(path):
        sent = send(pool, nginx, range(40), body)
        wait_for(lambda: sum(future.done() for future in sent.values()) == 32)
        at_once = stats(nginx)
        refused = {n for n, future in sent.items() if future.done()}
    answers = {n: future.result() for n, future in sent.items()}
    for n in refused:
        status, text = answers[n]
        assert status == 503
        assert text.startswith("QUEUE_FULL")
        assert text.endswith("try again later")
    taken = {n for n, (status, _) in answers.items() if status == 201}
    assert taken == set(sent) - refused
    assert set(keys(path)) == taken
    assert (at_once["refused"], at_once["events"]) == (32, 8)
    assert (stats(nginx)["events"], stats(nginx)["bytes"]) == (0, 0)


def test_no_outbox_yet(gateway, outtray, tmp_path):
    nginx = gateway(init=False)
    status, text = nginx.post("/events", key="a")
    assert status == 503
    assert text.startswith("STORE_NO_SCHEMA")
    assert "`outtray init` makes it" in text
    outtray.run("init", "--store", f"sqlite:{tmp_path}/gateway.db")
    assert nginx.post("/events", key="b")[0] == 201


def test_no_thread_pool(gateway):
    status, text = gateway(thread_pool="mine").post("/events", key="a")
    assert status == 503
    assert "write `thread_pool mine threads=1;` into nginx.conf" in text


@pytest.mark.skipif(
    not disk.available(), reason="a disk of its own needs root and loop devices"
)
def test_a_full_disk(gateway, tmp_path):
    drive = disk.Disk(tmp_path, 8)
    try:
        path = drive.path / "gateway.db"
        nginx = gateway(path=path)
        assert nginx.post("/events", key="before")[0] == 201
        drive.fill()
        answers = [nginx.post("/events", b"x" * 100000, key=n) for n in range(3)]
        for status, text in answers:
            assert status == 503
            assert text.startswith("STORE_FULL")
            assert "free space" in text
        drive.clear()
        assert nginx.post("/events", key="after")[0] == 201
        assert set(keys(path)) == {"before", "after"}
        nginx.stop()
    finally:
        drive.close()


def test_one_bad_event_harms_no_other(gateway, pool, tmp_path):
    path = tmp_path / "gateway.db"
    nginx = gateway(workers=1, busy_timeout=120, timeout=120)
    with opened(path) as connection:
        connection.execute("CREATE UNIQUE INDEX one ON outtray_event (id)")
    _, taken = nginx.post("/events", key="first")
    with locked(path):
        again = [{"id": taken} if n % 3 == 0 else {} for n in range(30)]
        sent = [pool.submit(nginx.post, "/events", key="k", **a) for a in again]
        wait_for(lambda: waiting(nginx) == 30)
    for n, future in enumerate(sent):
        status, text = future.result()
        assert status == (503 if n % 3 == 0 else 201), text
        assert text.startswith("EXISTS") == (n % 3 == 0)
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM outtray_event").fetchone() == (
            21,
        )
    # What the builder refuses does not come so far.
    status, text = nginx.post("/events", topic="x" * 300)
    assert (status, text.split()[0]) == (503, "TOO_LARGE")


def test_a_client_that_goes_away(gateway, pool, tmp_path):
    """The others of its group are answered."""
    path = tmp_path / "gateway.db"
    nginx = gateway(workers=1, busy_timeout=120, timeout=120)
    with locked(path):
        hasty = [socket.create_connection(("127.0.0.1", nginx.port)) for _ in range(10)]
        for n, client in enumerate(hasty):
            head = f"POST /events?key=h{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 0"
            client.sendall(f"{head}\r\n\r\n".encode())
        wait_for(lambda: waiting(nginx) == 10)
        sent = send(pool, nginx, range(10))
        wait_for(lambda: waiting(nginx) == 20)
        for client in hasty:
            client.close()
        # After this answer the worker has seen that they are gone.
        assert nginx.post("/stats")[0] == 200
    assert {future.result()[0] for future in sent.values()} == {201}
    assert {str(n) for n in range(10)} <= set(keys(path))
    assert nginx.post("/events", key="after")[0] == 201


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("event", "an event is a table, not a string"),
        ("member", "there is no member 'colour'"),
        ("list", "enqueue_many takes a list of events, not a number"),
        ("none", "gateway takes a table of options, not a nil"),
        ("store", "store is missing"),
        ("option", "gateway has no option 'timout'"),
        ("kind", "timeout must be a number, not a string"),
        ("range", "max_events must be more than 0, not 0"),
        ("url", "the path of the database file is missing"),
    ],
)
def test_mistakes_are_raised(mistaken, what, text):
    status, body = mistaken.post("/misuse", what=what)
    assert status == 500
    assert text in body
    assert body.startswith("gateway_app.lua:") or "/gateway_app.lua:" in body


def test_phases(gateway):
    nginx = gateway(phases=True)
    assert nginx.post("/phases") == (200, "ok")

    def told(phase):
        wait_for(lambda: nginx.post("/told", phase=phase)[1] != "nothing")
        return nginx.post("/told", phase=phase)[1]

    for phase in ("rewrite", "access", "content", "timer"):
        assert told(phase) == "written", phase
    for phase in ("init", "init_worker", "set", "header_filter", "body_filter", "log"):
        text = told(phase)
        assert text.startswith("WRONG_PHASE: a request cannot wait for the disk in ")
        assert f" {phase}_by_lua: " in text


def answered_201(answers):
    """{key: id}"""
    found = list(answers.items())  # others add to it
    return {key: text for key, (status, text) in found if status == 201}


def test_whatever_happens_to_workers(gateway, outtray, kafka, tmp_path):
    """Reloads and kills under load, a relay beside it: every 201 is in Kafka, and
    nothing that was answered as not written."""
    path = tmp_path / "gateway.db"
    topic = kafka.topic(3)
    nginx = gateway(workers=2)
    command = ["relay", "--store", f"sqlite:{path}", "--sink", kafka.url]
    relay = outtray.start(*command)
    rng = random.Random()
    answers, over = {}, threading.Event()

    def client(number):
        n = 0
        while not over.is_set():
            key = f"{number}.{n}"
            answers[key] = nginx.post("/events", key.encode(), key=key, topic=topic)
            n += 1

    def go_on():
        """For a while, and until some more are written."""
        before = len(answered_201(answers))
        time.sleep(0.4)
        wait_for(lambda: len(answered_201(answers)) > before + 10)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(client, n) for n in range(8)]
        try:
            for number in [signal.SIGHUP, signal.SIGKILL] * 3:
                go_on()
                if number == signal.SIGHUP:
                    nginx.process.send_signal(number)
                elif pids := nginx.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(pids), number)
            go_on()
        finally:
            over.set()
        for future in running:
            future.result()
    nginx.stop()
    written = keys(path)
    created = answered_201(answers)
    assert len(created) > 50
    assert {key: written.get(key) for key in created} == created
    for key in set(written) - set(created):
        status, text = answers[key]
        assert status in (0, 502) or "COMMIT_UNKNOWN" in text, (status, text)
    relay.stop()
    outtray.run(*command, "--until-empty")
    arrived = {message.value().decode() for message in kafka.read(topic)}
    assert arrived == set(written)
