"""what the Lua modules cost: building, nginx, handling events, relaying

A PostgreSQL and a Kafka of their own, on this machine. Whatever is compared is
measured in turns, one after the other, so that what else the machine does meets
both; ratios are of neighbours. Spread is the distance of the fastest and the
slowest round by the median. In nginx (one worker) each request writes an order
and, with outtray, by hand or not at all, an event of 200 bytes in the same
transaction; then once more, while one client asks the same worker for a page
that has nothing to do with it, as fast as it is answered.
"""

import json
import os
import tempfile

import lua_modules
import release
import resty_load
import workload
from workload import bench_servers_up, median, say, spread, table, timed

INTERPRETERS = list(lua_modules.INTERPRETERS)

BUILDER = """
local outtray, cjson = require "outtray", require "cjson"
local rounds = tonumber(arg[1])
local event = {
    topic = "orders", key = "k7", type = "order.created",
    payload = ("0123456789abcdef"):rep(13):sub(1, 200),
}
local found = {}
for round = 0, rounds do
    for _, kind in ipairs {"c", "lua"} do
        local outbox = outtray.outbox {builder = kind}
        for _, style in ipairs {"literal", "$"} do
            local started = os.clock() -- it does nothing but compute
            for _ = 1, 20000 do
                outbox:build(event, "postgresql", style)
            end
            local us = (os.clock() - started) / 20000 * 1e6
            local name = kind .. " " .. style
            found[name] = found[name] or {}
            table.insert(found[name], round > 0 and us or nil)
        end
    end
end
print(cjson.encode(found))
"""

# The ways of a program to handle events itself.
WAYS = ["batch:ok() alone", "each read, batch:ok()", "each read, event:ok()"]
SCRIPT = """
local outtray, cjson = require "outtray", require "cjson"
local now = require("socket").gettime
local relay = assert(outtray.relay {
    store = arg[1], sink = "script:", subscription = arg[2], until_empty = true,
    settings = {["prune.enabled"] = false},
})
local way = arg[3]
local many, bytes = 0, 0
local started, cpu = now(), os.clock()
for batch in relay:batches() do
    if way == "batch:ok() alone" then
        many = many + batch:ok()
    else
        local each = way == "each read, event:ok()"
        for event in batch:events() do
            many = many + 1
            bytes = bytes + #event.payload
            if each then
                event:ok()
            end
        end
        batch:ok()
    end
end
print(cjson.encode {many = many, seconds = now() - started, cpu_s = os.clock() - cpu})
relay:close()
"""

RELAYS = """
local outtray = require "outtray"
local relay = assert(outtray.relay {
    store = arg[1], sink = arg[2], subscription = arg[3], until_empty = true,
    settings = {
        ["sink.topic"] = arg[4], ["prune.enabled"] = false, ["sink.tls"] = "off",
    },
})
assert(relay:run())
relay:close()
"""


class Programs:
    """Programs of Lua, and interpreters that find the modules of the release."""

    def __init__(self, folder):
        self.folder = folder
        release.build("lua_modules", options=["-DOUTTRAY_LUA=ON"])

    def run(self, interpreter, program, *arguments):
        path = f"{self.folder}/program.lua"
        with open(path, "w") as file:
            file.write(program)
        env = {**os.environ, **lua_modules.paths(interpreter, release.FOLDER)}
        return timed([interpreter, path, *arguments], env)


def figures(runs, *names):
    found = {name: round(median(runs, name), 2) for name in names}
    return {**found, "spread": round(spread(runs, names[0]), 3)}


def measure_builder(programs, rounds):
    found = {}
    for interpreter in INTERPRETERS:
        say(f"builder, {interpreter}")
        text = programs.run(interpreter, BUILDER, rounds)["output"]
        for name, values in json.loads(text).items():
            runs = [{"us": us} for us in values]
            found[f"{interpreter} {name}"] = figures(runs, "us")
    return found


