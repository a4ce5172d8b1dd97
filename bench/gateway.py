"""an event that nginx takes with no database: answers/s, and what is lost

A Kafka 3.9 of its own on this machine (lua-resty-kafka speaks none of the versions of
the protocol that Kafka 4 knows), and an nginx with two workers, whose requests are
events of 200 bytes: into the file of a gateway, with `outtray relay` beside it, or
with lua-resty-kafka 0.07 straight to the broker, `sync` (the answer comes after the
broker's) and `async` (the answer comes when it is in memory). wrk measures each in
turns. Then, for each on its own, clients with numbered events go on while Kafka is
killed and started again; what was answered 201 and is not in the topic in the end is
lost.
"""

import asyncio
import collections
import contextlib
import pathlib
import subprocess
import tempfile
import threading
import time

import lua_modules
import nginx
from kafka_server import Kafka
from resty_load import FOLDER, wrk
from topics import Topics
from workload import (
    RELAY,
    ROOT,
    background,
    fresh,
    median,
    say,
    spread,
    table,
    this_machine,
    timed,
)

KAFKA = "3.9.1"
SIDES = {
    "empty": "an empty 201",
    "gateway": "outtray gateway",
    "sync": "lua-resty-kafka, sync",
    "async": "lua-resty-kafka, async",
}
CONNECTIONS = (64, 256)
CLIENTS = 64
DOWN_S = 4  # how long Kafka is away


@contextlib.contextmanager
def one_kafka():
    with tempfile.TemporaryDirectory(prefix=fresh("kafka")) as folder:
        properties = (ROOT / "bench/kafka.properties").read_text()
        kafka = Kafka(f"{folder}/k", properties=properties, heap="512m", version=KAFKA)
        kafka.start()
        try:
            yield kafka
        finally:
            kafka.stop()


@contextlib.contextmanager
def served(kafka):
    """(nginx, topic, command of the relay) with a new outbox and a new topic."""
    topics = Topics(kafka.bootstrap)
    topic = topics.topic(6, name=fresh("bench"))
    topics.ready(topic)
    with tempfile.TemporaryDirectory(prefix=fresh("gateway")) as name:
        folder = pathlib.Path(name)
        store = f"sqlite://{folder}/gateway.db"
        timed([RELAY, "init", "--quiet", "--store", store])
        paths = lua_modules.paths("luajit", ROOT / "build/release")
        values = {
            "LUA_PATH": f"{FOLDER}/?.lua;" + paths["LUA_PATH"],
            "LUA_CPATH": paths["LUA_CPATH"],
            "STORE": store,
            "PORT_KAFKA": kafka.bootstrap.rpartition(":")[2],
            "TOPIC": topic,
        }
        relay = [RELAY, "relay", "--quiet", "--store", store]
        relay += ["--sink", topics.url, "--set", "prune.enabled=false"]
        server = nginx.Nginx(folder, FOLDER / "gateway.conf", values, {}).start()
        try:
            yield server, topic, relay
        finally:
            server.stop()


# --- how fast ---


def one_turn(kafka, side, connections, seconds):
    """A file, a topic and an nginx of its own, so that nothing is left over."""
    with served(kafka) as (server, _, relay):
        beside = background(relay) if side == "gateway" else contextlib.nullcontext()
        with beside, wrk(server.url(f"/{side}"), connections, seconds, True) as load:
            pass
    found = load.found
    return {
        "answers_per_s": (found["requests"] - found["failed"]) / found["us"] * 1e6,
        "p99_ms": found["p99_us"] / 1000,
        "failed": found["failed"],
    }


def measure_speed(kafka, rounds, seconds):
    runs = collections.defaultdict(list)
    for _ in range(rounds):
        for connections in CONNECTIONS:
            for side in SIDES:
                run = one_turn(kafka, side, connections, seconds)
                say(f"{side} at {connections}: {run['answers_per_s']:,.0f}/s")
                runs[connections, side].append(run)
    return [
        {
            "side": side,
            "connections": connections,
            "answers_per_s": round(median(found, "answers_per_s")),
            "spread": round(spread(found, "answers_per_s"), 3),
            "p99_ms": round(median(found, "p99_ms"), 2),
            "failed": sum(run["failed"] for run in found),
        }
        for (connections, side), found in runs.items()
    ]


