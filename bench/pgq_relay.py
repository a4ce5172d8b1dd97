"""A relay on PgQ: takes a batch, publishes it, flushes, finishes the batch.
The producer has the settings of outtray's, and each message the same headers.

    pgq_relay.py BROKERS TOPIC PGURL QUEUE CONSUMER COUNT
"""

import sys

import psycopg
from confluent_kafka import Producer

PRODUCER = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 0,
    "socket.nagle.disable": True,
    "partitioner": "murmur2_random",
    "message.timeout.ms": 0,
}
EVENTS = "SELECT ev_id, ev_type, ev_extra1, ev_data FROM pgq.get_batch_events(%s)"


class Reports:
    """What became of the messages."""

    def __init__(self):
        self.failed = 0

    def __call__(self, error, _message):
        self.failed += error is not None


def main(brokers, topic, url, queue, consumer, count):
    producer = Producer({"bootstrap.servers": brokers, **PRODUCER})
    reports, sent = Reports(), 0
    with psycopg.connect(url, autocommit=True) as connection:
        while sent < count:
            (batch,) = connection.execute(
                "SELECT pgq.next_batch(%s, %s)", (queue, consumer)
            ).fetchone()
            if batch is None:
                raise RuntimeError("there is no batch: are there ticks?")
            events = connection.execute(EVENTS, (batch,)).fetchall()
            for seq, kind, key, payload in events:
                number = str(seq)
                headers = [("id", number), ("outtray-order", number), ("type", kind)]
                producer.produce(
                    topic, payload, key, headers=headers, on_delivery=reports
                )
            if producer.flush(60) or reports.failed:
                raise RuntimeError("the broker did not take every message")
            connection.execute("SELECT pgq.finish_batch(%s)", (batch,))
            sent += len(events)


if __name__ == "__main__":
    main(*sys.argv[1:6], int(sys.argv[6]))