def measure_script(programs, url, events, rounds):
    runs = {f"{one} {way}": [] for way in WAYS for one in INTERPRETERS}
    for number in range(rounds + 1):
        for name in runs:
            interpreter, _, way = name.partition(" ")
            subscription = workload.fresh("s")
            run = programs.run(interpreter, SCRIPT, url, subscription, way)
            # Before it a relay may have said something of a slow machine.
            run = json.loads(run["output"].splitlines()[-1])
            if run["many"] != events:
                raise RuntimeError(f"{name}: {run['many']} of {events} events")
            run["events_per_s"] = events / run["seconds"]
            run["cpu_us"] = run["cpu_s"] / events * 1e6
            say(f"{name}: {run['events_per_s']:,.0f} events/s")
            if number:
                runs[name].append(run)
    return {name: figures(runs[name], "events_per_s", "cpu_us") for name in runs}


def measure_relay(programs, bench, events, rounds):
    runs = {kind: [] for kind in ("command", *INTERPRETERS)}
    for number in range(rounds + 1):
        for kind in runs:
            topic, name = bench.topic(), workload.fresh("s")
            if kind == "command":
                command = bench.relay("outtray", topic, subscription=name)
                run = timed([*command, "--until-empty"])
            else:
                sink = bench.topics.url
                run = programs.run(kind, RELAYS, bench.url, sink, name, topic)
            if bench.count(topic) != events:
                raise RuntimeError(f"{kind}: not all events are in {topic}")
            run["events_per_s"] = events / run["seconds"]
            run["cpu_us"] = run["cpu_s"] / events * 1e6
            say(f"relay, {kind}: {run['events_per_s']:,.0f} events/s")
            if number:
                runs[kind].append(run)
    found = {k: figures(runs[k], "events_per_s", "cpu_us") for k in runs}
    for kind in INTERPRETERS:
        ratios = [
            {"ratio": one["events_per_s"] / other["events_per_s"]}
            for one, other in zip(runs[kind], runs["command"], strict=True)
        ]
        found[kind]["of_command"] = round(median(ratios, "ratio"), 3)
    return found


def measure(options):
    events = options.events or (20_000 if options.quick else 300_000)
    rounds = options.repeat or (1 if options.quick else 3)
    with bench_servers_up() as bench, tempfile.TemporaryDirectory() as folder:
        result = {"machine": bench.machine(), "events": events, "rounds": rounds}
        programs = Programs(folder)
        bench.outbox("outtray", events)
        result["builder"] = measure_builder(programs, 5 * rounds)
        result["script"] = measure_script(programs, bench.url, events, rounds)
        result["relay"] = measure_relay(programs, bench, events, rounds)
        seconds = 1 if options.quick else 3
        result["nginx"] = resty_load.measure(bench, release.FOLDER, rounds, seconds)
        return result


def show(result):
    print(f"{result['events']:,} events of 200 B, {result['rounds']} rounds\n")
    rows = [
        [name, part["us"], f"{part['spread']:.0%}"]
        for name, part in result["builder"].items()
    ]
    table(["outbox:build, at most 2 us in C", "us", "spread"], rows)
    print()
    for title, name in (
        ("events to a program, at least 200,000/s", "script"),
        ("relay to Kafka, at least 0.97 of the command", "relay"),
    ):
        rows = [
            [kind, f"{part['events_per_s']:,.0f}", f"{part['spread']:.0%}"]
            + [part["cpu_us"], part.get("of_command", "")]
            for kind, part in result[name].items()
        ]
        table([title, "events/s", "spread", "us of cpu", "of command"], rows)
        print()
    show_nginx(result["nginx"])


def show_nginx(part):
    client = "pgmoon" if part["pgmoon"] else "a client like pgmoon"
    print(f"nginx with {client}, {part['connections']} connections; the ratios: of")
    print("outtray's, at least 0.9 of the requests, at most 1.1 of the p99 by hand")
    rows = []
    for side, title in resty_load.SIDES.items():
        one = part["sides"][side]
        rows.append(
            [title, f"{one['requests_per_s']:,.0f}", f"{one['spread']:.0%}"]
            + [one.get("requests_per_s_ratio", ""), one["nginx_us"]]
            + [one["unrelated_p99_ms"], f"{one['p99_spread']:.0%}"]
            + [one.get("unrelated_p99_ms_ratio", "")]
        )
    head = ["", "requests/s", "spread", "ratio", "us of nginx"]
    table([*head, "unrelated p99 ms", "spread", "ratio"], rows)
