"""The relay as people write it: FOR UPDATE SKIP LOCKED LIMIT 100, publish,
flush, mark as done, commit.

    python_relay.py BROKERS TOPIC PGURL TABLE COUNT
"""

import sys

import psycopg
from confluent_kafka import Producer

BATCH = 100


def main(brokers, topic, url, table, count):
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
    sent = 0
    with psycopg.connect(url) as connection:
        while sent < count:
            rows = connection.execute(
                f"SELECT seq, key, type, payload FROM {table} WHERE status = 0 "
                f"ORDER BY seq LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
            ).fetchall()
            for seq, key, kind, payload in rows:
                headers = {"id": str(seq), "type": kind}
                producer.produce(topic, payload, key, headers=headers)
            if producer.flush(60):
                raise RuntimeError("the broker did not answer")
            connection.execute(
                f"UPDATE {table} SET status = 2 WHERE seq = ANY (%s)",
                ([row[0] for row in rows],),
            )
            connection.commit()
            sent += len(rows)


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
