"""What the tests of scripted relays have in common."""

import os
import signal
import sqlite3

import outtray
import pytest

SOON = {"retry.min_ms": 1, "retry.max_ms": 5}


def enqueue(where, count, first=0, topic="orders", keys=7, prefix=""):
    conn = sqlite3.connect(where.url.removeprefix("sqlite:"))
    with conn:
        outtray.Outbox().enqueue_many(
            conn,
            [
                outtray.Event(topic, {"n": n}, key=f"{prefix}{n % keys}")
                for n in range(first, first + count)
            ],
        )
    conn.close()


def held(where, columns):
    """Of the held events; the rows of the cursor itself are none."""
    return where.query(f"SELECT {columns} FROM outtray_held WHERE state != 'skipped'")


def number(event):
    return event.json()["n"]


def in_order(numbers, keys=7):
    return all(
        [n for n in numbers if n % keys == key]
        == sorted(n for n in numbers if n % keys == key)
        for key in range(keys)
    )


def deliver(url, path):
    """The work of a process of multiprocessing."""
    relay = outtray.Relay(url)
    signal.signal(signal.SIGTERM, lambda *_: relay.stop())
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @relay.handler("*")
    def handle(event):
        os.write(out, b"%d\n" % event.json()["n"])

    with relay:
        os.write(out, b"ready\n")
        relay.run()


def use_of_another(relay):
    with pytest.raises(outtray.Forked):
        relay.batches()
    with pytest.raises(outtray.Forked):
        relay.stop()
    relay.close()
