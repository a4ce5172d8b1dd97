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
what it is compared with ran fastest. All of it in one go took 39 minutes on the slower of
two machines (2 x Xeon, 2.8 GHz), from an empty folder on. `--quick` shows in a minute that
a benchmark works, and leaves no result.
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
- **Times a status column, and PgQ.** These goals assumed a producer without headers.
  With them librdkafka itself comes to 7 to 8 times the status column in C, and to 14
  times the one in Python, so they cannot be reached; the relay gets within a fifth
  of that. PgQ was measured on the slower of two machines (2 x Xeon, 2.8 GHz) only,
  three times on two days: the relay made 1.83, 1.83 and 2.08 times its events/s (the goal
  is 2), and 0.88, 0.65 and 0.83 times those of the bare producer with the same headers.
  There the relay needs 5.3 to 6.2 us of processor time for an event, where the bare
  producer needs 6.3 to 7.1.
- **Latency at 500/s, and its processor time.** What a broker alone takes on this
  machine stands beside it, and moves with the day. Left are half a pause of 2 ms before
  an event is read, and the waking up of PostgreSQL, relay and broker one after the
  other, on two processors. The flush that is waited for (of what is seen, nothing tells
  which part of the WAL it is in, so all that was written by then must be flushed before
  it is sent) is not it: a relay built without that barrier had a p50 of 2.57 ms where the
  usual one had 2.49 (five rounds in turn), and with `tuned` 2.48 where it had 2.71
  (three). In the same five rounds a write of the cursor in one piece, not two, took the
  relay from 11.3 to 10.2 % of a core. Tried before:
  pauses that reads waiting for that flush do not lengthen (p99 before: 45 to 49 ms), half
  as many of those reads, a statement that is printed once. Beside each other on one
  machine the relay took 8.4 to 8.8 % of a core with the last two and 10.9 to 12.9 %
  without; the slower machine of this table makes 13 % of it. What is left is waking
  up: polls one behind the other cost the relay 39 us and PostgreSQL 118 us each, and
  142 us and 404 us when each follows a pause of 2 ms. Tried against that: the pause
  made by the server (`pg_sleep` before the read, so that the relay wakes once a poll:
  15 % less for the relay, 10 % more for PostgreSQL, 0.2 to 0.4 ms more between two
  polls), and hearing the answers of the broker with the next read only (a third fewer
  wake-ups, no difference in its processor time that could be told from chance).
- **Pipelined, one client.** 0.94 on the faster machine and 0.86 on the slower one: no
  round trip is left, and what remains is the INSERT itself. Tried: the event in the
  statement of the business (0.87 and 0.97), the SQL function (0.70 and 0.78).
- **Memory over 10.3 M events.** In one run a step of 4 MB at the eighth million, and
  none before or after it; read once a million, a second run stayed between 16.8 and
  17.9 MB from the first to the last. So it is no growth, but what a larger answer took.
- **`enqueue_many` on SQLite.** There is no round trip to save: a row takes 4 us in
  SQLite itself. Tried: `executemany` (6.2 us), `json_each` (5.3 us), statements of
  other sizes (4.0 us, as now).
- **The relay from Lua 5.4.** Rounds differ by 28 to 35 %; on the slower machine it made
  1.02 and 1.04 of the command. Counted, an event takes 2,637 instructions against 2,590.
- **nginx.** Where these numbers were taken, the statement of outtray took 94,000
  more instructions of the server than the one by hand (305,797 against 211,626,
  PostgreSQL 15), for casts and digits; since then it takes no more (207,426). A
  request through `outbox:transaction` takes no more instructions of nginx either
  (78,791 against 78,952 by hand), and some 17 us more of its time all the same: it
  comes by more code and data, which the caches have lost since the last request. As
  callgrind plays it, 3,127 misses of the first cache of instructions against 2,103,
  931 of data against 517, and 1,641 branches guessed wrong against 1,076. A quarter
  of the difference is the interpreter of LuaJIT, a sixth each the builder, memory and
  what is compiled. The client of these tests is smaller than pgmoon. With pgmoon 1.17
  itself (`OUTTRAY_PGMOON=path`), which has more to do for each statement, outtray made
  0.96, 1.08 and 1.11 times the requests of the INSERT by hand in three rounds on the
  slower machine, and nginx took as long for one (146 us against 144). The p99
  beside it varies by more (60 % from round to round) than the two differ.
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
