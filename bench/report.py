"""Writes docs/performance.md and its plots from bench/results/*.json."""

import collections
import contextlib
import importlib
import io
import json
import pathlib

import goals

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/performance"

INTRO = """\
# Performance

This page is written by `./dev bench report` from `bench/results/*.json`, which
`./dev bench` leaves. Every benchmark starts a PostgreSQL and a Kafka of its
own with the settings in `bench/` (durable: `fsync`, `synchronous_commit`,
`acks=all`, idempotence), and runs the relay, the servers and the load on one
machine. What is compared takes turns, so that what else the machine does meets
all sides; trust the counts and the ratios more than the rates. Each result says
when it was measured and how busy the machine was; of several the one is kept in which
what it is compared with ran fastest. All of it in one go took 29 minutes from an empty
folder on, and 39 on an older and slower machine (2 x Xeon, 2.8 GHz), of which the text
says "the slower one". `--quick` shows in a minute that a benchmark works, and leaves no
result.
"""

HEADERS = """\
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

GATEWAY = """\
Where the processor time of nginx goes at 256 connections, by `perf`, without the
relay beside it: 32 % to the kernel (sockets, threads, the sync), 22 % to LuaJIT and
what it compiled, 16 % to SQLite, 14 % to the C library (memory,
copies, locks), 9 % to nginx, 3 % to the builder. No function has 5 %.
"""

MISSED = """\
## Goals that are missed

- **Instructions, and the bare producer without headers.** A third of what an event takes
  is lz4, half is librdkafka and the allocation and copying it asks for, above all for
  headers, which a consumer needs to tell a duplicate from a new event. What is left for
  the relay is its own code and libpq. Own code took 1,388 at first, then 1,213 and
  1,126, and now 699, as was the goal. The largest parts left are handing over to
  librdkafka (172), reading the row (122) and what follows from an answer (88). Tried: a
  short way for events that nothing holds up, no lanes as long as nothing goes wrong
  (188 fewer), calls past the linker's stubs (66 fewer), the text of `outtray-order`
  from that of the event before, messages for librdkafka as an array instead of variable
  arguments (140 fewer in librdkafka as well), optimisation across files, one column for
  a whole row (it takes PostgreSQL half as much again to make it, which is more than
  libpq saves), other allocators (10 to 15 % fewer processor seconds, which a library
  should not impose on its program).
- **Times a status column.** These goals assumed a producer without headers. With them
  librdkafka itself comes to 6 to 8 times the status column in C, and to 13 to 14 times
  the one in Python, so they cannot be reached; the relay gets within a tenth to a fifth
  of that. PgQ's user with the same headers is left behind by 2.1 to 2.2 (on the slower
  machine by 1.83, 1.83 and 2.08). Tried for more: `linger.ms` of 0.5 and 1 (+5 %, for as
  much more latency) and of 5 (-10 %), 2 requests under way (-5 %), reads of 2,500 (no
  difference), a `relay.window_events` of 40,000 instead of 20,000 (+6 and +15 % in two
  runs, as a pause of the broker then stops no reading; it also doubles what a crash sends
  twice, so it is left to whoever wants it).
- **Memory over 10.3 M events.** In two of three runs a step of 4 to 5 MB, the first time
  at the eighth million, and none before or after it; read once a million, the third
  stayed between 16.8 and 17.9 MB from the first to the last. It is no growth, but room
  for answers that arrive while the relay is kept from reading: beside other processes
  it is taken at once, 25.3 MB after half a million events and 26.0 after six (two runs).
- **`enqueue_many` on SQLite.** There is no round trip to save: a row takes 4 us in
  SQLite itself. Tried: `executemany` (6.2 us), `json_each` (5.3 us), statements of
  other sizes (4.0 us, as now).

## Latency, and what it is made of

Half a pause of 2 ms before an event is read, a read, and what the broker and the
consumer need alone (`direct`). A pause ends at its time: libuv's timers, which count
whole milliseconds, made up to 3 ms of one that an answer of the broker had interrupted
(four rounds in turn, p50: 1.62 ms with them and 1.47 without; tuned 1.38 and 1.15, and a
p99 of 3.9 and 2.5).

