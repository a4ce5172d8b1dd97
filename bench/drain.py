"""events/s of a relay that drains a backlog, beside bare librdkafka and others

A PostgreSQL and a Kafka of their own, on this machine. A log is filled once;
each round drains it into a new topic with a new subscription, and the others
send as many equal messages into topics of theirs, one after the other, so that
what else the machine does meets all of them. What is slow gets a part of the
events. The time is that of the whole program, from start to exit. Every topic is
counted afterwards.

The relay gives every event two or three headers, which cost librdkafka more
than anything else about a small message: so the bare producer runs with the
same headers, and once more without any.

PgQ is the extension of PostgreSQL, with a batch for each 5,000 events and the
program that its users write (bench/pgq_relay.py), whose producer has the
settings and headers of the relay.
"""

import sys

import pgq
from workload import (
    KEYS,
    ROOT,
    bench_servers_up,
    build,
    median,
    say,
    spread,
    table,
    timed,
)

TITLES = {
    "relay": "outtray relay",
    "headers": "bare librdkafka, same headers",
    "plain": "bare librdkafka, no headers",
    "cursor": "cursor that loses events (C)",
    "pgq": "PgQ, 5,000 a batch (Python)",
    "status": "status column, 1,000 a batch (C)",
    "python": "status column, 100 a batch (Python)",
}
# size of a payload, events of a full run, keys, rounds that count
SHAPES = {
    "200 B": (200, 1_000_000, KEYS, 3),
    "50 B": (50, 400_000, KEYS, 2),
    "1 kB": (1024, 200_000, KEYS, 2),
    "16 kB": (16384, 12_000, KEYS, 2),
    "200 B, one key": (200, 300_000, 1, 2),
}
REFERENCES = {"cursor": 5000, "pgq": pgq.BATCH, "status": 1000, "python": 100}
# What needs long per event, to fill or to drain, gets a part of the events.
PARTS = {"cursor": 2, "pgq": 3, "status": 10, "python": 20}

LOG = """
CREATE TABLE {name} (seq bigint PRIMARY KEY, topic text NOT NULL, key text,
    type text, payload bytea, status smallint NOT NULL DEFAULT 0)
    WITH (fillfactor = 90);
CREATE INDEX ON {name} (seq) WHERE status = 0;
INSERT INTO {name} SELECT seq, topic, key, type, payload FROM {outbox}.event
    WHERE seq <= {events};
CREATE TABLE {name}_cursor AS SELECT 0::bigint AS position;
VACUUM ANALYZE {name};
CHECKPOINT
"""


