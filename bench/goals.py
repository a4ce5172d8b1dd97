"""What the project wants to reach, beside what the results say."""

import latency


class Goals:
    """Rows of (area, goal, wanted, measured, reached)."""

    def __init__(self, area, rows):
        self.area, self.rows = area, rows

    def least(self, name, wanted, value, form="{:.3g}", note=""):
        self._add(name, f"at least {wanted:,}", value, value >= wanted, form, note)

    def most(self, name, wanted, value, form="{:.3g}", note=""):
        self._add(name, f"at most {wanted:,}", value, value <= wanted, form, note)

    def below(self, name, wanted, value, form="{:.3g}", note=""):
        self._add(name, f"less than {wanted:,}", value, value < wanted, form, note)

    def none(self, name, value):
        self._add(name, "none", value, value == 0, "{:,}", "")

    def _add(self, name, wanted, value, good, form, note):
        note = f" ({note})" if note else ""
        reached = "yes" if good else "**no**"
        self.rows.append((self.area, name, wanted, form.format(value) + note, reached))


def of_drain(result, goals):
    shape = result["shapes"]["200 B"]
    for kind, name, wanted in (
        ("headers", "of the bare producer with the same headers", 0.65),
        ("plain", "of the bare producer without headers", 0.65),
        ("pgq", "times PgQ with a loop in Python", 2),
        ("status", "times the status column, 1,000 a batch", 8),
        ("python", "times the status column in Python", 20),
    ):
        if kind in shape:
            goals.least(name, wanted, shape[kind]["relay_is"])
    goals.most("relay, us of CPU per event", 3, shape["relay"]["cpu_us"])
    goals.most("PostgreSQL, us of CPU per event", 1, shape["relay"]["postgresql_us"])


def of_latency(result, goals):
    plans = result["plans"]
    for title, p50, p99 in (("500/s", 2, 8), ("500/s tuned", 1.2, 4)):
        for name, wanted in (("p50", p50), ("p99", p99)):
            note = ""
            if direct := plans.get("500/s direct"):
                note = f"{direct[f'commit_{name}']:.3g} without a relay"
            late = plans[title][f"commit_{name}"]
            goals.most(f"{title}, {name} in ms", wanted, late, note=note)
    if elsewhere := plans.get(latency.ELSEWHERE):
        name = "p50 with an idle writer in another database, times that without"
        goals.most(name, 1.1, elsewhere["commit_p50"] / plans["500/s"]["commit_p50"])
    used = plans["500/s"]["relay_cpu"] * 100
    goals.most("relay at 500/s, % of a core", 10, used, "{:.1f}")
    late = plans["after idle"]["commit_max"]
    goals.below("first event after idle, ms", 60, late, "{:.1f}")


def of_cost(result, goals):
    per_event = "instructions per event"
    kafka, null = result["instructions_kafka"], result["instructions_null"]
    goals.most(per_event, 5500, kafka["total"], "{:,}")
    goals.most(f"{per_event}, without the broker's client", 5500, null["total"], "{:,}")
    goals.most(f"{per_event}, in own code", 700, kafka["own"], "{:,}")
    wal = result["server"]["wal_bytes_per_event"]
    goals.most("WAL of the relay, B per event", 1, wal, "{:.3f}")
    rss = result["per_million"]["rss_mb"]
    goals.most("memory under load, MB (64 and two windows)", 192, rss, "{:.0f}")


def of_enqueue_tax(result, goals):
    for clients, wanted in (("1", 0.95), ("16", 0.75)):
        if part := result["clients"].get(clients):
            name = f"pipelined, {clients} clients, of the transactions/s without it"
            goals.least(name, wanted, part["pipelined"]["ratio"])
    most = max(
        cells.get("event_wal_bytes", 0)
        for part in result["clients"].values()
        for cells in part.values()
    )
    goals.most("WAL of an event of 200 B", 450, most, "{:,}")


