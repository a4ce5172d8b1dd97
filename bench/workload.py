"""What benchmarks share: the programs, the events, and how a run is timed."""

import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psycopg
from bench_servers import read_settings, servers
from kafka_server import version
from topics import Topics
from usage import cpu_seconds, peak_bytes, resident_bytes

ROOT = pathlib.Path(__file__).resolve().parents[1]
RELAY = ROOT / "build/release/outtray"
RESULTS = ROOT / "bench/results"
PARTITIONS, KEYS = 6, 1000

# Hexadecimal noise, which compresses about as well as small JSON does.
PAYLOAD = """convert_to(substr((SELECT string_agg(encode(
    sha512(convert_to(i || ':' || part, 'UTF8')), 'hex'), '')
    FROM generate_series(1, (%(size)s + 127) / 128) part), 1, %(size)s), 'UTF8')"""
FILL = f"""
INSERT INTO {{outbox}}.event (topic, key, type, payload)
SELECT 'orders', 'k' || i %% %(keys)s, 'order.created', {PAYLOAD}
FROM generate_series(%(first)s::bigint, %(last)s::bigint) i
"""


def say(text):
    """For whoever waits; results go to standard output."""
    print(f"  {text}", file=sys.stderr, flush=True)


def fresh(word):
    """A name that nothing else has."""
    return f"{word}_{os.urandom(3).hex()}"


class Bench:
    """The servers of a benchmark, and what can be done with them."""

    def __init__(self, pg, kafka):
        self.pg, self.kafka = pg, kafka
        self.url = pg.url
        self.topics = Topics(kafka.bootstrap)

    def query(self, sql, values=None):
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def outbox(self, name, events, size=200, keys=KEYS):
        """Make an outbox with so many events in it."""
        timed([RELAY, "init", "--quiet", "--store", self.url, "--outbox", name])
        self.fill(name, 1, events, size, keys)
        self.query(f"VACUUM ANALYZE {name}.event")
        self.query("CHECKPOINT")
        return name

    def fill(self, outbox, first, last, size=200, keys=KEYS):
        values = {"first": first, "last": last, "size": size, "keys": keys}
        self.query(FILL.format(outbox=outbox), values)

    def topic(self):
        name = self.topics.topic(PARTITIONS, name=fresh("bench"))
        self.topics.ready(name)
        return name

    def relay(self, outbox, topic=None, settings=(), subscription=None):
        """The command of a relay; without topic it forgets the events."""
        command = [RELAY, "relay", "--quiet", "--store", self.url]
        command += ["--outbox", outbox]
        command += ["--subscription", subscription or fresh("s")]
        command += ["--set", "prune.enabled=false"]
        if topic is None:
            command += ["--sink", "null:"]
        else:
            command += ["--sink", self.topics.url, "--set", f"sink.topic={topic}"]
        for setting in settings:
            command += ["--set", setting]
        return [str(word) for word in command]

    def count(self, topic):
        """Messages in a topic."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": "count"}
        )
        total = 0
        for partition in range(PARTITIONS):
            part = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(part, 10)
            total += high - low
        consumer.close()
        return total

    def servers_cpu(self):
        """Processor seconds of both servers so far."""
        return {
            "postgresql_s": cpu_seconds(self.pg.process.pid),
            "broker_s": cpu_seconds(self.kafka.nodes[0].process.pid),
        }

    def machine(self):
        (setting,) = self.query("SHOW server_version")[0]
        return {"postgresql": setting.split()[0], **this_machine(version())}


def this_machine(kafka):
    """What a result is worth nothing without."""
    load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    return {
        "kafka": kafka,
        "processors": os.cpu_count(),
        "processor": processor(),
        "load_before": float(load),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


class bench_servers_up:
    """with bench_servers_up() as bench: …"""

    def __enter__(self):
        settings = read_settings(ROOT / "bench/postgresql.conf")
        properties = (ROOT / "bench/kafka.properties").read_text()
        self.up = servers(settings, properties)
        return Bench(*self.up.__enter__())

    def __exit__(self, *failure):
        return self.up.__exit__(*failure)


def build(source, *libraries):
    """A program of this folder; the path of it."""
    program = ROOT / "build/release" / pathlib.Path(source).stem
    flags = subprocess.check_output(
        ["pkg-config", "--cflags", "--libs", *libraries], text=True
    )
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
    command += ["-pthread", ROOT / "bench" / source, "-o", program]
    subprocess.run([*command, *shlex.split(flags)], check=True)
    return program


class Memory(threading.Thread):
    """Looks now and then at how much memory a process has had: what wait4
    tells counts that of the parent before the exec as well."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, peak_bytes(self.pid))


def timed(command, env=None):
    """Run a command that must succeed: its wall seconds, processor seconds,
    largest memory and output."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            list(map(str, command)),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        memory = Memory(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        memory.done.set()
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
        if child.returncode:
            raise RuntimeError(f"{shlex.join(map(str, command))}\n{text}")
    return {
        "seconds": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_mb": memory.peak / 1e6,
        "output": text,
    }


class background:
    """A command that runs while the block does; it must end well."""

    def __init__(self, command):
        self.command = list(map(str, command))

    def __enter__(self):
        self.output = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self

    def cpu(self):
        return cpu_seconds(self.child.pid)

    def peak(self):
        return peak_bytes(self.child.pid)

    def resident(self):
        return resident_bytes(self.child.pid)

    def __exit__(self, kind, *_):
        self.child.send_signal(signal.SIGTERM)
        try:
            status = self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            status = self.child.wait()
        self.output.seek(0)
        text = self.output.read().decode(errors="replace")
        self.output.close()
        if kind is None and status != 0:
            raise RuntimeError(f"{shlex.join(self.command)}: {status}\n{text}")


def median(runs, name):
    return statistics.median(run[name] for run in runs)


def spread(runs, name):
    """(largest - smallest) / median."""
    values = [run[name] for run in runs]
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def table(head, rows):
    """Lines of a table, for people; the first column to the left."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = "".join(
            f"  {cell.rjust(width)}"
            for cell, width in zip(row[1:], widths[1:], strict=True)
        )
        print((first + rest).rstrip())