class Sides:
    """The commands that are compared, on one shape of events."""

    def __init__(self, bench, outbox, shape, events):
        self.bench, self.outbox, self.events = bench, outbox, events
        self.size, self.keys = shape[0], shape[2]
        self.kept = set()  # logs that are as they were
        self.bare = build("bare_producer.c", "rdkafka")
        self.reference = build("reference_relay.c", "rdkafka", "libpq")

    def command(self, kind, topic, events):
        brokers = self.bench.kafka.bootstrap
        if kind == "relay":
            return [*self.bench.relay(self.outbox, topic), "--until-empty"]
        if kind in ("headers", "plain"):
            return [self.bare, brokers, topic, events, self.size, self.keys, kind]
        if kind == "pgq":
            common = [brokers, topic, self.bench.url, self.queue, self.consumers.pop()]
            return [sys.executable, ROOT / "bench/pgq_relay.py", *common, events]
        log = self.log(kind, events)
        common = [brokers, topic, self.bench.url, log]
        if kind == "python":
            return [sys.executable, ROOT / "bench/python_relay.py", *common, events]
        return [self.reference, kind, *common, REFERENCES[kind], events]

    def part(self, kind):
        return max(self.events // PARTS.get(kind, 1), min(self.events, 5000))

    def log(self, kind, events):
        """A table for a reference: one with a status is used once."""
        name = f"{self.outbox}_{kind}"
        if name in self.kept:
            return name
        self.bench.query(f"DROP TABLE IF EXISTS {name}, {name}_cursor")
        values = {"name": name, "outbox": self.outbox, "events": events}
        for statement in LOG.format(**values).split(";"):
            self.bench.query(statement)
        if kind == "cursor":
            self.kept.add(name)
        return name

    def fill_queue(self, rounds):
        """The events for PgQ as well, and a consumer for each round."""
        self.queue = f"{self.outbox}_queue"
        self.consumers = [f"round_{turn}" for turn in range(rounds)]
        events = self.part("pgq")
        pgq.fill(self.bench, self.queue, self.consumers, self.outbox, events)

    def run(self, kind):
        events = self.part(kind)
        topic = self.bench.topic()
        command = self.command(kind, topic, events)
        before = self.bench.servers_cpu()
        run = timed(command)
        after = self.bench.servers_cpu()
        arrived = self.bench.count(topic)
        if arrived != events:
            raise RuntimeError(f"{kind}: {arrived} of {events} events arrived")
        us = 1e6 / events
        return {
            "events_per_s": events / run["seconds"],
            "cpu_us": run["cpu_s"] * us,
            "postgresql_us": (after["postgresql_s"] - before["postgresql_s"]) * us,
            "broker_us": (after["broker_s"] - before["broker_s"]) * us,
            "rss_mb": run["rss_mb"],
        }


def one_shape(bench, title, shape, events, rounds, warm_up):
    outbox = bench.outbox(
        f"drain_{list(SHAPES).index(title)}", events, shape[0], shape[2]
    )
    sides = Sides(bench, outbox, shape, events)
    kinds = ["relay", "headers", "plain"]
    if title == "200 B":
        kinds += REFERENCES
        if pgq.available(bench):
            sides.fill_queue(rounds)
        else:
            say("PgQ is left out: this PostgreSQL has no extension pgq")
            kinds.remove("pgq")
    runs = {kind: [] for kind in kinds}
    # Round 0 warms the broker and the database up and is not counted.
    for turn in range(0 if warm_up else 1, rounds + 1):
        for kind in kinds:
            if turn == 0 and kind in REFERENCES:
                continue
            run = sides.run(kind)
            say(f"{title}, round {turn}, {kind}: {run['events_per_s']:,.0f} events/s")
            if turn:
                runs[kind].append(run)
    bench.query(f"DROP SCHEMA {outbox} CASCADE")
    if "pgq" in kinds:
        pgq.drop(bench, sides.queue)
    return {"events": events, "rounds": rounds, **summary(runs)}


def summary(runs):
    found = {}
    for kind, rounds in runs.items():
        found[kind] = {name: round(median(rounds, name), 2) for name in rounds[0]}
        found[kind]["spread"] = round(spread(rounds, "events_per_s"), 3)
        if kind != "relay":
            # Of the same round, so that what else ran meets both.
            ratios = [
                {"ratio": a["events_per_s"] / b["events_per_s"]}
                for a, b in zip(runs["relay"], rounds, strict=True)
            ]
            found[kind]["relay_is"] = round(median(ratios, "ratio"), 3)
    return found


def measure(options):
    with bench_servers_up() as bench:
        result = {"machine": bench.machine(), "shapes": {}}
        for title, shape in SHAPES.items():
            events = options.events or shape[1]
            rounds = options.repeat or shape[3]
            if options.quick:
                events, rounds = min(events, 10_000, shape[1]), 1
            warm_up = not result["shapes"]
            found = one_shape(bench, title, shape, events, rounds, warm_up)
            result["shapes"][title] = found
        return result


def show(result):
    for title, shape in result["shapes"].items():
        print(f"\n{title}: {shape['events']:,} events, {shape['rounds']} rounds")
        rows = []
        for kind, name in TITLES.items():
            if kind not in shape:
                continue
            part = shape[kind]
            rows.append(
                [
                    name,
                    f"{part['events_per_s']:,.0f}",
                    f"{part['spread']:.0%}",
                    f"{part['relay_is']:.2f}" if "relay_is" in part else "",
                    part["cpu_us"],
                    part["postgresql_us"],
                    part["broker_us"],
                    f"{part['rss_mb']:.0f}",
                ]
            )
        head = ["", "events/s", "spread", "outtray/it", "its us/event"]
        table([*head, "PostgreSQL", "broker", "RSS MB"], rows)