def of_flat(result, goals):
    conditions = result["conditions"]
    slowest = min(conditions, key=lambda name: conditions[name]["ratio"])
    ratio = conditions[slowest]["ratio"]
    goals.least("the slowest drain, of the plain one", 0.77, ratio, note=slowest)
    ratio = conditions["an old snapshot"]["ratio"]
    goals.least("drain under an old snapshot, of the plain one", 0.95, ratio)
    plain = conditions["plain"]["blocks_per_poll"]
    most = max(part["blocks_per_poll"] for part in conditions.values())
    goals.most("blocks of the dearest poll, times the plain one", 1.3, most / plain)
    if memory := result.get("memory"):
        name = f"memory, MB more at the end of {memory['events']:,} events"
        goals.most(name, 1, memory["end_mb"] - memory["tenth_mb"])


def of_kill(result, goals):
    later, at_once = result["worst"]["later"], result["worst"]["at once"]
    goals.below("first event after the restart, s", 1, later["after_lease_s"])
    name = "the same at once, from the end of the dead one's lease on, s"
    goals.below(name, 1, at_once["after_lease_s"])
    twice = max(later["twice"], at_once["twice"])
    goals.most("events sent twice (a window)", result["window"], twice, "{:,}")
    for name in ("missing", "overtaken"):
        goals.none(f"events {name}", max(later[name], at_once[name]))


def of_idle(result, goals):
    goals.most("relay, % of a core", 1, result["relay_cpu"] * 100)
    goals.most("relay, MB", 64, result["rss_mb"], "{:.0f}")


def of_sqlite(result, goals):
    rate = result["null"]["events_per_s"]
    goals.least("events/s to the null sink", 200_000, rate, "{:,}")


def of_python(result, goals):
    us = result["builder"]["us_per_call"]["median"]
    goals.most("one event is built, us", 3, us)
    name = "enqueue, of the INSERT by hand"
    least_of_drivers(goals, name, 0.9, result["enqueue"])
    many = result["many"]
    sqlite = {name: many[name] for name in many if "sqlite" in name}
    others = {name: many[name] for name in many if name not in sqlite}
    name = "enqueue_many of 1,000, times single calls"
    least_of_drivers(goals, f"{name}, PostgreSQL", 20, others, "{:.0f}")
    least_of_drivers(goals, f"{name}, SQLite", 20, sqlite, "{:.1f}")
    ratio = result["relay"]["ratio"]["median"]
    goals.least("relay, of the command", 0.97, ratio)
    rate = result["script"]["batches"]["events_per_s"]["median"]
    goals.least("events/s to a program", 200_000, rate, "{:,.0f}")


def least_of_drivers(goals, name, wanted, drivers, form="{:.3g}"):
    if drivers:
        worst = min(drivers, key=lambda driver: drivers[driver]["ratio"]["median"])
        ratio = drivers[worst]["ratio"]["median"]
        goals.least(f"{name}, the least", wanted, ratio, form, worst)


def of_lua(result, goals):
    for name in ("lua5.4", "luajit"):
        us = result["builder"][f"{name} c literal"]["us"]
        goals.most(f"{name}: one event is built, us", 2, us)
        rate = result["script"][f"{name} each read, batch:ok()"]["events_per_s"]
        goals.least(f"{name}: events/s to a program", 200_000, rate, "{:,.0f}")
        ratio = result["relay"][name]["of_command"]
        goals.least(f"{name}: relay, of the command", 0.97, ratio)
    hand = result["nginx"]["sides"]["by-hand"]
    ratio = hand["requests_per_s_ratio"]
    goals.least("nginx: requests/s, of the INSERT by hand", 0.9, ratio)
    ratio = hand["unrelated_p99_ms_ratio"]
    goals.most("nginx: p99 of unrelated requests, times that by hand", 1.1, ratio)


OF = {
    "drain": of_drain,
    "latency": of_latency,
    "cost": of_cost,
    "enqueue-tax": of_enqueue_tax,
    "flat": of_flat,
    "kill": of_kill,
    "idle": of_idle,
    "sqlite": of_sqlite,
    "python": of_python,
    "lua": of_lua,
}


def table(results):
    """Lines of Markdown; an area is named once."""
    rows = []
    for name, add in OF.items():
        if name in results:
            add(results[name], Goals(name, rows))
    lines = ["| | goal | wanted | measured | reached |", "|---|---|---|---:|---|"]
    before = None
    for area, *row in rows:
        lines.append(f"| {'' if area == before else area} | {' | '.join(row)} |")
        before = area
    return lines
