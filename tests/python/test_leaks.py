"""What is done very often leaves nothing: memory and descriptors stay flat.

Each runs in a process of its own. OUTTRAY_TEST_LONG=1 (./dev test python --long):
a million calls of enqueue, ten thousand relays.
"""

import os
import pathlib
import subprocess
import sys

import pytest

LONG = bool(os.environ.get("OUTTRAY_TEST_LONG"))
# Of growth, whatever the number of turns: memory goes up and down by some, in a
# long run by more.
KIB = 4096 if LONG else 2048

PROGRAM = """
import gc, os, sqlite3, sys, time
import outtray
from outtray.testing import create_outbox

what, url, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
outbox = outtray.Outbox()
conn = sqlite3.connect(":memory:")
create_outbox(conn)
conn.commit()

def calls(n):
    for i in range(n):
        outbox.enqueue(conn, "orders", b"x" * 200, key="k", headers={"n": str(i)})
        if i % 100 == 99:
            conn.rollback()
    conn.rollback()

def refusals(n):
    for i in range(n):
        for wrong in ({"key": 7}, {"headers": {"id": "x"}}, {"payload": b"x" * 2**21}):
            try:
                outbox.enqueue(conn, "orders", **{"payload": b"", **wrong})
            except outtray.EventError:
                pass

def many(n):
    for i in range(n // 100):
        outbox.enqueue_many(conn, [outtray.Event("t", bytearray(50))] * 100)
        conn.rollback()

def relays(n):
    for i in range(n):
        with outtray.Relay(url, "null:") as relay:
            relay.step()

def scripted(n):
    for i in range(n):
        with outtray.Relay(url) as relay:
            relay.handler("*")(print)
            relay.batches()

def batches(n):
    file = sqlite3.connect(url.removeprefix("sqlite:"))
    settings = {"retry.min_ms": 1, "retry.max_ms": 1, "prune.retention_ms": 0}
    with outtray.Relay(url, settings=settings) as relay:
        done, loop = 0, relay.batches()
        while done < n:
            with file:
                outbox.enqueue_many(
                    file, [outtray.Event("t", b"x" * 100, key="k")] * min(n, 500)
                )
            left = min(n, 500)
            while left > 0:
                batch = next(loop)
                for event in batch:
                    with event:
                        if event.seq % 499 == 0 and event.attempts == 0:
                            raise ValueError("x" * 1000)
                        left -= 1
            done += min(n, 500)
    file.close()

def state():
    gc.collect()
    # The kernel lists a thread for a moment after it was joined.
    for _ in range(1000):
        if len(os.listdir("/proc/self/task")) == 1:
            break
        time.sleep(0.01)
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    kib = pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return kib, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

work = globals()[what]
work(turns if turns <= 20_000 else turns // 5)
before = state()
work(turns)
after = state()
print(*(b - a for a, b in zip(before, after)))
"""


@pytest.mark.timeout(1800 if LONG else 600)
@pytest.mark.parametrize(
    ("what", "short", "long"),
    [
        ("calls", 20_000, 1_000_000),
        ("refusals", 3000, 100_000),
        ("many", 20_000, 1_000_000),
        ("relays", 60, 10_000),
        ("scripted", 100, 10_000),
        ("batches", 10_000, 500_000),
    ],
)
def test_flat(what, short, long, sqlite_outbox):
    turns = str(long if LONG else short)
    command = [sys.executable, "-c", PROGRAM, what, sqlite_outbox.url, turns]
    # The allocator of C would keep an arena for each thread that there was.
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=pathlib.Path(sqlite_outbox.url.removeprefix("sqlite:")).parent,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    assert done.returncode == 0, done.stderr
    kib, descriptors, threads = map(int, done.stdout.split())
    print(f"{turns} turns of {what}: {kib:+} KiB, {descriptors:+} descriptors")
    assert kib < KIB, f"{turns} turns of {what} keep {kib} KiB"
    assert (descriptors, threads) == (0, 0)
