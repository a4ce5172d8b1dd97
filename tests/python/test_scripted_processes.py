"""Processes with scripted relays: signals, kill -9, fork, gunicorn."""

import contextlib
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import outtray
import process
import psycopg
import pytest
from lateness import Promise

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from scripted import deliver, enqueue, held, in_order, use_of_another  # noqa: E402

# Appends a line for each event, at once, after so many seconds.
WORKER = """
import os, signal, sys, time
import outtray

url, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
relay = outtray.Relay(url, settings={"relay.lease_ttl_ms": "1s"})
signal.signal(signal.SIGTERM, lambda *_: relay.stop())

@relay.handler("*")
def deliver(event):
    os.write(out, b"begun\\n" if seconds > 1 else b"")
    time.sleep(seconds)
    os.write(out, b"%d\\n" % event.json()["n"])

with relay:
    print("ready", flush=True)
    relay.run()
print("stopped", flush=True)
"""


@contextlib.contextmanager
def worker(where, path, seconds):
    command = [sys.executable, "-c", WORKER, where.url, str(path), str(seconds)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def lines(path):
    return path.read_text().split() if path.exists() else []


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def cursor_of(where):
    rows = where.query("SELECT owner, position FROM outtray_cursor")
    return rows[0] if rows else (None, 0)


@pytest.mark.parametrize("busy", [True, False])
def test_ctrl_c(busy, sqlite_outbox, tmp_path):
    """At once, in a handler or between; the lease is given back, and what was
    in hands is given back without a try."""
    with worker(sqlite_outbox, tmp_path / "out", 3600) as child:
        if busy:
            enqueue(sqlite_outbox, 3)
            wait_for(lambda: lines(tmp_path / "out"))
        else:
            wait_for(lambda: cursor_of(sqlite_outbox)[0])
        promise = Promise(5)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=240)
        assert not promise.broken(), str(promise)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode == -signal.SIGINT
    assert cursor_of(sqlite_outbox) == (None, 0)
    assert {attempts for (attempts,) in held(sqlite_outbox, "attempts")} <= {0}


def test_sigterm(sqlite_outbox, tmp_path):
    """The handler that runs comes to its end; the next one is not called."""
    enqueue(sqlite_outbox, 3)
    with worker(sqlite_outbox, tmp_path / "out", 1.5) as child:
        wait_for(lambda: lines(tmp_path / "out"))
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=240)
    assert (out, child.returncode) == ("stopped\n", 0)
    assert lines(tmp_path / "out") == ["begun", "0"]
    assert cursor_of(sqlite_outbox) == (None, 1)


def test_told_to_go_while_it_asks_for_the_lease(pg_outbox):
    """The database has the request, and grants it a second after the relay was
    told to go: it is given back."""
    waiting = (
        "SELECT pid FROM pg_locks WHERE NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    for n in range(10):
        relay = outtray.Relay(
            pg_outbox.url,
            subscription=f"s{n}",
            settings={"relay.lease_ttl_ms": "60s"},
        )
        relay.handler("*")(print)
        thread = threading.Thread(target=relay.run, daemon=True)
        with psycopg.connect(pg_outbox.url) as conn:
            conn.execute("LOCK TABLE outtray.cursor IN ACCESS EXCLUSIVE MODE")
            thread.start()
            wait_for(lambda: pg_outbox.query(waiting))
            told = time.monotonic()
            relay.stop()
            time.sleep(1)
            assert thread.is_alive()
            conn.rollback()
        thread.join(240)
        relay.close()
        # It waits for 3 s, which a busy machine may take by itself.
        if time.monotonic() - told < 2:
            break
    cursor = f"SELECT owner, fence FROM outtray.cursor WHERE subscription = 's{n}'"
    assert pg_outbox.query(cursor) == [(None, 1)]


def test_kill(pg_outbox, tmp_path):
    """kill -9 in the middle, again and again: lost 0, the order of keys kept."""
    count, keys, path = 4000, 20, tmp_path / "out"
    done = threading.Event()

    def produce():
        with psycopg.connect(pg_outbox.url) as conn:
            for first in range(0, count, 50):
                with conn.transaction():
                    outtray.Outbox().enqueue_many(
                        conn,
                        [
                            outtray.Event("orders", {"n": n}, key=str(n % keys))
                            for n in range(first, first + 50)
                        ],
                    )
                time.sleep(0.02)
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    for _ in range(4):
        before = len(lines(path))
        with worker(pg_outbox, path, 0.0005) as child:
            wait_for(lambda: len(lines(path)) > before)  # noqa: B023
            time.sleep(random.uniform(0.05, 0.4))
            child.send_signal(signal.SIGKILL)
            child.wait()
    producer.join()
    assert done.is_set()
    with worker(pg_outbox, path, 0) as child:
        wait_for(lambda: len(set(lines(path))) == count)
        child.send_signal(signal.SIGTERM)
        assert child.wait(240) == 0
    numbers = list(map(int, lines(path)))
    first = list(dict.fromkeys(numbers))  # the first delivery of each
    assert sorted(first) == list(range(count))
    assert in_order(first, keys)
    assert len(numbers) - count < 4 * 20_000  # at most a window for each kill


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method, sqlite_outbox, tmp_path, pg_outbox):
    """Workers have relays of their own, beside one that runs in the parent."""
    context = multiprocessing.get_context(method)
    path = tmp_path / "out"
    with outtray.Relay(pg_outbox.url) as relay:
        batches = relay.batches()
        if method == "fork":
            child = context.Process(target=use_of_another, args=(relay,))
            child.start()
            child.join(240)
            assert child.exitcode == 0
        workers = [
            context.Process(
                target=deliver, args=(sqlite_outbox.url, str(path)), daemon=True
            )
            for _ in range(2)
        ]
        for one in workers:
            one.start()
        wait_for(lambda: lines(path).count("ready") == 2)
        enqueue(sqlite_outbox, 100)
        wait_for(lambda: len(lines(path)) == 102)
        for one in workers:
            one.terminate()
            one.join(240)
            assert one.exitcode == 0
        with psycopg.connect(pg_outbox.url) as conn:
            outtray.Outbox().enqueue(conn, "orders", {"n": 1})
        assert [event.json() for event in next(batches)] == [{"n": 1}]
    assert in_order([int(line) for line in lines(path) if line != "ready"])


