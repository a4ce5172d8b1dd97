"""Writes docs/performance.md and its plots from bench/results/*.json."""

import contextlib
import importlib
import io
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/performance"

INTRO = """\
# Performance

This page is written by `./dev bench report` from `bench/results/*.json`, which
`./dev bench all` leaves. Every benchmark starts a PostgreSQL and a Kafka of its
own with the settings in `bench/` (durable: `fsync`, `synchronous_commit`,
`acks=all`, idempotence), and runs the relay, the servers and the load on one
machine. What is compared takes turns, so that what else the machine does meets
all sides; trust the counts and the ratios more than the rates. Each result says
how busy the machine was; a benchmark without a section here has no result yet
that is worth keeping. `--quick` shows in a minute that a benchmark works, and
leaves no result.

## Headers, and what the bare producer is

The relay gives every event the headers `id`, `outtray-order` and `type`. They
are most of what a small message costs librdkafka 2.0.2: a bare producer of
messages of 200 bytes needs 7,600 instructions for each without headers and
14,100 with these three (about a thousand of them to write their text), five of
six allocations are theirs, and they more than double its processor seconds. So there
are two bare producers, both with the settings of the relay: one sends the same
headers, which is the ceiling, the other none.
"""

DRAIN = """\
`cursor` is what is left if nothing has to be safe: it reads behind the last
seq and loses what commits late. `status` is the usual table with a status,
claimed and marked in batches; the Python one is the usual program.
"""

COUNTS = """\
Counted by callgrind and an allocation counter as the slope between two runs of
different length, without the start and the end. `own` is the code of this
project. The allocations are librdkafka's (the message, the list of its headers,
each header) and libpq's (blocks of a result); the relay itself makes a few for a
batch of 5,000. `tests/cost` keeps the counts from growing.
"""

OTHER_MALLOC = """\
glibc's allocator is a good part of it: with `LD_PRELOAD=libjemalloc.so.2` (or
mimalloc) the relay needs 10 to 15 % fewer processor seconds.
"""

MISSED = """\
## Goals that are missed

- **Instructions, and the bare producer without headers.** A third of what an
  event takes is lz4, half is librdkafka and the allocation and copying it asks
  for, above all for headers, which a consumer needs to tell a duplicate from a new
  event. What is left for the relay is its own code and libpq. Tried: less own code
  (1,722 instructions before, 1,311 after), optimisation across files (827), other
  allocators (10 to 15 % fewer processor seconds, which a library should not impose
  on its program).
- **Times a status column.** These goals assumed a producer without headers. With
  them librdkafka itself comes to 7 to 8 times the status column in C, and to 14
  times the one in Python, so they cannot be reached; the relay gets within a fifth
  of that.
- **Latency at 500/s.** The p99 is made by a few pauses of some 50 ms, of the machine,
  the disk or the broker: the tuned run beside it met fewer. What the relay adds to
  a pause is a quarter of it at most since polls slow down gently (51 ms before).
- **`enqueue_many` on SQLite.** There is no round trip to save: a row takes 4 us in
  SQLite itself. Tried: `executemany` (6.2 us), `json_each` (5.3 us), statements of
  other sizes (4.0 us, as now).
- **nginx.** A request through `outbox:transaction` takes some 20 us more of nginx
  than the INSERT by hand, most of it outside of the builder, which takes 1.4 us.
"""

SECTIONS = (
    ("drain", "Drain", DRAIN),
    ("latency", "Latency", ""),
    ("cost", "What one event costs", COUNTS + "\n" + OTHER_MALLOC),
    ("enqueue-tax", "What an event costs its transaction", ""),
    ("flat", "What must not matter", ""),
    ("idle", "Without work", ""),
    ("sqlite", "SQLite", ""),
    ("python", "Python", ""),
    ("lua", "Lua and nginx", ""),
    ("gateway", "A gateway without a database", ""),
)


def module(name):
    return importlib.import_module(name.replace("-", "_"))


