"""What the tests of scripted relays have in common."""

import sqlite3

import outtray

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


def number(event):
    return event.json()["n"]


def in_order(numbers, keys=7):
    return all(
        [n for n in numbers if n % keys == key]
        == sorted(n for n in numbers if n % keys == key)
        for key in range(keys)
    )
