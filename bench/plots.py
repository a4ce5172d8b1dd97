"""The plots of docs/performance.md: one function for each benchmark that has
one, which makes a figure of its result."""

import textwrap

import drain
from matplotlib.figure import Figure

OURS, OTHER = "#d2691e", "#8899aa"
SHADES = ("#f2b279", "#d2691e", "#7a3b0c")


def figure(height):
    """(figure, axes) of the one width that all have."""
    made = Figure(figsize=(7.5, height), layout="constrained")
    axes = made.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return made, axes


def from_the_top(axes):
    """Horizontal bars begin there."""
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def of_drain(result):
    shape = result["shapes"]["200 B"]
    kinds = [kind for kind in drain.TITLES if kind in shape]
    kinds.sort(key=lambda kind: -shape[kind]["events_per_s"])
    made, axes = figure(0.9 + 0.3 * len(kinds))
    rates = [shape[kind]["events_per_s"] for kind in kinds]
    colours = [OURS if kind == "relay" else OTHER for kind in kinds]
    bars = axes.barh([drain.TITLES[kind] for kind in kinds], rates, 0.7, color=colours)
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=5)  # long numbers need room
    from_the_top(axes)
    axes.set_xlabel("events/s, 200 B, more is better")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return made


def of_latency(result):
    titles = list(result["plans"])
    made, axes = figure(3.2)
    for i, name in enumerate(("p50", "p99", "p99_9")):
        values = [result["plans"][title][f"commit_{name}"] for title in titles]
        places = [place + (i - 1) * 0.28 for place in range(len(titles))]
        label = name.replace("_", ".")
        bars = axes.bar(places, values, 0.27, label=label, color=SHADES[i])
        axes.bar_label(bars, [f"{v:.3g}" for v in values], padding=1, fontsize=7)
    names = [textwrap.fill(title.replace(", ", " "), 9) for title in titles]
    axes.set_xticks(range(len(titles)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_yscale("log")
    least = min(plan["commit_p50"] for plan in result["plans"].values())
    axes.set_ylim(bottom=least / 2)  # its bar can be seen as well
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", color="#dddddd")
    axes.set_ylabel("ms from commit to consumer")
    made.legend(loc="outside upper center", ncols=3, frameon=False)
    return made


def of_cost(result):
    made, axes = figure(1.9)
    parts = ("own", "libpq", "librdkafka", "liblz4", "libc", "other")
    shades = (OURS, "#33658a", "#86bbd8", "#c9d6df", OTHER, "#cccccc")
    names = {"to Kafka": "instructions_kafka", "to the null sink": "instructions_null"}
    start = [0] * len(names)
    for part, colour in zip(parts, shades, strict=True):
        values = [result[name].get(part, 0) for name in names.values()]
        if any(values):
            bars = axes.barh(
                list(names), values, 0.6, left=start, color=colour, label=part
            )
            texts = [f"{v:,}" if v > 400 else "" for v in values]
            ink = "white" if part == "libpq" else "black"
            axes.bar_label(bars, texts, label_type="center", fontsize=7, color=ink)
        start = [a + b for a, b in zip(start, values, strict=True)]
    from_the_top(axes)
    axes.set_xlabel("instructions per event, fewer is better")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    made.legend(loc="outside upper center", ncols=6, frameon=False)
    return made


def of_flat(result):
    conditions = {k: v for k, v in result["conditions"].items() if k != "plain"}
    made, axes = figure(0.9 + 0.3 * len(conditions))
    ratios = [part["ratio"] for part in conditions.values()]
    bars = axes.barh(list(conditions), ratios, 0.7, color=OURS)
    texts = [f"{ratio:.2f}" for ratio in ratios]
    axes.bar_label(bars, texts, label_type="center", color="white")
    from_the_top(axes)
    axes.axvline(1, color="#444444", linewidth=1)
    axes.set_xlabel("drain with this, of the plain one (line: equally fast)")
    return made


OF = {"drain": of_drain, "latency": of_latency, "cost": of_cost, "flat": of_flat}