# --- what is lost ---


class Clients:
    """Each asks, reads the answer, and asks again; answers[n] is a status, 0
    where there was none."""

    def __init__(self, port, side):
        self.port, self.side = port, side
        self.answers, self.n, self.over = {}, 0, False

    async def client(self):
        reader = None
        while not self.over:
            self.n += 1
            n = self.n
            try:
                if reader is None:
                    opened = asyncio.open_connection("127.0.0.1", self.port)
                    reader, writer = await opened
                self.answers[n] = await asyncio.wait_for(
                    self.ask(reader, writer, n), 60
                )
            except (OSError, EOFError, asyncio.TimeoutError):
                self.answers[n] = 0
                reader = None

    async def ask(self, reader, writer, n):
        writer.write(b"GET /%s?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (self.side, n))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "transfer-encoding: chunked" in head
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
        return int(head.split()[1])

    async def run(self):
        await asyncio.gather(*(self.client() for _ in range(CLIENTS)))


def harm(kafka, before_s, after_s):
    time.sleep(before_s)
    kafka.nodes[0].kill()
    time.sleep(DOWN_S)
    kafka.nodes[0].boot()
    time.sleep(after_s)


def lose(kafka, side, before_s, after_s):
    with served(kafka) as (server, topic, relay):
        clients = Clients(server.port, side.encode())
        beside = background(relay) if side == "gateway" else contextlib.nullcontext()
        # Kafka ends with the thread that started it: that is not the one that ends.
        thread = threading.Thread(target=lambda: asyncio.run(clients.run()))
        with beside:
            thread.start()
            try:
                harm(kafka, before_s, after_s)
            finally:
                clients.over = True
                thread.join()
            if side == "async":
                time.sleep(3)  # its timer sends once a second
            server.stop()  # in peace: workers may finish
        if side == "gateway":
            subprocess.run([*relay, "--until-empty"], check=True)
        arrived = collections.Counter(
            int(value.split()[0])
            for value in Topics(kafka.bootstrap).values(topic, seconds=60)
        )
    created = {n for n, status in clients.answers.items() if status == 201}
    return {
        "side": side,
        "requests": len(clients.answers),
        "created": len(created),
        "refused": sum(status == 503 for status in clients.answers.values()),
        "lost": len(created - set(arrived)),
        "twice": sum(count > 1 for count in arrived.values()),
        "not_created_but_there": len(set(arrived) - created),
    }


def measure_losses(kafka, before_s, after_s):
    found = []
    for side in SIDES:
        if side != "empty":
            found.append(lose(kafka, side, before_s, after_s))
            say(f"{side}: {found[-1]['lost']:,} of {found[-1]['created']:,} lost")
    return found


# --- the benchmark ---


def measure(options):
    rounds = options.repeat or (1 if options.quick else 3)
    machine = this_machine(KAFKA)
    with one_kafka() as kafka:
        speed = measure_speed(kafka, rounds, 1 if options.quick else 3)
        losses = measure_losses(kafka, *((1, 2) if options.quick else (4, 6)))
    (gateway,) = (one for one in losses if one["side"] == "gateway")
    if gateway["lost"] or not gateway["created"]:
        raise RuntimeError(f"a gateway may lose nothing: {gateway}")
    return {
        "machine": machine,
        "rounds": rounds,
        "speed": speed,
        "losses": losses,
    }


def show(result):
    rows = [
        [
            SIDES[one["side"]],
            one["connections"],
            f"{one['answers_per_s']:,}",
            f"{one['spread']:.2f}",
            f"{one['p99_ms']:.1f}",
            f"{one['failed']:,}",
        ]
        for one in result["speed"]
    ]
    table(["", "connections", "201/s", "spread", "p99 ms", "not 201"], rows)
    print(
        f"\nKafka {result['machine']['kafka']} is killed and started again under load:"
    )
    rows = [
        [
            SIDES[one["side"]],
            f"{one['created']:,}",
            f"{one['lost']:,}",
            f"{one['refused']:,}",
            f"{one['twice']:,}",
            f"{one['not_created_but_there']:,}",
        ]
        for one in result["losses"]
    ]
    head = ["", "answered 201", "of these lost", "answered 503", "twice"]
    table([*head, "there without a 201"], rows)
