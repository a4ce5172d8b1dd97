"""what the Python package costs: building, enqueueing, relaying, handling

A PostgreSQL and a Kafka of their own, on this machine. Whatever is compared is
measured in turns, one after the other, so that what else the machine does meets
both. Ratios are of speeds: above 1, outtray is the faster one. Spread is the
distance of the fastest and the slowest round by the median.
"""

import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

import psycopg
import python_package
import workload

PAYLOAD = os.urandom(200)
CALLS = 100  # of a round of single calls
MANY = 1000  # events of one enqueue_many
# name: (what is wanted, of what)
WANTED = {
    "builder": "at most 3 us a call",
    "enqueue": "at least 0.9 of the same INSERT by hand",
    "many": f"{MANY} events at least 20 times as fast as {MANY} calls",
    "relay": "at least 0.97 of the command",
    "script": "at least 200,000 events/s by batches",
}


def summary(values, digits=2):
    middle = statistics.median(values)
    spread = (max(values) - min(values)) / middle
    return {"median": round(middle, digits), "spread": round(spread, 3)}


# --- building ---


def measure_builder(rounds):
    import outtray
    from outtray import _core

    outbox = outtray.Outbox()
    raw = (outbox._raw("orders", PAYLOAD, "k7", "order.created", None, None, None),)
    found = []
    for _ in range(rounds * 5):
        started = time.process_time()  # it does nothing but compute
        for _ in range(10_000):
            outbox._build(_core.DOLLAR, _core.POSTGRESQL, raw)
        found.append((time.process_time() - started) / 10_000 * 1e6)
    return {"us_per_call": summary(found[rounds:])}


# --- enqueueing ---


class Drivers:
    """Connections of every driver; on each `ours` and `hand` do the same work,
    so many times, in a transaction that is rolled back."""

    def __init__(self, url, path):
        self.url = url
        self.path = path

    def all(self):
        return {
            "psycopg": self.psycopg,
            "psycopg async": self.psycopg_async,
            "psycopg2": self.psycopg2,
            "asyncpg": self.asyncpg,
            "SQLAlchemy": self.sqlalchemy,
            "SQLAlchemy async": self.sqlalchemy_async,
            "Django": self.django,
            "sqlite3": self.sqlite3,
            "aiosqlite": self.aiosqlite,
        }

    def psycopg(self):
        conn = psycopg.connect(self.url)
        return conn, conn.execute

    def psycopg2(self):
        import psycopg2

        conn = psycopg2.connect(self.url)
        return conn, conn.cursor().execute

    def sqlalchemy(self):
        import sqlalchemy

        url = self.url.replace("postgresql", "postgresql+psycopg", 1)
        conn = sqlalchemy.create_engine(url).connect()
        conn.begin()
        return conn, conn.exec_driver_sql

    def sqlite3(self):
        conn = sqlite3.connect(self.path)
        return conn, conn.execute

    def django(self):
        """A wrapper of Django's, with no project."""
        import django.conf
        from django.db.backends.postgresql.base import DatabaseWrapper
        from django.db.utils import ConnectionHandler

        if not django.conf.settings.configured:
            django.conf.settings.configure()
        url = psycopg.conninfo.conninfo_to_dict(self.url)
        names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
        default = {name: url[one] for name, one in names.items()}
        default["ENGINE"] = "django.db.backends.postgresql"
        conn = ConnectionHandler({"default": default})["default"]
        assert isinstance(conn, DatabaseWrapper)
        conn.set_autocommit(False)

        def execute(sql, params):
            with conn.cursor() as cursor:
                cursor.execute(sql, params)

        return conn, execute

    async def psycopg_async(self):
        conn = await psycopg.AsyncConnection.connect(self.url)
        return conn, conn.execute

    async def sqlalchemy_async(self):
        from sqlalchemy.ext.asyncio import create_async_engine

        url = self.url.replace("postgresql", "postgresql+asyncpg", 1)
        conn = await create_async_engine(url).connect()
        await conn.begin()
        return conn, conn.exec_driver_sql

    async def asyncpg(self):
        import asyncpg

        conn = await asyncpg.connect(self.url)
        await conn.execute("BEGIN")

        async def execute(sql, params):
            await conn.execute(sql, *params)

        return conn, execute

    async def aiosqlite(self):
        import aiosqlite

        conn = await aiosqlite.connect(self.path)
        return conn, conn.execute


def by_hand(outbox, begin):
    """The statement as one would write it, and parameters for an id."""
    style, dialect, _ = begin
    raw = outbox._raw("orders", PAYLOAD, "k7", "order.created", None, None, None)
    sql, params, (id,) = outbox._build(style, dialect, (raw,))
    at = params.index(id)
    return sql, lambda: (*params[:at], str(uuid.uuid4()), *params[at + 1 :])


