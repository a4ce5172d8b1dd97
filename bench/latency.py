"""ms from commit to consumer, open loop by schedule; the first event after idle

Events are committed one a transaction at fixed times, whatever became of those
before them. `commit` counts from the return of the commit, `due` from the
moment the event was due. The relay has its default settings (`tuned`: it looks
every ms). `direct`: there is no relay, whoever committed sends the event itself
at once, which is the least that this machine, the broker and the consumer need.
In `writer elsewhere` a transaction that has written, in another database of the
server, stays open all the time. The producer, PostgreSQL, relay, broker and
consumer share the machine.
"""

import contextlib
import re
import time

from flat import nothing, other_writer
from workload import background, bench_servers_up, build, median, say, table, timed

INSERT = (
    "INSERT INTO {outbox}.event (topic, key, type, payload) VALUES "
    "('orders', 'k' || (random() * 1000)::int, 'order.created', "
    "convert_to($1::text, 'UTF8'))"
)
TUNED = ("relay.poll_min_ms=1",)
DIRECT = None
ELSEWHERE = "500/s, writer elsewhere"
# A broker that has just begun still compiles itself, on one of two processors.
WARM = (2000, 10, 1, 4, ())
# title: events/s, seconds, seconds not counted, connections, settings
PLANS = {
    "100/s": (100, 8, 2, 1, ()),
    "500/s direct": (500, 10, 2, 2, DIRECT),
    "500/s": (500, 10, 2, 2, ()),
    ELSEWHERE: (500, 10, 2, 2, ()),
    "500/s tuned": (500, 10, 2, 2, TUNED),
    "5,000/s direct": (5000, 8, 2, 8, DIRECT),
    "5,000/s": (5000, 8, 2, 8, ()),
    "after idle": (0.5, 16, 2, 1, ()),
}


def one(bench, program, name, plan, quick):
    rate, seconds, warm, connections, settings = plan
    if quick:  # on whatever machine
        rate = min(rate, 500)
        seconds, warm = (5, 1) if rate >= 1 else (8, 2)
    outbox = bench.outbox(name, 0)
    topic = bench.topic()
    command = [program, bench.kafka.bootstrap, topic, bench.url]
    command += [INSERT.format(outbox=outbox), rate, int(rate * seconds)]
    command += [int(rate * warm), connections]
    with contextlib.ExitStack() as stack:
        relay = None
        if settings is DIRECT:
            command += ["direct"]
        else:
            relay = stack.enter_context(
                background(bench.relay(outbox, topic, settings))
            )
            time.sleep(1)
        before, relay_before = bench.servers_cpu(), relay.cpu() if relay else 0
        started = time.monotonic()
        text = timed(command)["output"]
        passed = time.monotonic() - started
        after, relay_after = bench.servers_cpu(), relay.cpu() if relay else 0
    # Beside them librdkafka may have told of a broker that was late.
    lines = re.findall(r"^(\w+) ([\d.]+)$", text, re.MULTILINE)
    found = {key: float(value) for key, value in lines}
    used = {key: after[key] - before[key] for key in after}
    return {
        **found,
        "relay_cpu": round((relay_after - relay_before) / passed, 3),
        "postgresql_cpu": round(used["postgresql_s"] / passed, 3),
        "broker_cpu": round(used["broker_s"] / passed, 3),
    }


def of_rounds(found):
    """The median of each figure; and the least and the largest p99, as one pause
    of the machine makes it."""
    late = sorted(run["commit_p99"] for run in found)
    middle = {key: round(median(found, key), 3) for key in found[0]}
    return {**middle, "p99_from": late[0], "p99_to": late[-1]}


def measure(options):
    program = build("load.c", "rdkafka", "libpq")
    rounds = options.repeat or (1 if options.quick else 3)
    with bench_servers_up() as bench:
        result = {"machine": bench.machine(), "rounds": rounds}
        say("warming up")
        one(bench, program, "latency_warm", WARM, options.quick)
        runs = {title: [] for title in PLANS}
        for turn in range(rounds):
            for i, (title, plan) in enumerate(PLANS.items()):
                name = f"latency_{turn}_{i}"
                with (other_writer if title == ELSEWHERE else nothing)(bench, name):
                    run = one(bench, program, name, plan, options.quick)
                runs[title].append(run)
                p99 = runs[title][-1]["commit_p99"]
                say(f"round {turn + 1}, {title}: p99 {p99:.1f} ms")
        result["plans"] = {title: of_rounds(found) for title, found in runs.items()}
        return result


def show(result):
    rows = []
    for title, part in result["plans"].items():
        row = [title]
        for name in ("p50", "p99", "p99_9"):
            row.append(f"{part[f'commit_{name}']:.2f}")
        for name in ("p50", "p99", "p99_9"):
            row.append(f"{part[f'due_{name}']:.2f}")
        row.append(f"{part['p99_from']:.1f} … {part['p99_to']:.1f}")
        row += [f"{part[f'{name}_cpu']:.0%}" for name in ("relay", "postgresql")]
        rows.append(row)
    head = ["ms", "commit p50", "p99", "p99.9", "due p50", "p99", "p99.9"]
    table([*head, "commit p99 of rounds", "relay CPU", "PostgreSQL"], rows)
