"""Counts of a program that do not depend on what else the machine does."""

import collections
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAME = re.compile(r"(c?ob)=(\(\d+\))(?: (.*))?$")
COST = re.compile(r"[\d+*-]\S* (\d+)$")
GROUPS = ("libcrypto", "liblz4", "librdkafka", "libpq", "libsqlite3", "libc")


def group_of(path):
    """Whose instructions: own code, or a library's."""
    name = path.rpartition("/")[2]
    for group in GROUPS:
        if name.startswith((f"{group}.", f"{group}-")):
            return group
    own = name.startswith(("outtray", "liboutt")) or name in ("build.so", "core.so")
    return "own" if own else "other"


def costs(lines):
    """{object: instructions} of a file of callgrind's: what a function has
    inlined counts for the object that the function is in."""
    names, found, path, inclusive = {}, collections.Counter(), None, False
    for line in lines:
        if match := NAME.match(line):
            what, number, name = match.groups()
            names.setdefault(number, name)
            if what == "ob":
                path = names[number]
        elif line.startswith("calls="):
            inclusive = True  # the next line is what the callee took
        elif match := COST.match(line):
            if not inclusive:
                found[path] += int(match[1])
            inclusive = False
    return found


def instructions(command, env=None):
    """{group: instructions} of a run; env has more variables."""
    with tempfile.NamedTemporaryFile("r") as out:
        tool = ["valgrind", "--tool=callgrind", "-q"]
        tool += [f"--callgrind-out-file={out.name}"]
        done = subprocess.run(
            [*tool, *map(str, command)],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")
        found = collections.Counter()
        for path, cost in costs(out).items():
            found[group_of(path)] += cost
    return found


def least(run, events, tries):
    """The run with the fewest instructions of so many: waiting for a server
    costs some as well, and only adds."""
    return min(
        (run(events) for _ in range(tries)), key=lambda found: sum(found.values())
    )


def slope(run, few, many, tries=1):
    """{group: instructions per event}; run(events) is one run's."""
    a, b = least(run, few, tries), least(run, many, tries)
    per = {name: (b.get(name, 0) - a.get(name, 0)) / (many - few) for name in b}
    found = {name: round(value) for name, value in per.items() if value >= 1}
    return {"total": round(sum(per.values())), **found}


def build_counter():
    library = ROOT / "build/release/allocations.so"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
    command += ["-shared", "-fPIC", ROOT / "bench/allocations.c", "-o", library]
    subprocess.run([*command, "-ldl"], check=True)
    return library


def allocations(command, library, env=None):
    """What a run allocates; library is that of build_counter."""
    with tempfile.NamedTemporaryFile("r") as out:
        env = {
            **os.environ,
            **(env or {}),
            "LD_PRELOAD": str(library),
            "ALLOCATIONS_TO": out.name,
        }
        subprocess.run(
            list(map(str, command)),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return int(out.read())
