"""is a poll, and a drain, as fast with history, backlog, old snapshots, …

Each condition is compared with the plain one of the same round: the drain of
the last events of the log (to the null sink, so that nothing but the database
and the engine counts), and the blocks that a poll with nothing to read looks
at, which do not depend on what else the machine does.
"""

import contextlib
import statistics
import time

import psycopg
from cost import statements
from workload import background, bench_servers_up, fresh, say, table, timed

DRAIN = 100_000


class Flat:
    """Logs whose last DRAIN events are drained."""

    def __init__(self, bench, drain):
        self.bench, self.drain = bench, drain
        self.logs = {}

    def log(self, name, before):
        """A log with so many events before those that are drained."""
        say(f"filling {name}")
        self.logs[name] = before
        self.bench.outbox(name, before + self.drain, size=50)
        return name

    def subscription(self, log):
        """One that has passed all but the last events."""
        name = fresh("s")
        self.bench.query(
            f"INSERT INTO {log}.cursor (subscription, position) VALUES (%s, %s)",
            (name, self.logs[log]),
        )
        return name

    def rate(self, log, settings=()):
        command = self.bench.relay(
            log, None, settings, subscription=self.subscription(log)
        )
        run = timed([*command, "--until-empty"])
        return self.drain / run["seconds"]

    def blocks(self, log):
        """Of a poll with nothing to read."""
        name = self.subscription(log)
        command = self.bench.relay(log, subscription=name)
        timed([*command, "--until-empty"])
        with background(command):
            time.sleep(0.5)
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
            "'bulk', 'x' FROM generate_series(1, 200000)"
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
    with contextlib.ExitStack() as stack:
        for _ in range(80):
            stack.enter_context(psycopg.connect(bench.url, autocommit=True))
        yield


@contextlib.contextmanager
def nothing(_bench, _log):
    yield


def measure(options):
    drain = options.events or (10_000 if options.quick else DRAIN)
    history = 100_000 if options.quick else 5_000_000
    rounds = options.repeat or (1 if options.quick else 3)
    with bench_servers_up() as bench:
        flat = Flat(bench, drain)
        small = flat.log("flat_small", 10_000)
        large = flat.log("flat_large", history)
        conditions = {
            "plain": (small, nothing),
            f"{history:,} events of history": (large, nothing),
            "an old snapshot": (small, old_snapshot),
            "a writer in another database": (small, other_writer),
            "80 idle connections": (small, many_connections),
            "200,000 rows in flight": (small, bulk_insert),
        }
        result = {"machine": bench.machine(), "drained": drain, "conditions": {}}
        runs = {name: [] for name in conditions}
        for turn in range(rounds + 1):
            for name, (log, condition) in conditions.items():
                if name == "200,000 rows in flight":
                    continue
                with condition(bench, log):
                    rate = flat.rate(log)
                say(f"round {turn}, {name}: {rate:,.0f} events/s")
                if turn:
                    runs[name].append(rate)
        # This one burns seqs, so it comes last; a relay cannot be empty while
        # a writer is at work, so only its polls are looked at.
        for name, (log, condition) in conditions.items():
            with condition(bench, log):
                found = {"blocks_per_poll": flat.blocks(log)} if log else {}
            if runs[name]:
                ratios = [a / b for a, b in zip(runs[name], runs["plain"], strict=True)]
                found["events_per_s"] = round(statistics.median(runs[name]))
                found["ratio"] = round(statistics.median(ratios), 3)
            result["conditions"][name] = found
        return result


def show(result):
    rows = []
    for name, part in result["conditions"].items():
        rate = part.get("events_per_s")
        rows.append(
            [
                name,
                f"{rate:,}" if rate else "",
                f"{part['ratio']:.2f}" if rate else "",
                part["blocks_per_poll"],
            ]
        )
    table(["", "events/s", "of plain", "blocks/poll"], rows)
