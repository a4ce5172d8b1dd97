"""The relay in a process of Python."""

import asyncio
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

import outtray
import psycopg
import pytest
from lateness import Promise
from outtray.cli import main
from program import whole_lines


def enqueue(where, count, first=0):
    conn = sqlite3.connect(where.url.removeprefix("sqlite:"))
    outbox = outtray.Outbox()
    with conn:
        for n in range(first, first + count):
            outbox.enqueue(conn, "orders", {"n": n}, key=str(n % 7))
    conn.close()


def delivered(path):
    rows = [json.loads(line) for line in whole_lines(path)]
    return [json.loads(row["payload"])["n"] for row in rows]


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "events.ndjson"


def test_until_empty(sqlite_outbox, file):
    enqueue(sqlite_outbox, 100)
    with outtray.Relay(sqlite_outbox.url, f"file://{file}", until_empty=True) as relay:
        assert repr(relay) == "<outtray.Relay open>"
        relay.run()
        assert relay.done
        stats = relay.stats()
    assert delivered(file) == list(range(100))
    assert (stats.delivered, stats.position, stats.last_seq) == (100, 100, 100)
    assert relay.stats() == stats
    assert repr(relay) == "<outtray.Relay closed>"
    with pytest.raises(outtray.Misuse):
        relay.step()


def test_postgresql_to_kafka(pg_outbox, kafka):
    topic = kafka.topic()
    outbox = outtray.Outbox()
    with psycopg.connect(pg_outbox.url) as conn:
        ids = [
            outbox.enqueue(conn, topic, {"n": n}, key="k", headers={"a": "é"})
            for n in range(50)
        ]
    sink = kafka.url
    with outtray.Relay(
        pg_outbox.url, sink, until_empty=True, settings={"sink.tls": "off"}
    ) as relay:
        relay.run()
    messages = kafka.read(topic, 50)
    assert [dict(m.headers())["id"].decode() for m in messages] == ids


def test_stop_from_another_thread(sqlite_outbox, file):
    enqueue(sqlite_outbox, 10)
    with outtray.Relay(sqlite_outbox.url, f"file://{file}") as relay:
        thread = threading.Thread(target=relay.run)
        thread.start()
        wait_for(lambda: relay.stats().delivered == 10)
        enqueue(sqlite_outbox, 10, 10)
        wait_for(lambda: relay.stats().delivered == 20)
        relay.stop()
        thread.join(240)
        assert not thread.is_alive()
    assert delivered(file) == list(range(20))


def test_others_run_while_it_waits(sqlite_outbox, file):
    """The interpreter's lock is free meanwhile."""
    slow = {"relay.poll_min_ms": 5000, "relay.poll_max_ms": 5000}
    with outtray.Relay(sqlite_outbox.url, f"file://{file}", settings=slow) as relay:
        while relay.stats().reads == 0:
            relay.step(0.1)
        turns = 0
        stop = threading.Event()

        def count():
            nonlocal turns
            while not stop.wait(0.005):
                turns += 1

        def in_a_step():
            before = turns
            relay.step(0.8)  # it may come back sooner, to look around
            return turns - before

        thread = threading.Thread(target=count)
        thread.start()
        # With the lock it has one at most: before the step, or behind it.
        wait_for(lambda: in_a_step() > 5)
        stop.set()
        thread.join()


PROGRAM = """
import sys, outtray
print("begun", flush=True)
ttl = {"relay.lease_ttl_ms": "1s"}
with outtray.Relay(sys.argv[1], sys.argv[2], settings=ttl) as relay:
    try:
        relay.run()
    except KeyboardInterrupt:
        print("interrupted", relay.done, relay.stats().fence, flush=True)
"""


def test_ctrl_c(sqlite_outbox, file):
    enqueue(sqlite_outbox, 5)
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, sqlite_outbox.url, f"file://{file}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(delivered(file)) == 5)
    promise = Promise(3)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=240)
    assert out == "begun\ninterrupted True 0\n"
    assert not promise.broken(), str(promise)
    # It gave the lease back: the next one need not wait for it to expire.
    assert sqlite_outbox.query("SELECT owner FROM outtray_cursor") == [(None,)]
    with outtray.Relay(sqlite_outbox.url, "null:", until_empty=True) as relay:
        relay.run()


