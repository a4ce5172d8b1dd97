#!/usr/bin/env python3
"""./dev bench [NAME...] [--quick] [--json]: runs benchmarks, each a module
beside this file with measure(options) and show(result). `all` is all of them;
without NAME it lists them. Results also go to bench/results/NAME.json, from
which `report` writes docs/performance.md."""

import argparse
import importlib
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "bench")]

BENCHMARKS = ["drain", "latency", "enqueue-tax", "cost", "flat", "idle", "sqlite"]
BENCHMARKS += ["python", "lua", "gateway"]


def module(name):
    return importlib.import_module(name.replace("-", "_"))


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
    parser.add_argument("name", nargs="*", choices=[*BENCHMARKS, "all", "report", []])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--quick", action="store_true", help="is it well? a minute")
    parser.add_argument("--events", type=int, help="instead of the usual number")
    parser.add_argument("--repeat", type=int, help="rounds that count")
    options = parser.parse_args()
    if not options.name:
        for name in BENCHMARKS:
            print(f"{name:12} {module(name).__doc__.splitlines()[0]}")
        return 0
    names = [name for name in options.name if name != "report"]
    names = BENCHMARKS if "all" in names else names
    clean_environment()
    for name in names:
        result = {"benchmark": name, "quick": options.quick}
        result |= module(name).measure(options)
        if not options.quick:
            folder = ROOT / "bench/results"
            folder.mkdir(exist_ok=True)
            text = json.dumps(result, indent=1)
            (folder / f"{name}.json").write_text(text + "\n")
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(f"== {name}: {module(name).__doc__.splitlines()[0]}")
            module(name).show(result)
    if "report" in options.name:
        module("report").write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
