"""Keeps the last state of each parcel, in SQLite."""

import signal
import sqlite3
import sys

import confluent_kafka

db = sqlite3.connect("parcels.db", isolation_level=None)
db.execute("CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY)")
db.execute(
    "CREATE TABLE IF NOT EXISTS parcel"
    " (key TEXT PRIMARY KEY, fence INTEGER, seq INTEGER, state TEXT)"
)


def handle(key, value, headers):
    fence, seq = map(int, headers["outtray-order"].split("."))
    done = db.execute("INSERT OR IGNORE INTO handled VALUES (?)", [headers["id"]])
    if done.rowcount == 0:
        return "again"
    done = db.execute(
        "INSERT INTO parcel VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
        " SET fence = excluded.fence, seq = excluded.seq, state = excluded.state"
        " WHERE (excluded.fence, excluded.seq) > (fence, seq)",
        [key, fence, seq, value],
    )
    return "handled" if done.rowcount else "late"


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
consumer = confluent_kafka.Consumer(
    {
        "bootstrap.servers": "127.0.0.1:9092",
        "group.id": "parcels",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe(["parcels"])
try:
    while True:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():  # the client goes on by itself
            print(message.error(), file=sys.stderr)
            continue
        headers = {name: value.decode() for name, value in message.headers()}
        db.execute("BEGIN IMMEDIATE")
        what = handle(message.key().decode(), message.value(), headers)
        db.execute("COMMIT")
        consumer.commit(message, asynchronous=False)
        print(what, message.key().decode(), headers["outtray-order"])
finally:
    consumer.close()