def load(name):
    path = ROOT / f"bench/results/{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def shown(name, result):
    """What the benchmark prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        module(name).show(result)
    return out.getvalue().strip("\n")


def method(name):
    """The description of a benchmark, without its title."""
    _, _, text = module(name).__doc__.partition("\n\n")
    return text.strip()


def machine(result):
    m = result["machine"]
    postgresql = f"PostgreSQL {m['postgresql']}, " if "postgresql" in m else ""
    return (
        f"{postgresql}Kafka {m['kafka']}, {m['processors']} x "
        f"{m['processor']}, load {m['load_before']:.1f} when it began, "
        f"{m['time'][:10]}."
    )


def goals(results):
    """(goal, measured, is it reached) where both are known."""
    found = []

    def add(goal, value, good, form="{:.2f}"):
        found.append((goal, form.format(value), "yes" if good else "no"))

    drain, cost = results.get("drain"), results.get("cost")
    if drain:
        shape = drain["shapes"]["200 B"]
        for kind, goal, least in (
            ("headers", "drain: of the bare producer with the same headers", 0.65),
            ("plain", "drain: of the bare producer without headers", 0.65),
            ("status", "drain: times the status column, 1,000 a batch", 8),
            ("python", "drain: times the status column in Python", 20),
        ):
            ratio = shape[kind]["relay_is"]
            add(f"{goal}, at least {least}", ratio, ratio >= least)
        us, pg = shape["relay"]["cpu_us"], shape["relay"]["postgresql_us"]
        add("relay, us per event, at most 3", us, us <= 3)
        add("PostgreSQL, us per event, at most 1", pg, pg <= 1)
    if cost:
        per = cost["per_million"]
        wal = cost["server"]["wal_bytes_per_event"]
        add("WAL of the relay, B per event, at most 1", wal, wal <= 1, "{:.3f}")
        kafka, null = cost["instructions_kafka"], cost["instructions_null"]
        total = kafka["total"]
        add("instructions per event, at most 5,500", total, total <= 5500, "{:,}")
        total = null["total"]
        add("… without the broker's client", total, total <= 5500, "{:,}")
        own = kafka["own"]
        add("… in own code, at most 700", own, own <= 700, "{:,}")
        rss = per["rss_mb"]
        add("memory under load, MB, at most 64 + 2 windows", rss, rss <= 192, "{:.0f}")
    if results.get("latency"):
        for title, p50, p99 in (("500/s", 2, 8), ("500/s tuned", 1.2, 4)):
            part = results["latency"]["plans"][title]
            good = part["commit_p50"] <= p50 and part["commit_p99"] <= p99
            text = f"{part['commit_p50']:.1f} and {part['commit_p99']:.1f}"
            found.append(
                (
                    f"latency at {title}, ms, p50 at most {p50}, p99 {p99}",
                    text,
                    "yes" if good else "no",
                )
            )
        used = results["latency"]["plans"]["500/s"]["relay_cpu"]
        add("relay at 500/s, of a core, at most 10 %", used, used <= 0.1, "{:.1%}")
        late = results["latency"]["plans"]["after idle"]["commit_max"]
        add("first event after idle, ms, less than 60", late, late < 60, "{:.1f}")
    if results.get("idle"):
        used = results["idle"]["relay_cpu"]
        add("idle: of a core, at most 1 %", used, used <= 0.01, "{:.2%}")
    if results.get("enqueue-tax"):
        for clients, least in (("1", 0.95), ("16", 0.75)):
            ratio = results["enqueue-tax"]["clients"][clients]["pipelined"]["ratio"]
            goal = f"enqueue pipelined, {clients} clients: of the tps, at least {least}"
            add(goal, ratio, ratio >= least)
    if results.get("sqlite"):
        rate = results["sqlite"]["null"]["events_per_s"]
        goal = "SQLite to the null sink, events/s, at least 200,000"
        add(goal, rate, rate >= 200_000, "{:,}")
    if results.get("flat"):
        goals_of_flat(results["flat"], add)
    if results.get("python"):
        goals_of_python(results["python"], add)
    if results.get("lua"):
        goals_of_lua(results["lua"], add)
    return found


def goals_of_flat(flat, add):
    least = min(part["ratio"] for part in flat["conditions"].values())
    good = least >= 1 / 1.3
    add("flat: the slowest drain, of the plain one, at least 0.77", least, good)
    snapshot = flat["conditions"]["an old snapshot"]["ratio"]
    add("flat: under an old snapshot, at least 0.95", snapshot, snapshot >= 0.95)


def goals_of_python(python, add):
    us = python["builder"]["us_per_call"]["median"]
    add("Python: one event is built, us, at most 3", us, us <= 3)
    for name, part in python["enqueue"].items():
        ratio = part["ratio"]["median"]
        add(f"Python: {name}, of the INSERT by hand, at least 0.9", ratio, ratio >= 0.9)
    for name, part in python["many"].items():
        ratio = part["ratio"]["median"]
        goal = f"Python: {name}, enqueue_many, times single calls, at least 20"
        add(goal, ratio, ratio >= 20, "{:.0f}")
    ratio = python["relay"]["ratio"]["median"]
    add("Python: relay, of the command, at least 0.97", ratio, ratio >= 0.97)
    rate = python["script"]["batches"]["events_per_s"]["median"]
    goal = "Python: events/s to a program, at least 200,000"
    add(goal, rate, rate >= 200_000, "{:,.0f}")


def goals_of_lua(lua, add):
    for name in ("lua5.4", "luajit"):
        us = lua["builder"][f"{name} c literal"]["us"]
        add(f"{name}: one event is built, us, at most 2", us, us <= 2)
        rate = lua["script"][f"{name} each read, batch:ok()"]["events_per_s"]
        goal = f"{name}: events/s to a program, at least 200,000"
        add(goal, rate, rate >= 200_000, "{:,.0f}")
        ratio = lua["relay"][name]["of_command"]
        add(f"{name}: relay, of the command, at least 0.97", ratio, ratio >= 0.97)
    hand = lua["nginx"]["sides"]["by-hand"]
    ratio = hand["requests_per_s_ratio"]
    add("nginx: requests/s, of the INSERT by hand, at least 0.9", ratio, ratio >= 0.9)
    ratio = hand["unrelated_p99_ms_ratio"]
    add("nginx: p99 of unrelated requests, at most 1.1 of it", ratio, ratio <= 1.1)


def goals_text(results):
    lines = ["## Goals", "", "| goal | measured | reached |", "|---|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in goals(results)]
    return "\n".join(lines) + "\n"


def save(figure, name):
    import matplotlib

    # The same numbers make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "outtray"
    PLOTS.mkdir(exist_ok=True)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    (PLOTS / f"{name}.svg").write_text("\n".join(lines) + "\n")


def plot_drain(result):
    from matplotlib.figure import Figure

    drain = module("drain")
    shape = result["shapes"]["200 B"]
    kinds = [kind for kind in reversed(drain.TITLES) if kind in shape]
    rates = [shape[kind]["events_per_s"] for kind in kinds]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    colours = ["#d2691e" if kind == "relay" else "#8899aa" for kind in kinds]
    bars = axes.barh([drain.TITLES[kind] for kind in kinds], rates, color=colours)
    axes.bar_label(bars, [f" {rate:,.0f}" for rate in rates])
    axes.set_xlabel("events/s, 200 B")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.2)
    save(figure, "drain")


def plot_latency(result):
    from matplotlib.figure import Figure

    titles = list(result["plans"])
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(("p50", "p99", "p99_9")):
        values = [result["plans"][title][f"commit_{name}"] for title in titles]
        places = [place + (i - 1) * 0.27 for place in range(len(titles))]
        axes.bar(places, values, 0.25, label=name.replace("_", "."))
    axes.set_xticks(range(len(titles)), titles)
    axes.set_yscale("log")
    axes.set_ylabel("ms, commit to consumer")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    save(figure, "latency")


PLOTTED = {"drain": plot_drain, "latency": plot_latency}


def write():
    results = {name: load(name) for name, _, _ in SECTIONS}
    results = {name: result for name, result in results.items() if result}
    parts = [INTRO, goals_text(results), MISSED]
    for name, title, text in SECTIONS:
        if name not in results:
            continue
        parts.append(f"## {title}\n")
        parts += [f"{part}\n" for part in (method(name), text.strip()) if part]
        parts.append(machine(results[name]) + "\n")
        if name in PLOTTED:
            PLOTTED[name](results[name])
            parts.append(f"![{title}](performance/{name}.svg)\n")
        parts.append(f"```text\n{shown(name, results[name])}\n```\n")
    PAGE.write_text("\n".join(parts))
    print(f"wrote {PAGE.relative_to(ROOT)}")
