"""A queue of PgQ (the extension of Debian's postgresql-15-pgq3) to drain."""

BATCH = 5000  # events between two ticks: as many as the relay reads
LOAD = """
SELECT count(pgq.insert_event(%(queue)s, type, convert_from(payload, 'UTF8'),
                              key, NULL, NULL, NULL))
FROM {outbox}.event WHERE seq BETWEEN %(first)s AND %(last)s
"""


def available(bench):
    """Has this PostgreSQL the extension?"""
    found = bench.query("SELECT 1 FROM pg_available_extensions WHERE name = 'pgq'")
    return bool(found)


def fill(bench, queue, consumers, outbox, events):
    """A queue with the events of an outbox, ticked after each BATCH of them as
    its daemon would, and all of it before each of the consumers."""
    bench.query("CREATE EXTENSION IF NOT EXISTS pgq")
    bench.query("SELECT pgq.create_queue(%s)", (queue,))
    # A tick whenever it is asked for.
    bench.query("SELECT pgq.set_queue_config(%s, 'ticker_max_count', '1')", (queue,))
    for consumer in consumers:
        bench.query("SELECT pgq.register_consumer(%s, %s)", (queue, consumer))
    for first in range(1, events + 1, BATCH):
        last = min(first + BATCH - 1, events)
        values = {"queue": queue, "first": first, "last": last}
        bench.query(LOAD.format(outbox=outbox), values)
        bench.query("SELECT pgq.ticker(%s)", (queue,))
    (table,) = bench.query("SELECT pgq.current_event_table(%s)", (queue,))[0]
    bench.query(f"VACUUM ANALYZE {table}")
    bench.query("CHECKPOINT")


def drop(bench, queue):
    bench.query("SELECT pgq.drop_queue(%s, true)", (queue,))
