"""business transactions/s with and without an event, and the WAL of an event

The business transaction updates a row and inserts another one. The event is
added to it in five ways: as a statement of its own, in the same pipeline, in
the same statement as a business one, and by the SQL function. pgbench with 1,
4 and 16 clients; the ways take turns, each turn a short run.
"""

import pathlib
import re
import statistics
import subprocess
import tempfile

from pg_server import system_bin
from workload import bench_servers_up, say, table

CLIENTS = (1, 4, 16)
SETUP = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)
    WITH (fillfactor = 50);
INSERT INTO account SELECT i FROM generate_series(1, 10000) i;
CREATE TABLE sale (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account int NOT NULL, amount int NOT NULL);
VACUUM ANALYZE account;
CHECKPOINT
"""
PAYLOAD = "repeat('0123456789abcdef', 12) || '12345678'"  # 200 bytes
EVENT = (
    "INSERT INTO tax.event (id, topic, key, type, payload) VALUES "
    "(gen_random_uuid(), 'sales', :account::int::text, 'sale.made', "
    f"convert_to({PAYLOAD}, 'UTF8'))"
)
UPDATE = "UPDATE account SET balance = balance + 1 WHERE id = :account"
SALE = "INSERT INTO sale (account, amount) VALUES (:account, 1)"
CALL = f"SELECT tax.enqueue('sales', {PAYLOAD}, :account::int::text, 'sale.made')"


def script(*statements, pipelined=False):
    lines = ["\\set account random(1, 10000)"]
    lines += ["\\startpipeline"] * pipelined
    lines += [f"{line};" for line in ("BEGIN", *statements, "COMMIT")]
    lines += ["\\endpipeline"] * pipelined
    return "\n".join(lines) + "\n"


SCRIPTS = {
    "business alone": script(UPDATE, SALE),
    "own statement": script(UPDATE, SALE, EVENT),
    "in one statement": script(UPDATE, f"WITH e AS ({EVENT}) {SALE}"),
    "SQL function": script(UPDATE, SALE, CALL),
    "business alone, pipelined": script(UPDATE, SALE, pipelined=True),
    "pipelined": script(UPDATE, SALE, EVENT, pipelined=True),
}
# What each is compared with.
BASES = {
    "own statement": "business alone",
    "in one statement": "business alone",
    "SQL function": "business alone",
    "pipelined": "business alone, pipelined",
}


def wal(bench):
    (found,) = bench.query("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0]
    return int(found)


def turn(bench, path, clients, seconds):
    """(transactions/s, WAL bytes per transaction)"""
    before = wal(bench)
    done = subprocess.run(
        [system_bin() / "pgbench", "-n", "-M", "prepared", "-f", path]
        + ["-c", str(clients), "-j", "1", "-T", str(seconds), bench.url],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"pgbench: {done.stderr}")
    written = wal(bench) - before
    count = int(re.search(r"actually processed: (\d+)", done.stdout)[1])
    tps = float(re.search(r"tps = ([\d.]+)", done.stdout)[1])
    return tps, written / count


def measure(options):
    rounds = options.repeat or (1 if options.quick else 3)
    seconds = 1 if options.quick else 2
    clients = CLIENTS[:2] if options.quick else CLIENTS
    with bench_servers_up() as bench, tempfile.TemporaryDirectory() as folder:
        bench.outbox("tax", 0)
        for statement in SETUP.split(";"):
            bench.query(statement)
        paths = {}
        for i, (name, text) in enumerate(SCRIPTS.items()):
            paths[name] = pathlib.Path(folder) / f"{i}.sql"
            paths[name].write_text(text)
        result = {"machine": bench.machine(), "clients": {}}
        turn(bench, paths["pipelined"], 4, 1)  # warms up
        for n in clients:
            say(f"{n} clients")
            turns = {name: [] for name in SCRIPTS}
            for _ in range(rounds):
                for name, path in paths.items():
                    turns[name].append(turn(bench, path, n, seconds))
            result["clients"][str(n)] = summary(turns)
        return result


def summary(turns):
    found = {}
    for name, runs in turns.items():
        found[name] = {
            "tps": round(statistics.median(tps for tps, _ in runs)),
            "wal_bytes": round(statistics.median(size for _, size in runs)),
        }
        base = BASES.get(name)
        if base:
            ratios = [a[0] / b[0] for a, b in zip(runs, turns[base], strict=True)]
            found[name]["ratio"] = round(statistics.median(ratios), 3)
            found[name]["event_wal_bytes"] = (
                found[name]["wal_bytes"] - found[base]["wal_bytes"]
            )
    return found


def show(result):
    rows = []
    for n, part in result["clients"].items():
        for name, cells in part.items():
            rows.append(
                [
                    f"{n} clients, {name}",
                    f"{cells['tps']:,}",
                    f"{cells['ratio']:.2f}" if "ratio" in cells else "",
                    cells["wal_bytes"],
                    cells.get("event_wal_bytes", ""),
                ]
            )
    table(["", "tps", "of business alone", "WAL B/transaction", "WAL B/event"], rows)
