#!/usr/bin/env python3
"""./dev bench [NAME...] [--json]: runs benchmarks, each a module beside this
file with a function measure(options). Without NAME it lists them."""

import argparse
import importlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "bench")]

BENCHMARKS = ["drain", "python"]


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("name", nargs="*", choices=[*BENCHMARKS, []])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if not options.name:
        for name in BENCHMARKS:
            title = importlib.import_module(name).__doc__.splitlines()[0]
            print(f"{name:10} {title}")
        return 0
    for name in options.name:
        module = importlib.import_module(name)
        result = module.measure(options)
        if options.json:
            print(json.dumps({"benchmark": name, **result}), flush=True)
        else:
            module.show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
