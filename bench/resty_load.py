"""An nginx that enqueues, with load on it. Part of the benchmark lua."""

import json
import os
import pathlib
import subprocess
import tempfile

import lua_modules
import nginx
from usage import cpu_seconds
from workload import ROOT, fresh, median, say, spread

FOLDER = ROOT / "bench/resty"
CONNECTIONS = 16
# What a request does; each with the same order in its transaction.
SIDES = {
    "enqueue": "an event by outtray",
    "by-hand": "the INSERT by hand",
    "alone": "no event",
}


class wrk:
    """wrk on a page, for the block; then its numbers."""

    def __init__(self, url, connections, seconds, may_fail=False):
        self.may_fail = may_fail
        self.command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        self.command += ["--timeout", "30s", "-s", str(FOLDER / "wrk.lua"), url]

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        text, _ = self.child.communicate()
        if self.child.returncode:
            raise RuntimeError(f"{self.command}: {self.child.returncode}\n{text}")
        self.found = json.loads(text.splitlines()[-1])
        if self.found["failed"] and not self.may_fail:
            raise RuntimeError(f"{self.command}: some requests failed\n{text}")


def one_turn(server, side, seconds):
    """Requests that write; then once more, with a client beside them that asks the
    same worker for something else, as fast as it is answered."""
    url = server.url(f"/{side}")
    before = cpu_seconds(server.process.pid)
    with wrk(url, CONNECTIONS, seconds) as load:
        pass
    cpu = cpu_seconds(server.process.pid) - before
    with wrk(server.url("/unrelated"), 1, seconds) as unrelated:
        with wrk(url, CONNECTIONS, seconds) as beside:
            pass
    found = load.found
    return {
        "requests": found["requests"] + beside.found["requests"],
        "requests_per_s": found["requests"] / found["us"] * 1e6,
        "p99_ms": found["p99_us"] / 1000,
        "nginx_us": cpu / found["requests"] * 1e6,
        "unrelated_p99_ms": unrelated.found["p99_us"] / 1000,
    }


def start(bench, folder, build):
    folder.chmod(0o755)
    paths = lua_modules.paths("luajit", build)
    values = {
        **nginx.database(bench.url),
        "LUA_PATH": f"{FOLDER}/?.lua;" + paths["LUA_PATH"],
        "LUA_CPATH": paths["LUA_CPATH"],
    }
    return nginx.Nginx(folder, FOLDER / "nginx.conf", values, {}).start()


def measure(bench, build, rounds, seconds):
    bench.query("CREATE TABLE orders (n bigserial PRIMARY KEY, customer int)")
    (before,) = bench.query("SELECT count(*) FROM outtray.event")[0]
    runs = {side: [] for side in SIDES}
    events = 0
    with tempfile.TemporaryDirectory(prefix=fresh("nginx")) as folder:
        server = start(bench, pathlib.Path(folder), build)
        try:
            for number in range(rounds + 1):
                # The first of a round is another one each time.
                order = list(SIDES)[number % 3 :] + list(SIDES)[: number % 3]
                for side in order:
                    run = one_turn(server, side, seconds)
                    events += run["requests"] * (side != "alone")
                    say(f"nginx, {side}: {run['requests_per_s']:,.0f}/s")
                    if number:
                        runs[side].append(run)
        finally:
            server.stop()
        if "[error]" in server.log():
            raise RuntimeError(server.log())
    (after,) = bench.query("SELECT count(*) FROM outtray.event")[0]
    if after - before < events:
        raise RuntimeError(f"{events} answers, {after - before} events")
    result = {"pgmoon": "OUTTRAY_TEST_PGMOON" in os.environ, "connections": CONNECTIONS}
    return {**result, "sides": {side: summary(runs, side) for side in runs}}


def summary(runs, side):
    found = {name: round(median(runs[side], name), 2) for name in runs[side][0]}
    found["spread"] = round(spread(runs[side], "requests_per_s"), 3)
    found["p99_spread"] = round(spread(runs[side], "unrelated_p99_ms"), 3)
    if side != "enqueue":
        # Of the same round, so that what else ran meets both.
        for name in ("requests_per_s", "unrelated_p99_ms", "nginx_us"):
            ratios = [
                {"ratio": ours[name] / its[name]}
                for ours, its in zip(runs["enqueue"], runs[side], strict=True)
            ]
            found[f"{name}_ratio"] = round(median(ratios, "ratio"), 3)
    return found
