"""events/s of a relay that drains a backlog, beside a bare librdkafka producer

A PostgreSQL and a Kafka of their own, on this machine. The log is filled
once; each round drains it into a new topic with a new subscription, and the
bare producer sends as many equal messages into another, one after the other,
so that what else the machine does meets both. The time is that of the whole
program, from start to exit. Every topic is counted afterwards.

The relay gives every event two or three headers, which cost librdkafka more
than anything else about a message of this size: so the bare producer runs with
the same headers, and once more without any.
"""

import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import psycopg
from bench_servers import read_settings, servers
from kafka_server import version
from topics import Topics

ROOT = pathlib.Path(__file__).resolve().parents[1]
RELAY = ROOT / "build/release/outtray"
SIZE, KEYS, PARTITIONS = 200, 1000, 6

FILL = """
INSERT INTO outtray.event (topic, key, type, payload)
SELECT 'orders', 'k' || i %% %(keys)s, 'order.created',
       convert_to(substr(md5(i || 'a') || md5(i || 'b') || md5(i || 'c')
           || md5(i || 'd') || md5(i || 'e') || md5(i || 'f')
           || md5(i || 'g'), 1, %(size)s), 'UTF8')
FROM generate_series(1, %(events)s) i
"""


def build_bare_producer():
    program = ROOT / "build/release/bare_producer"
    flags = subprocess.check_output(
        ["pkg-config", "--cflags", "--libs", "rdkafka"], text=True
    )
    source = ROOT / "bench/bare_producer.c"
    command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", source, "-o", program]
    subprocess.run([*command, *shlex.split(flags)], check=True)
    return program


def timed(command, env=None):
    """(wall seconds, processor seconds) of a command that must succeed."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            list(map(str, command)),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{shlex.join(map(str, command))}\n{text}")
    return wall, usage.ru_utime + usage.ru_stime


def relay_command(url, topics, name, topic):
    command = [RELAY, "relay", "--until-empty", "--quiet", "--store", url]
    command += ["--sink", topics.url, "--subscription", name]
    return [*command, "--set", f"sink.topic={topic}", "--set", "prune.enabled=false"]


def count(topics, topic):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": "count"})
    total = 0
    for partition in range(PARTITIONS):
        part = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(part, 10)
        total += high - low
    consumer.close()
    return total


def one(kind, command, events, topics, topic):
    wall, cpu = timed(command)
    arrived = count(topics, topic)
    if arrived != events:
        raise RuntimeError(f"{kind}: {arrived} of {events} events are in {topic}")
    return {"seconds": wall, "events_per_s": events / wall, "cpu_s": cpu}


def summary(runs):
    rates = [run["events_per_s"] for run in runs]
    middle = statistics.median(rates)
    return {
        "events_per_s": round(middle),
        "spread": round((max(rates) - min(rates)) / middle, 3),
        "cpu_us_per_event": None,
        "runs": [{k: round(v, 3) for k, v in run.items()} for run in runs],
    }


def measure(options):
    bare = build_bare_producer()
    settings = read_settings(ROOT / "bench/postgresql.conf")
    properties = (ROOT / "bench/kafka.properties").read_text()
    with servers(settings, properties) as (pg, kafka):
        topics = Topics(kafka.bootstrap)
        fill(pg.url, options.events)
        results = {"relay": [], "headers": [], "bare": []}
        # Round 0 warms the broker and the database up and is not counted.
        for turn in range(options.repeat + 1):
            for kind in results:
                topic = topics.topic(PARTITIONS, name=f"{kind}.{turn}")
                if kind == "relay":
                    command = relay_command(pg.url, topics, f"turn{turn}", topic)
                else:
                    command = [bare, kafka.bootstrap, topic, options.events]
                    command += [SIZE, KEYS, "headers" if kind == "headers" else "plain"]
                run = one(kind, command, options.events, topics, topic)
                print(
                    f"  {kind} {turn}: {run['events_per_s']:,.0f} events/s",
                    file=sys.stderr,
                )
                if turn:
                    results[kind].append(run)
        return report(pg.url, options.events, results)


def fill(url, events):
    timed([RELAY, "init", "--quiet", "--store", url])
    with psycopg.connect(url, autocommit=True) as connection:
        values = {"keys": KEYS, "size": SIZE, "events": events}
        connection.execute(FILL, values)
        connection.execute("VACUUM ANALYZE outtray.event")
        connection.execute("CHECKPOINT")


def report(url, events, results):
    with psycopg.connect(url) as connection:
        (postgresql,) = connection.execute("SHOW server_version").fetchone()
    result = {
        "events": events,
        "payload_bytes": SIZE,
        "keys": KEYS,
        "partitions": PARTITIONS,
        "postgresql": postgresql.split()[0],
        "kafka": version(),
        "processors": os.cpu_count(),
    }
    for kind, runs in results.items():
        result[kind] = summary(runs)
        cpu = statistics.median(run["cpu_s"] for run in runs)
        result[kind]["cpu_us_per_event"] = round(cpu / events * 1e6, 2)
    for kind, name in (("headers", "ratio"), ("bare", "ratio_without_headers")):
        ratio = result["relay"]["events_per_s"] / result[kind]["events_per_s"]
        result[name] = round(ratio, 3)
    return result


def show(result):
    print(
        f"drain: {result['events']:,} events of {result['payload_bytes']} B, "
        f"{result['keys']:,} keys, {result['partitions']} partitions; PostgreSQL "
        f"{result['postgresql']}, Kafka {result['kafka']}, "
        f"{result['processors']} processors"
    )
    turns = range(1, len(result["relay"]["runs"]) + 1)
    head = "".join(f"{f'run {turn}':>11}" for turn in turns)
    print(f"{'events/s':16}{head}{'median':>11}{'spread':>9}{'cpu/event':>12}")
    titles = {
        "relay": "outtray relay",
        "headers": "bare librdkafka",
        "bare": "no headers",
    }
    for kind, title in titles.items():
        part = result[kind]
        cells = "".join(f"{run['events_per_s']:>11,.0f}" for run in part["runs"])
        print(
            f"{title:16}{cells}{part['events_per_s']:>11,}{part['spread']:>9.0%}"
            f"{part['cpu_us_per_event']:>9} us"
        )
    print(
        f"ratio {result['ratio']:.2f} of the bare producer with the same "
        f"headers, {result['ratio_without_headers']:.2f} of one without"
    )