The flush that is waited for (of what is seen, nothing tells which part of the WAL it is
in, so all that was written by then must be flushed before it is sent) is not what takes
the time: on the slower machine a relay built without that barrier had a p50 of 2.57 ms
where the usual one had 2.49 (five rounds in turn). There 500/s took 2.7 ms (p99 8.0) and
13 % of a core, where the broker alone needed 0.86 (3.8), before pauses became exact.
What costs the processor is waking up: polls one behind the other cost the relay 39 us and
PostgreSQL 118 us each there, and 142 us and 404 us when each follows a pause of 2 ms.
Tried against that: a write of the cursor in one piece, not two (11.3 to 10.2 % of a
core); the pause made by the server (`pg_sleep` before the read, so that the relay wakes
once a poll: 15 % less for the relay, 10 % more for PostgreSQL, 0.2 to 0.4 ms more between
two polls); and hearing the answers of the broker with the next read only (a third fewer
wake-ups, no difference in its processor time that could be told from chance).

At 5,000/s both processors are busy, and the p99 of a relay says how long one of them was
not to be had: in a run in which 1,800 events arrived up to 0.39 s late, two of the eight
writers stood still for the very same 383 ms, and the other six did not. `direct` spreads
such a pause over eight writers, a relay has one place to stand.

## Where nginx loses, if it does

Here a request by `outbox:transaction` costs nginx as much as one with the INSERT by hand;
on the slower machine it took some 17 us more with the small client of these tests (0.89
of the requests), and as much with pgmoon 1.17 itself (`OUTTRAY_PGMOON=path`: 0.96, 1.08
and 1.11 times the requests in three rounds). The instructions are the same (78,791
against 78,952 by hand): outtray comes by more code and data, which a small cache has lost
since the last request. As callgrind plays it, 3,127 misses of the first cache of
instructions against 2,103, 931 of data against 517, and 1,641 branches guessed wrong
against 1,076.
"""

SECTIONS = (
    ("drain", "Drain", DRAIN),
    ("latency", "Latency", ""),
    ("cost", "What one event costs", COUNTS + "\n" + OTHER_MALLOC),
    ("enqueue-tax", "What an event costs its transaction", ""),
    ("flat", "What must not matter", ""),
    ("kill", "kill -9", ""),
    ("idle", "Without work", ""),
    ("sqlite", "SQLite", ""),
    ("python", "Python", ""),
    ("lua", "Lua and nginx", ""),
    ("gateway", "A gateway without a database", GATEWAY),
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
    return f"{postgresql}Kafka {m['kafka']}, {m['processors']} x {m['processor']}"


def circumstances(result, usual):
    """The day, how busy the machine was, and what it is if it is not the usual
    one."""
    m = result["machine"]
    found = f"{m['time'][:10]}, load {m['load_before']:.1f} when it began"
    if "took_s" in result:
        found += f", {result['took_s'] / 60:.0f} min"
    return found + ("." if machine(result) == usual else f", {machine(result)}.")


def goals_text(results):
    return "\n".join(["## Goals", "", *goals.table(results)]) + "\n"


def plot(name, result):
    """Write its plot, if it has one; the Markdown that shows it."""
    import matplotlib
    import plots

    if name not in plots.OF:
        return []
    # The same numbers make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "outtray"
    PLOTS.mkdir(exist_ok=True)
    text = io.StringIO()
    plots.OF[name](result).savefig(text, format="svg", metadata={"Date": None})
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    (PLOTS / f"{name}.svg").write_text("\n".join(lines) + "\n")
    return [f"![{name}](performance/{name}.svg)\n"]


def write():
    results = {name: load(name) for name, _, _ in SECTIONS}
    results = {name: result for name, result in results.items() if result}
    machines = collections.Counter(map(machine, results.values()))
    usual = machines.most_common(1)[0][0]
    parts = [INTRO, f"Measured with {usual}, where nothing else is said.\n"]
    parts += [goals_text(results), MISSED, HEADERS]
    for name, title, text in SECTIONS:
        if name not in results:
            continue
        parts.append(f"## {title}\n")
        parts += [f"{part}\n" for part in (method(name), text.strip()) if part]
        parts.append(circumstances(results[name], usual) + "\n")
        parts += plot(name, results[name])
        parts.append(f"```text\n{shown(name, results[name])}\n```\n")
    PAGE.write_text("\n".join(parts))
    print(f"wrote {PAGE.relative_to(ROOT)}")
