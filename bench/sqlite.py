"""events/s of the drain of a SQLite outbox, to the null sink and to Kafka"""

import pathlib
import sqlite3
import tempfile

from workload import (
    KEYS,
    RELAY,
    bench_servers_up,
    build,
    fresh,
    median,
    say,
    spread,
    table,
    timed,
)

FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO outtray_event (topic, key, type, payload)
SELECT 'orders', 'k' || (i % ?), 'order.created',
    CAST(hex(randomblob(100)) AS BLOB) FROM n
"""


def relay(url, sink, settings):
    command = [RELAY, "relay", "--until-empty", "--quiet", "--store", url]
    command += ["--sink", sink, "--subscription", fresh("s")]
    command += ["--set", "prune.enabled=false"]
    for setting in settings:
        command += ["--set", setting]
    return command


def measure(options):
    events = options.events or (20_000 if options.quick else 500_000)
    rounds = options.repeat or (1 if options.quick else 3)
    bare = build("bare_producer.c", "rdkafka")
    with bench_servers_up() as bench, tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "app.db"
        url = f"sqlite://{path}"
        timed([RELAY, "init", "--quiet", "--store", url])
        with sqlite3.connect(path) as connection:
            connection.execute(FILL, (events, KEYS))
        connection.close()
        runs = {"null": [], "kafka": [], "headers": []}
        for turn in range(rounds + 1):
            for kind in runs:
                topic = bench.topic()
                if kind == "null":
                    command = relay(url, "null:", ())
                elif kind == "kafka":
                    settings = (f"sink.topic={topic}",)
                    command = relay(url, bench.topics.url, settings)
                else:
                    command = [bare, bench.kafka.bootstrap, topic, events, 200]
                    command += [KEYS, "headers"]
                run = timed(command)
                if kind != "null" and bench.count(topic) != events:
                    raise RuntimeError(f"{kind}: events are missing in {topic}")
                run["events_per_s"] = events / run["seconds"]
                say(f"{kind}, round {turn}: {run['events_per_s']:,.0f} events/s")
                if turn:
                    runs[kind].append(run)
        result = {"machine": bench.machine(), "events": events}
        for kind, rounds_of in runs.items():
            result[kind] = {
                "events_per_s": round(median(rounds_of, "events_per_s")),
                "spread": round(spread(rounds_of, "events_per_s"), 3),
                "cpu_us": round(median(rounds_of, "cpu_s") / events * 1e6, 2),
                "rss_mb": round(median(rounds_of, "rss_mb"), 1),
            }
        return result


def show(result):
    titles = {
        "null": "SQLite to the null sink",
        "kafka": "SQLite to Kafka",
        "headers": "bare librdkafka, same headers",
    }
    rows = []
    for kind, title in titles.items():
        part = result[kind]
        rows.append(
            [title, f"{part['events_per_s']:,}", f"{part['spread']:.0%}"]
            + [part["cpu_us"], part["rss_mb"]]
        )
    table(["", "events/s", "spread", "its us/event", "RSS MB"], rows)