def test_kill(sqlite_outbox, file):
    """kill -9 of a relay loses nothing."""
    enqueue(sqlite_outbox, 2000)
    command = [sys.executable, "-c", PROGRAM, sqlite_outbox.url, f"file://{file}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: file.exists() and file.stat().st_size > 1000)
    child.kill()
    child.wait()
    settings = {"relay.lease_ttl_ms": "1s"}
    with outtray.Relay(
        sqlite_outbox.url, f"file://{file}", until_empty=True, settings=settings
    ) as relay:
        relay.run()
    assert set(delivered(file)) == set(range(2000))


def test_fork(sqlite_outbox, file):
    enqueue(sqlite_outbox, 3)
    with outtray.Relay(sqlite_outbox.url, f"file://{file}") as relay:
        while relay.step(0.1) and relay.stats().delivered < 3:
            pass
        child = os.fork()
        if child == 0:
            failed = 0
            for use in (relay.step, relay.stop, relay.stats, relay.fileno):
                try:
                    use()
                    failed += 1
                except outtray.Forked:
                    pass
            relay.close()
            os._exit(failed)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        enqueue(sqlite_outbox, 3, 3)
        while relay.step(0.1) and relay.stats().delivered < 6:
            pass
    assert delivered(file) == list(range(6))


def test_asyncio(sqlite_outbox, file):
    async def go():
        relay = outtray.AsyncRelay(sqlite_outbox.url, f"file://{file}")
        async with relay.background():
            enqueue(sqlite_outbox, 50)
            while len(delivered(file)) < 50:
                await asyncio.sleep(0.01)
        assert relay.done
        return relay.stats()

    assert asyncio.run(go()).delivered == 50


def test_asyncio_is_cancelled(sqlite_outbox, file):
    enqueue(sqlite_outbox, 20)

    async def go():
        async with outtray.AsyncRelay(sqlite_outbox.url, f"file://{file}") as relay:
            task = asyncio.create_task(relay.run())
            while len(delivered(file)) < 20:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert relay.done
            assert relay.stats().position == 20

    asyncio.run(go())


def test_asyncio_until_empty(sqlite_outbox, file):
    enqueue(sqlite_outbox, 20)

    async def go():
        async with outtray.AsyncRelay(
            sqlite_outbox.url, f"file://{file}", until_empty=True
        ) as relay:
            await relay.run()

    asyncio.run(go())
    assert delivered(file) == list(range(20))


def test_errors(tmp_path):
    with pytest.raises(outtray.InvalidConfig) as caught:
        outtray.Relay("sqlite:a.db", "null:", settings={"relay.btch_events": 1})
    assert "relay.btch_events" in str(caught.value)
    with pytest.raises(outtray.ConfigError):
        outtray.Relay("nonsense", "null:")
    with pytest.raises(outtray.ConfigError):
        outtray.Relay(config=tmp_path / "missing.ini")
    path = tmp_path / "empty.db"
    sqlite3.connect(path).close()
    with (
        pytest.raises(outtray.StoreNoSchema),
        outtray.Relay(f"sqlite:{path}", "null:") as relay,
    ):
        relay.run()


def test_config(sqlite_outbox, file, tmp_path, monkeypatch):
    """File, then environment, then arguments."""
    ini = tmp_path / "relay.ini"
    ini.write_text(f"[store]\nurl = {sqlite_outbox.url}\n[sink]\nurl = null:\n")
    enqueue(sqlite_outbox, 3)
    monkeypatch.setenv("OUTTRAY_SINK_URL", f"file://{file}")
    with outtray.Relay(config=ini, environment=True, until_empty=True) as relay:
        relay.run()
    assert len(delivered(file)) == 3


def test_log(sqlite_outbox, caplog):
    with (
        caplog.at_level(logging.DEBUG, "outtray"),
        outtray.Relay(
            sqlite_outbox.url,
            "null:",
            until_empty=True,
            settings={"log.level": "debug"},
        ) as relay,
    ):
        relay.run()
    assert caplog.records
    assert {record.name for record in caplog.records} == {"outtray.relay"}


DAEMON = """
import sys, threading, time
import outtray

relay = outtray.Relay(sys.argv[1], "null:")
threading.Thread(target=relay.run, daemon=True).start()
while relay.stats().delivered < 3:
    time.sleep(0.01)
"""


def test_the_program_ends_with_a_daemon(sqlite_outbox):
    """It leaves no lease, for which the next relay would wait."""
    enqueue(sqlite_outbox, 3)
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, sqlite_outbox.url],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (owner,) = sqlite_outbox.query("SELECT owner FROM outtray_cursor")
    assert owner == (None,)


