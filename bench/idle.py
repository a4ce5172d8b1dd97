"""what a relay without work uses: polls/s, CPU, WAL, memory"""

import time

from cost import statements
from workload import background, bench_servers_up, fresh, say


def wal(bench):
    (found,) = bench.query("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0]
    return int(found)


def measure(options):
    seconds = 10 if options.quick else 600
    with bench_servers_up() as bench:
        result = {"machine": bench.machine(), "seconds": seconds}
        outbox = bench.outbox("idle", 1000)
        topic = bench.topic()
        with background(bench.relay(outbox, topic, subscription=fresh("s"))) as relay:
            time.sleep(3)  # it has sent what there was, and slowed down
            say(f"{seconds} s without work")
            bench.query("CHECKPOINT")
            found = {}

            def wait():
                before = bench.servers_cpu(), relay.cpu(), wal(bench)
                time.sleep(seconds)
                after = bench.servers_cpu(), relay.cpu(), wal(bench)
                found["relay_cpu"] = (after[1] - before[1]) / seconds
                for name in after[0]:
                    used = after[0][name] - before[0][name]
                    found[name.replace("_s", "_cpu")] = used / seconds
                found["wal_bytes_per_s"] = (after[2] - before[2]) / seconds

            counted = statements(bench, wait)
            found["polls_per_s"] = counted["read"]["calls"] / seconds
            found["blocks_per_poll"] = counted["read"]["blocks"] / max(
                1, counted["read"]["calls"]
            )
            found["writes"] = counted["write"]["calls"]
            found["rss_mb"] = relay.peak() / 1e6
        return {**result, **{name: round(v, 4) for name, v in found.items()}}


def show(result):
    print(f"{result['seconds']} s: {result['polls_per_s']:.1f} polls/s of")
    print(f"{result['blocks_per_poll']:.1f} blocks, {result['writes']} cursor writes,")
    print(f"{result['wal_bytes_per_s']:.0f} B/s of WAL (the lease)")
    for name in ("relay", "postgresql", "broker"):
        print(f"{name}: {result[f'{name}_cpu']:.2%} of a core")
    print(f"relay: {result['rss_mb']:.1f} MB")
