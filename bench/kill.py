"""kill -9 of a relay that drains a backlog, and a start of it once more

The relay is killed when about half of the events are in the topic. `at once`:
the next one starts when what was under way has arrived, and waits until the
lease of the dead one ends; `later`: it starts when that has ended. From then on
counts the time until the topic has one message more. When all has been passed,
the topic is read: `twice` is what more than one message tells of, at most a
window, `overtaken` an event whose first message comes after that of a later one
of its key.
"""

import collections
import signal
import subprocess
import time

import psycopg
from confluent_kafka import Consumer, TopicPartition
from workload import PARTITIONS, background, bench_servers_up, fresh, say, table

WINDOW = 20_000  # relay.window_events
KEYS = 12  # few, so that a short way is enough to overtake
WAYS = ("at once", "later")
LEASE = """
SELECT extract(epoch FROM lease_expires_at - clock_timestamp())::float, position
FROM {log}.cursor WHERE subscription = %s
"""


class Watch:
    """How many messages a topic has, asked again and again."""

    def __init__(self, bench, topic):
        settings = {"bootstrap.servers": bench.kafka.bootstrap, "group.id": "watch"}
        self.consumer = Consumer(settings)
        self.parts = [TopicPartition(topic, part) for part in range(PARTITIONS)]

    def count(self):
        marks = (self.consumer.get_watermark_offsets(part, 10) for part in self.parts)
        return sum(high - low for low, high in marks)

    def more_than(self, least, seconds=60):
        """Wait until there are more; the moment."""
        end = time.monotonic() + seconds
        while self.count() <= least:
            if time.monotonic() > end:
                raise RuntimeError(f"no more than {least} messages in {seconds} s")
        return time.monotonic()

    def settled(self):
        """Until what the dead one had sent is there; how many there are."""
        before, since = self.count(), time.monotonic()
        while time.monotonic() < since + 0.3:
            if (now := self.count()) != before:
                before, since = now, time.monotonic()
        return before


def tally(messages, events):
    """What a topic tells of events 1 to so many."""
    seen, last, overtaken = collections.Counter(), {}, 0
    for message in messages:
        headers = dict(message.headers())
        seq = int(headers["outtray-order"].partition(b".")[2])
        seen[seq] += 1
        if seen[seq] == 1:
            key = message.key()
            overtaken += seq < last.get(key, 0)
            last[key] = max(seq, last.get(key, 0))
    missing = events - len(seen.keys() & set(range(1, events + 1)))
    twice = sum(seen.values()) - len(seen)
    return {"twice": twice, "overtaken": overtaken, "missing": missing}


def die(command, watch, half):
    """Run a relay until so much is in the topic, then kill it."""
    relay = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        watch.more_than(half)
    finally:
        relay.send_signal(signal.SIGKILL)
        relay.wait()


def one(bench, log, events, way):
    topic, name = bench.topic(), fresh("s")
    command = bench.relay(log, topic, subscription=name)
    watch = Watch(bench, topic)
    die(command, watch, events // 2)
    there = watch.settled()
    if there >= events:
        raise RuntimeError("it was done before it was killed: more --events")
    with psycopg.connect(bench.url, autocommit=True) as connection:
        state = LEASE.format(log=log)

        def cursor():
            return connection.execute(state, (name,)).fetchone()

        lease, position = cursor()
        while way == "later" and lease > 0:
            time.sleep(lease + 0.01)
            lease, position = cursor()
        started = time.monotonic()
        with background(command):
            first = watch.more_than(there) - started
            end = time.monotonic() + 60
            while cursor()[1] < events and time.monotonic() < end:
                time.sleep(0.02)
    found = {
        "first_s": round(first, 3),
        "lease_s": round(max(0.0, lease), 3),
        "after_lease_s": round(first - max(0.0, lease), 3),
        "at_kill": there,
        **tally(bench.topics.read(topic, seconds=120), events),
    }
    say(f"{way}: {found}")
    return found


def measure(options):
    events = options.events or (100_000 if options.quick else 500_000)
    rounds = options.repeat or (1 if options.quick else 2)
    with bench_servers_up() as bench:
        result = {"machine": bench.machine(), "events": events, "rounds": rounds}
        log = bench.outbox("killed", events, keys=KEYS)
        runs = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                runs[way].append(one(bench, log, events, way))
        worst = {
            way: {name: max(run[name] for run in found) for name in found[0]}
            for way, found in runs.items()
        }
        return {**result, "window": WINDOW, "worst": worst, "runs": runs}


def show(result):
    print(f"{result['events']:,} events, {KEYS} keys, {result['rounds']} kills each")
    print("the worst of them\n")
    rows = [
        [f"started {way}", part["first_s"], part["lease_s"], part["after_lease_s"]]
        + [f"{part[name]:,}" for name in ("twice", "missing", "overtaken")]
        for way, part in result["worst"].items()
    ]
    head = ["", "first event s", "lease left s", "first after it s"]
    table([*head, "twice", "missing", "overtaken"], rows)