@pytest.mark.parametrize("use", ["stats", "timeout", "close"])
def test_a_handler_of_the_log_that_asks_the_relay(use, sqlite_outbox, file):
    """It is called in a step of the relay, on its thread."""
    relay = outtray.Relay(
        sqlite_outbox.url,
        f"file://{file}",
        until_empty=True,
        logger=logging.Logger("mine"),
    )

    class Handler(logging.Handler):
        def createLock(self):  # noqa: N802 - what hangs shall not hold one
            self.lock = None

        def emit(self, record):
            getattr(relay, use)()

    relay._log.addHandler(Handler())
    runs = threading.Thread(target=relay.run, daemon=True)
    runs.start()
    runs.join(240)
    assert not runs.is_alive()
    assert relay.done
    relay.close()


def test_unclosed(sqlite_outbox):
    relay = outtray.Relay(sqlite_outbox.url, "null:")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del relay
    assert [one.category for one in caught] == [ResourceWarning]


def test_many_relays(sqlite_outbox):
    """Opened and closed, they leave nothing."""

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def one():
        relay = outtray.Relay(sqlite_outbox.url, "null:")
        relay.step()
        relay.close()

    one()
    before = descriptors()
    for _ in range(100):
        one()
    assert descriptors() == before


def test_command(sqlite_outbox, capfd):
    store = ["--store", sqlite_outbox.url]
    assert main(["enqueue", "orders", "{}", *store]) == 0
    assert main(["relay", "--sink", "stdout:", "--until-empty", *store]) == 0
    out = capfd.readouterr().out
    assert '"topic":"orders"' in out
    assert main(["nonsense"]) == 2
    for command in ([sys.executable, "-m", "outtray"], ["outtray"]):
        path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
        done = subprocess.run(
            [*command, "version"],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
        )
        assert done.stdout.startswith(f"outtray {outtray.__version__}")


BESIDE = """
import sqlite3, sys
order, store, pg, kafka = sys.argv[1:]
if order == "first":
    import outtray
import ssl, psycopg, psycopg2, confluent_kafka
import outtray
from outtray.cli import main
for connect in (psycopg.connect, psycopg2.connect):
    conn = connect(pg)
    conn.cursor().execute("SELECT 1")
    conn.close()
assert confluent_kafka.Producer({"bootstrap.servers": kafka}).list_topics(timeout=100)
ssl.create_default_context()
path = store.removeprefix("sqlite:")
conn = sqlite3.connect(path)
with conn:
    outtray.Outbox().enqueue(conn, "orders", b"")
with outtray.Relay(store, "null:", until_empty=True) as relay:
    relay.run()
    assert relay.stats().delivered == 1
assert main(["init", "--if-not-exists", "--store", pg]) == 0
assert main(["check", "--store", pg, "--sink", "kafka://" + kafka]) == 0
"""


@pytest.mark.parametrize("order", ["first", "last"])
def test_beside_other_clients(order, sqlite_outbox, pg, kafka):
    """Other copies of libpq, librdkafka and OpenSSL in one process."""
    command = [sys.executable, "-X", "dev", "-c", BESIDE, order]
    command += [sqlite_outbox.url, pg.url, kafka.bootstrap]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
