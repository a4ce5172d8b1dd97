"""is a poll, and a drain, as fast with history, backlog, old snapshots, …

Each condition is compared with the plain one of the same round: the time until
the cursor has passed so many events (to the null sink, so that nothing but the
database and the engine counts), from the start of the program on; and the
blocks that a poll with nothing to read looks at, which do not depend on what
else the machine does. Then one relay passes the whole of the longest log.
"""

import contextlib
import resource
import statistics
import time

import psycopg
from cost import statements
from workload import background, bench_servers_up, fresh, say, table

DRAIN = 300_000
FILL = """
INSERT INTO {log}.event (topic, key, type, payload)
SELECT 'orders', 'k' || i %% 1000, 'order.created', decode(md5(i::text), 'hex')
FROM generate_series(1, %s) i
"""
BULK, HELD, CONNECTIONS = 1_000_000, 10_000, 1000
HOLD = """
WITH made AS (INSERT INTO {log}.event (topic, key, payload)
    SELECT 'orders', 'held' || i, 'x' FROM generate_series(1, %s) i
    RETURNING seq, key, topic)
INSERT INTO {log}.held (subscription, seq, key, topic, state, holds_key, attempts)
SELECT %s, seq, key, topic, 'dead', true, 1 FROM made
"""


class Flat:
    """Logs whose last DRAIN events are drained."""

    def __init__(self, bench, drain):
        self.bench, self.drain = bench, drain
        self.logs = {}

    def log(self, name, before):
        """A log with so many events before those that are drained."""
        say(f"filling {name}")
        self.logs[name] = before
        self.bench.outbox(name, 0)
        self.bench.query(FILL.format(log=name), (before + self.drain,))
        self.bench.query(f"VACUUM ANALYZE {name}.event")
        self.bench.query("CHECKPOINT")
        return name

    def held(self, name, keys):
        """A log and a subscription that holds so many keys."""
        self.bench.outbox(name, 0)
        held_by = fresh("s")
        self.bench.query(
            f"INSERT INTO {name}.cursor (subscription, position) VALUES (%s, 0)",
            (held_by,),
        )
        self.bench.query(HOLD.format(log=name), (keys, held_by))
        # The held ones are passed: they stand before those that are drained.
        (last,) = self.bench.query(f"SELECT max(seq) FROM {name}.event")[0]
        self.bench.query(FILL.format(log=name), (self.drain,))
        self.bench.query(f"VACUUM ANALYZE {name}.event, {name}.held")
        self.logs[name] = last
        return name, held_by

    def subscription(self, log, position, held_by):
        """One that has passed so much of the log, and holds what that one
        does."""
        name = fresh("s")
        with psycopg.connect(self.bench.url) as connection:
            connection.execute(
                f"INSERT INTO {log}.cursor (subscription, position) VALUES (%s, %s)",
                (name, position),
            )
            connection.execute(
                f"INSERT INTO {log}.held (subscription, seq, key, topic, state, "
                "holds_key, attempts) SELECT %s, seq, key, topic, state, "
                f"holds_key, attempts FROM {log}.held WHERE subscription = %s",
                (name, held_by),
            )
        return name

    def rate(self, log, position=None, held_by=None):
        """events/s until so many are passed, from the start on."""
        if position is None:
            position = self.logs[log]
        name = self.subscription(log, position, held_by)
        command = self.bench.relay(log, subscription=name)
        sql = f"SELECT position FROM {log}.cursor WHERE subscription = %s"
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            started = time.perf_counter()
            with background(command):
                while connection.execute(sql, (name,)).fetchone()[0] < (
                    position + self.drain
                ):
                    time.sleep(0.005)
                return self.drain / (time.perf_counter() - started)

    def memory(self, log):
        """What a relay has after a tenth of the whole log, and after all of it."""
        events = self.logs[log] + self.drain
        name, found = fresh("s"), []
        sql = f"SELECT max(position) FROM {log}.cursor WHERE subscription = %s"
        with (
            psycopg.connect(self.bench.url, autocommit=True) as connection,
            background(self.bench.relay(log, subscription=name)) as relay,
        ):
            for part in (events // 10, events):
                while (connection.execute(sql, (name,)).fetchone()[0] or 0) < part:
                    time.sleep(0.005)
                found.append(relay.resident() / 1e6)
        say(f"memory over {events:,} events: {found[0]:.1f} MB, {found[1]:.1f} MB")
        after_a_tenth, at_the_end = (round(value, 2) for value in found)
        return {"events": events, "tenth_mb": after_a_tenth, "end_mb": at_the_end}

    def blocks(self, log, held_by=None):
        """Of a poll with nothing to read."""
        (last,) = self.bench.query(f"SELECT max(seq) FROM {log}.event")[0]
        command = self.bench.relay(
            log, subscription=self.subscription(log, last, held_by)
        )
        with background(command):
            time.sleep(1.5)
            read = statements(self.bench, lambda: time.sleep(1))["read"]
        return round(read["blocks"] / max(1, read["calls"]), 1)


@contextlib.contextmanager
def old_snapshot(bench, _):
    with psycopg.connect(bench.url) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM pg_class")
        yield


@contextlib.contextmanager
def bulk_insert(bench, log):
    """A transaction with many events that does not end."""
    with psycopg.connect(bench.url) as writer:
        writer.execute(
            f"INSERT INTO {log}.event (topic, key, payload) SELECT 'orders', "
            f"'bulk', 'x' FROM generate_series(1, {BULK})"
        )
        yield
        writer.rollback()


@contextlib.contextmanager
def other_writer(bench, _):
    """An idle writer in another database."""
    name = fresh("other")
    bench.query(f"CREATE DATABASE {name}")
    url = bench.url.rpartition("/")[0] + "/" + name
    with psycopg.connect(url) as writer:
        writer.execute("CREATE TABLE t AS SELECT 1")
        yield
        writer.rollback()
    bench.query(f"DROP DATABASE {name}")


@contextlib.contextmanager
def many_connections(bench, _):
    # Each is a descriptor here.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(psycopg.connect(bench.url, autocommit=True))
        yield


@contextlib.contextmanager
def nothing(_bench, _log):
    yield


def measure(options):
    drain = options.events or (10_000 if options.quick else DRAIN)
    history = 100_000 if options.quick else 10_000_000
    rounds = options.repeat or (1 if options.quick else 3)
    bulk = f"{BULK:,} rows in flight"
    with bench_servers_up() as bench:
        flat = Flat(bench, drain)
        small = flat.log("flat_small", 10_000)
        large = flat.log("flat_large", history)
        held, held_by = flat.held("flat_held", HELD)
        # name: what is there, the log, and more for Flat.rate
        conditions = {
            "plain": (nothing, small, {}),
            f"{history:,} events of history": (nothing, large, {}),
            f"{history // 2:,} events of backlog": (
                nothing,
                large,
                {"position": history // 2},
            ),
            "an old snapshot": (old_snapshot, small, {}),
            "a writer in another database": (other_writer, small, {}),
            f"{HELD:,} held keys": (nothing, held, {"held_by": held_by}),
            f"{CONNECTIONS:,} idle connections": (many_connections, small, {}),
        }
        result = {"machine": bench.machine(), "drained": drain, "conditions": {}}
        runs = {name: [] for name in [*conditions, bulk]}
        for turn in range(rounds + 1):
            for name, (condition, log, more) in conditions.items():
                with condition(bench, log):
                    rate = flat.rate(log, **more)
                say(f"round {turn}, {name}: {rate:,.0f} events/s")
                if turn:
                    runs[name].append(rate)
        result["memory"] = flat.memory(large)
        blocks = {}
        for name, (condition, log, more) in conditions.items():
            with condition(bench, log):
                blocks[name] = flat.blocks(log, more.get("held_by"))
        # This one burns seqs, so it comes last.
        with bulk_insert(bench, small):
            runs[bulk] = [flat.rate(small) for _ in range(rounds)]
            blocks[bulk] = flat.blocks(small)
        for name, found in runs.items():
            ratios = [a / b for a, b in zip(found, runs["plain"], strict=True)]
            result["conditions"][name] = {
                "blocks_per_poll": blocks[name],
                "events_per_s": round(statistics.median(found)),
                "ratio": round(statistics.median(ratios), 3),
            }
        return result


def show(result):
    rows = [
        [
            name,
            f"{part['events_per_s']:,}",
            f"{part['ratio']:.2f}",
            part["blocks_per_poll"],
        ]
        for name, part in result["conditions"].items()
    ]
    table(["", "events/s", "of plain", "blocks/poll"], rows)
    if memory := result.get("memory"):
        text = "MB resident after a tenth of {events:,} events: {tenth_mb}"
        print(("\n" + text + ", at their end: {end_mb}").format(**memory))