def compare(rounds, turn):
    """Two ways in turns; the first rounds warm up. turn(ours) → seconds."""
    found = {True: [], False: []}
    for number in range(rounds + 1):
        for ours in (True, False):
            seconds = turn(ours)
            if number:
                found[ours].append(seconds / CALLS * 1e6)
    return found


def measure_driver(connect, rounds):
    import outtray
    from outtray.adapters import find_any

    outbox = outtray.Outbox()
    arguments = {"key": "k7", "type": "order.created"}

    def plain():
        conn, execute = connect()
        begin = find_any(conn)[0].begin(conn, False)
        sql, params = by_hand(outbox, begin)

        def turn(ours):
            if callable(getattr(conn, "begin", None)) and not conn.in_transaction():
                conn.begin()  # of SQLAlchemy
            started = time.perf_counter()
            if ours:
                for _ in range(CALLS):
                    outbox.enqueue(conn, "orders", PAYLOAD, **arguments)
            else:
                for _ in range(CALLS):
                    execute(sql, params())
            seconds = time.perf_counter() - started
            conn.rollback()
            return seconds

        found = compare(rounds, turn)
        conn.close()
        return found

    async def awaited():
        conn, execute = await connect()
        begin = await find_any(conn)[0].begin(conn, False)
        sql, params = by_hand(outbox, begin)
        found = {True: [], False: []}
        for number in range(rounds + 1):
            for ours in (True, False):
                started = time.perf_counter()
                for _ in range(CALLS):
                    if ours:
                        await outbox.aenqueue(conn, "orders", PAYLOAD, **arguments)
                    else:
                        await execute(sql, params())
                if number:
                    seconds = time.perf_counter() - started
                    found[ours].append(seconds / CALLS * 1e6)
        await conn.close()
        return found

    waits = asyncio.iscoroutinefunction(connect)
    found = asyncio.run(awaited()) if waits else plain()
    # Each round beside its neighbour: what disturbs one disturbs the other.
    ratios = [hand / ours for ours, hand in zip(found[True], found[False])]
    return {
        "us_per_call": summary(found[True]),
        "by_hand_us": summary(found[False]),
        "ratio": summary(ratios, 3),
    }


def measure_many(connect, rounds):
    """Events by one call, and each by a call of its own; in turns."""
    import outtray

    outbox = outtray.Outbox()
    events = [outtray.Event("orders", PAYLOAD, key=f"k{n}") for n in range(MANY)]
    ratios, rates = [], []

    def plain():
        conn, _ = connect()
        for _ in range(rounds + 1):
            if callable(getattr(conn, "begin", None)) and not conn.in_transaction():
                conn.begin()  # of SQLAlchemy
            outbox.enqueue(conn, "orders")  # the transaction begins
            started = time.perf_counter()
            outbox.enqueue_many(conn, events)
            many = time.perf_counter() - started
            started = time.perf_counter()
            for event in events:
                outbox.enqueue(conn, event.topic, event.payload, key=event.key)
            note(many, time.perf_counter() - started)
            conn.rollback()
        conn.close()

    async def awaited():
        conn, _ = await connect()
        for _ in range(rounds + 1):
            started = time.perf_counter()
            await outbox.aenqueue_many(conn, events)
            many = time.perf_counter() - started
            started = time.perf_counter()
            for event in events:
                await outbox.aenqueue(conn, event.topic, event.payload, key=event.key)
            note(many, time.perf_counter() - started)
        await conn.close()

    def note(many, single):
        ratios.append(single / many)
        rates.append(MANY / many)

    if asyncio.iscoroutinefunction(connect):
        asyncio.run(awaited())
    else:
        plain()
    return {"ratio": summary(ratios[1:]), "events_per_s": summary(rates[1:], 0)}


# --- relaying ---

RELAY = """
import sys, time
import outtray
url, sink, name, topic = sys.argv[1:]
settings = {"sink.topic": topic, "prune.enabled": False, "sink.tls": "off"}
started = time.perf_counter()
with outtray.Relay(
    url, sink, subscription=name, until_empty=True, settings=settings
) as relay:
    relay.run()
    assert relay.done
print(time.perf_counter() - started)
"""
# The ways of the program to handle events itself.
SCRIPT = """
import asyncio, json, sys, time
import outtray
url, name, way = sys.argv[1:]
many, bytes_ = 0, 0
options = {"subscription": name, "until_empty": True}
options["settings"] = {"prune.enabled": False}

def count_batch(batch):
    global many
    many += len(batch)

def count_event(event):
    global many, bytes_
    many += 1
    bytes_ += len(event.payload)

async def handle_event(event):
    count_event(event)

def plain(relay):
    with relay:
        if way == "batches":
            for batch in relay.batches():
                count_batch(batch)
                batch.ok()
        elif way == "events":
            for batch in relay.batches():
                for event in batch:
                    count_event(event)
        else:
            batch = way == "batch handler"
            relay.handler("*", batch=batch)(count_batch if batch else count_event)
            relay.run()

async def awaited(relay):
    async with relay:
        if way == "async batches":
            async for batch in relay.batches():
                count_batch(batch)
        else:
            relay.handler("*")(handle_event)
            await relay.run()

started, cpu = time.perf_counter(), time.process_time()
if way.startswith("async"):
    async def main():
        await awaited(outtray.AsyncRelay(url, **options))
    asyncio.run(main())
else:
    plain(outtray.Relay(url, **options))
seconds = time.perf_counter() - started
print(json.dumps([many, seconds, time.process_time() - cpu]))
"""
WAYS = ["batches", "events", "batch handler", "handler"]
WAYS += ["async batches", "async handler"]


