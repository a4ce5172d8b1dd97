"""what one event costs: instructions, allocations, round trips, buffers, CPU

Counts, not times, wherever there is one: they are the same on a busy machine.
Instructions and allocations are the slope between two runs of different
length, so that starting and stopping does not count.
"""

import collections
import re
import tempfile
import urllib.parse

from counters import allocations, build_counter, instructions, slope
from fault_proxy import FaultProxy
from workload import bench_servers_up, table, timed

BATCH = 5000  # relay.batch_events


def system_calls(command):
    """{name: calls} of all threads."""
    with tempfile.NamedTemporaryFile("r") as out:
        timed(["strace", "-f", "-c", "-o", out.name, *command])
        rows = (line.split() for line in out.read().splitlines())
        return collections.Counter(
            {row[-1]: int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}
        )


class Relays:
    """Relays over logs of different length."""

    def __init__(self, bench, lengths):
        self.bench = bench
        self.logs = {n: bench.outbox(f"cost_{n}", n) for n in lengths}

    def command(self, events, sink):
        topic = self.bench.topic() if sink == "kafka" else None
        return [*self.bench.relay(self.logs[events], topic), "--until-empty"]


def statements(bench, run):
    """What the server counted while run() ran, by kind of statement."""
    bench.query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    bench.query("SELECT pg_stat_statements_reset()")
    run()
    rows = bench.query(
        "SELECT query, calls, rows, shared_blks_hit + shared_blks_read, "
        "wal_bytes, total_exec_time FROM pg_stat_statements WHERE calls > 0"
    )
    found = collections.defaultdict(lambda: collections.Counter())
    for query, calls, n, blocks, wal, ms in rows:
        kind = None
        if re.search(r"FROM \S+event WHERE seq >", query):
            kind = "read"
        elif re.search(r"UPDATE \S+cursor SET position", query):
            kind = "write"
        if kind:
            found[kind].update(
                calls=calls, rows=n, blocks=blocks, wal=int(wal), us=int(ms * 1000)
            )
    return found


def server_side(bench, relays, events):
    """Work of the server for one drain."""
    found = statements(bench, lambda: timed(relays.command(events, "null")))
    read, write = found["read"], found["write"]
    return {
        "reads": read["calls"],
        "blocks_per_read": round(read["blocks"] / read["calls"], 1),
        "blocks_per_event": round(read["blocks"] / events, 3),
        "execution_us_per_event": round(read["us"] / events, 2),
        "writes": write["calls"],
        "wal_bytes_per_write": round(write["wal"] / write["calls"]),
        "wal_bytes_per_event": round((write["wal"] + read["wal"]) / events, 3),
    }


def round_trips(bench, command):
    """Questions to PostgreSQL that wait for an answer, on all connections."""
    address = urllib.parse.urlsplit(bench.url)
    with FaultProxy((address.hostname, address.port)) as proxy:
        through = f"postgresql://{address.username}@{proxy.address}{address.path}"
        timed([through if word == bench.url else word for word in command])
        return proxy.turns


def per_batch(calls, events):
    batches = events / BATCH
    return {
        "sent_to_postgresql": round(calls["sendto"] / batches, 1),
        "received_from_postgresql": round(calls["recvfrom"] / batches, 1),
        "sent_to_broker": round(calls["sendmsg"] / batches, 1),
        "all": round(sum(calls.values()) / batches, 1),
    }


def processors(bench, relays, events):
    """CPU seconds per million events, and memory."""
    before = bench.servers_cpu()
    run = timed(relays.command(events, "kafka"))
    after = bench.servers_cpu()
    million = 1e6 / events
    found = {name: (after[name] - before[name]) * million for name in after}
    found = {name: round(value, 2) for name, value in found.items()}
    return {
        "relay_s": round(run["cpu_s"] * million, 2),
        **found,
        "rss_mb": round(run["rss_mb"], 1),
    }


def measure(options):
    few, many = (10_000, 20_000) if options.quick else (10_000, 40_000)
    long = options.events or (20_000 if options.quick else 500_000)
    counter = build_counter()
    with bench_servers_up() as bench:
        result = {"machine": bench.machine()}
        relays = Relays(bench, {few, many, long})
        timed(relays.command(few, "kafka"))  # warms both servers up
        for sink in ("kafka", "null"):
            result[f"instructions_{sink}"] = slope(
                lambda n, sink=sink: instructions(relays.command(n, sink)),
                few,
                many,
                tries=1 if options.quick else 2,
            )
            counts = [
                allocations(relays.command(n, sink), counter) for n in (few, many)
            ]
            result[f"allocations_{sink}"] = round(
                (counts[1] - counts[0]) / (many - few), 2
            )
        result["system_calls_per_batch"] = per_batch(
            system_calls(relays.command(many, "kafka")), many
        )
        trips = [round_trips(bench, relays.command(n, "null")) for n in (few, many)]
        result["round_trips_per_batch"] = round(
            (trips[1] - trips[0]) / (many - few) * BATCH, 2
        )
        result["server"] = server_side(bench, relays, many)
        result["per_million"] = processors(bench, relays, long)
        return result


def show(result):
    head = [
        "instructions per event",
        "all",
        "own",
        "libpq",
        "librdkafka",
        "lz4",
        "libc",
    ]
    rows = []
    for sink in ("kafka", "null"):
        part = result[f"instructions_{sink}"]
        names = ("total", "own", "libpq", "librdkafka", "liblz4", "libc")
        rows.append([f"to {sink}", *(part.get(name, 0) for name in names)])
    table(head, rows)
    print()
    rows = [
        [f"allocations per event, to {sink}", result[f"allocations_{sink}"]]
        for sink in ("kafka", "null")
    ]
    if "round_trips_per_batch" in result:
        trips = result["round_trips_per_batch"]
        rows.append(["round trips to PostgreSQL per 5,000 events", trips])
    for title, part in (
        ("system calls per 5,000 events", "system_calls_per_batch"),
        ("server", "server"),
        ("per million events", "per_million"),
    ):
        for name, value in result[part].items():
            rows.append([f"{title}: {name.replace('_', ' ')}", value])
    table(["", ""], rows)