APP = """
import os
import psycopg
import outtray

url = os.environ["SHOP"]
outbox = outtray.Outbox()
of_the_master = outtray.Relay(url)  # as a module that is preloaded might do

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    n = environ["PATH_INFO"].strip("/")
    if not n.isdigit():
        try:
            return [repr(of_the_master.stats()).encode()]
        except outtray.Forked as error:
            return [b"Forked: " + str(error).encode()]
    with psycopg.connect(url) as conn:
        outbox.enqueue(conn, "orders", {"n": int(n)}, key="k")
    return [b"%d" % os.getpid()]
"""
GUNICORN = """
import os, threading
import outtray

def post_worker_init(worker):
    relay = worker.relay = outtray.Relay(os.environ["SHOP"])
    out = os.open(os.environ["OUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @relay.handler("*")
    def deliver(event):
        os.write(out, b"%d\\n" % event.json()["n"])

    threading.Thread(target=relay.run, daemon=True).start()
    print("began", os.getpid(), flush=True)

def worker_exit(server, worker):
    worker.relay.stop()
    print("ends", os.getpid(), flush=True)
"""


def test_gunicorn(pg_outbox, tmp_path):
    """Preloaded, with a relay in each worker, and workers that are replaced."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "conf.py").write_text(GUNICORN)
    out = tmp_path / "out"
    port = process.free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "2",
        "-c",
        "conf.py",
    ]
    command += ["--max-requests", "15", "-b", f"127.0.0.1:{port}", "shop:app"]
    with (tmp_path / "said").open("w") as said:
        master = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "SHOP": pg_outbox.url, "OUT": str(out)},
            stdout=said,
            stderr=subprocess.PIPE,
            text=True,
        )

    def all_began():
        """gunicorn itself forgets the signal to a worker that is not so far."""
        said = [line.split() for line in (tmp_path / "said").read_text().splitlines()]
        pids = {word: {int(pid) for w, pid in said if w == word} for word, _ in said}
        working = pids.get("began", set()) - pids.get("ends", set())
        return len(working) == 2 and working == set(process.descendants(master.pid))

    def get(path):
        for _ in range(2400):  # a worker may just be leaving
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as got:
                    return got.read().decode()
            except OSError:
                assert master.poll() is None, master.stderr.read()
                time.sleep(0.1)
        return pytest.fail("gunicorn does not answer")

    try:
        assert get("stats").startswith("Forked: this relay was opened before fork()")
        pids = {get(str(n)) for n in range(40)}
        master.send_signal(signal.SIGHUP)
        pids |= {get(str(n)) for n in range(40, 80)}
        wait_for(lambda: len(set(lines(out))) == 80)
        wait_for(all_began)
        master.terminate()
        _, err = master.communicate(timeout=240)
    finally:
        master.kill()
        master.communicate()
    assert master.returncode == 0, err
    assert len(pids) > 3
    first = list(dict.fromkeys(map(int, lines(out))))
    assert sorted(first) == list(range(80))
    (owner,) = pg_outbox.query("SELECT owner FROM outtray.cursor")
    assert owner == (None,), err