def python(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def measure_relay(bench, events, rounds):
    found = {"python": [], "command": []}
    for number in range(rounds + 1):
        for kind in found:
            topic = bench.topic()
            name = f"{kind}{number}"
            if kind == "python":
                seconds = python(RELAY, bench.url, bench.topics.url, name, topic)
            else:
                command = bench.relay("outtray", topic, subscription=name)
                seconds = workload.timed([*command, "--until-empty"])["seconds"]
            if bench.count(topic) != events:
                raise RuntimeError(f"{kind}: not all events are in {topic}")
            if number:
                found[kind].append(events / seconds)
    pairs = zip(found["python"], found["command"])
    result = {kind: summary(rates, 0) for kind, rates in found.items()}
    return {**result, "ratio": summary([one / other for one, other in pairs], 3)}


def measure_script(url, events, rounds):
    found = {way: [] for way in WAYS}
    costs = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in WAYS:
            name = f"script{number}_{way.replace(' ', '_')}"
            many, seconds, cpu = python(SCRIPT, url, name, way)
            if many != events:
                raise RuntimeError(f"{way}: {many} of {events} events")
            if number:
                found[way].append(events / seconds)
                costs[way].append(cpu / events * 1e6)
    return {
        way: {"events_per_s": summary(found[way], 0), "cpu_us": summary(costs[way])}
        for way in WAYS
    }


# --- all of it ---


def measure(options):
    python_package.install()
    events = options.events or (20_000 if options.quick else 200_000)
    rounds, result = options.repeat or (1 if options.quick else 3), {"events": events}
    with workload.bench_servers_up() as bench:
        result["machine"] = bench.machine()
        bench.outbox("outtray", events)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/shop.db"
            init = [workload.RELAY, "init", "--quiet", "--store", f"sqlite:{path}"]
            workload.timed(init)
            drivers = Drivers(bench.url, path)
            tell("builder")
            result["builder"] = measure_builder(rounds)
            result["enqueue"] = {}
            for name, connect in drivers.all().items():
                tell(name)
                result["enqueue"][name] = measure_driver(connect, 10 * rounds)
            result["many"] = {}
            for name, connect in drivers.all().items():
                tell(f"enqueue_many, {name}")
                result["many"][name] = measure_many(connect, 2 * rounds)
        tell("relay")
        result["relay"] = measure_relay(bench, events, rounds)
        tell("script")
        result["script"] = measure_script(bench.url, events, rounds)
    result["python"] = sys.version.split()[0]
    result["processors"] = os.cpu_count()
    return result


def tell(what):
    print(f"  {what}", file=sys.stderr, flush=True)


def line(title, value, unit, ratio=None):
    text = f"{title:22}{value['median']:>12,} {unit:12}{value['spread']:>7.0%}"
    if ratio is not None:
        text += f"{ratio['median']:>10} x{ratio['spread']:>7.0%}"
    print(text)


def show(result):
    print(
        f"python {result['python']}: {result['events']:,} events of {len(PAYLOAD)} B, "
        f"{workload.KEYS:,} keys; {result['processors']} processors"
    )
    print(f"{'':22}{'median':>12} {'':12}{'spread':>7}{'ratio':>12}{'spread':>7}")
    heading("builder")
    line("one event", result["builder"]["us_per_call"], "us")
    heading("enqueue")
    for name, part in result["enqueue"].items():
        line(name, part["us_per_call"], "us", part["ratio"])
    heading("many")
    for name, part in result["many"].items():
        line(name, part["events_per_s"], "events/s", part["ratio"])
    heading("relay")
    part = result["relay"]
    line("outtray relay", part["command"], "events/s")
    line("Relay.run", part["python"], "events/s", part["ratio"])
    heading("script")
    for way, part in result["script"].items():
        line(way, part["events_per_s"], "events/s")
        line("", part["cpu_us"], "us of cpu")


def heading(name):
    print(f"{name}: {WANTED[name]}")
