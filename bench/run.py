#!/usr/bin/env python3
"""./dev bench [NAME...] [--quick] [--json]: runs benchmarks, each a module
beside this file with measure(options) and show(result); without NAME all of
them. Results also go to bench/results/NAME.json, from which `report` writes
docs/performance.md. `list` says what there is and how long it took."""

import argparse
import ast
import importlib
import json
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "bench")]

BENCHMARKS = ["drain", "latency", "enqueue-tax", "cost", "flat", "kill", "idle"]
BENCHMARKS += ["sqlite", "python", "lua", "gateway"]
RESULTS = ROOT / "bench/results"


def module(name):
    return importlib.import_module(name.replace("-", "_"))


def title(name):
    """The first line of a benchmark's description; nothing is imported."""
    text = (ROOT / f"bench/{name.replace('-', '_')}.py").read_text()
    return ast.get_docstring(ast.parse(text)).splitlines()[0]


def show_list():
    for name in BENCHMARKS:
        path, took = RESULTS / f"{name}.json", ""
        if path.exists():
            seconds = json.loads(path.read_text()).get("took_s")
            took = f"{seconds / 60:.1f} min" if seconds else ""
        print(f"{name:12} {took:>8}  {title(name)}")


def measure(name, options):
    """Run it; a result that is worth it is kept."""
    started = time.monotonic()
    result = {"benchmark": name, "quick": options.quick}
    result |= module(name).measure(options)
    result["took_s"] = round(time.monotonic() - started)
    print(f"  {name}: {result['took_s']} s", file=sys.stderr, flush=True)
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(result, indent=1)
        (RESULTS / f"{name}.json").write_text(text + "\n")
    return result


def clean_environment():
    """The user's settings must not change what is measured."""
    pgmoon = os.environ.get("OUTTRAY_PGMOON")
    for name in list(os.environ):
        if name.startswith(("OUTTRAY_", "PG")):
            del os.environ[name]
    if pgmoon:
        os.environ["OUTTRAY_TEST_PGMOON"] = pgmoon


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    choices = [*BENCHMARKS, "all", "list", "report", []]
    parser.add_argument("name", nargs="*", choices=choices)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--quick", action="store_true", help="is it well? a minute")
    parser.add_argument("--events", type=int, help="instead of the usual number")
    parser.add_argument("--repeat", type=int, help="rounds that count")
    options = parser.parse_args()
    if "list" in options.name:
        show_list()
        return 0
    names = [name for name in options.name if name != "report"]
    names = BENCHMARKS if "all" in names or not options.name else names
    clean_environment()
    for name in names:
        result = measure(name, options)
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(f"== {name}: {title(name)}")
            module(name).show(result)
    if "report" in options.name:
        module("report").write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
