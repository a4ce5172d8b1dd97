"""Mistakes that the simulator must catch: see mutants.txt.

    mutants.py [NAME...]     tries all of them, or these

Prints which invariant caught each and after how many schedules; status 1 if
one was not caught.
"""

import pathlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import simulator

LIST = pathlib.Path(__file__).parent / "mutants.txt"
SCHEDULES = 10_000
SECONDS = 120  # for one that hangs
JOBS = 2


class Mutant:
    def __init__(self, name, what):
        self.name = name
        self.what = what
        self.test = None  # that catches it, if the simulator does not
        self.edits = []  # (file, lines before, lines after)


def read_list(text):
    mutants, name = [], None
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        mark, rest = line[0], line[2:]
        if mark == "@":
            mutants.append(Mutant(*rest.split(": ", 1)))
        elif line.startswith("by "):
            mutants[-1].test = line[3:].strip()
        elif mark in "-+":
            edits = mutants[-1].edits
            if mark == "-" and (not edits or edits[-1][0] != name or edits[-1][2]):
                edits.append((name, [], []))
            edits[-1]["-+".index(mark) + 1].append(rest)
        else:
            name = line.strip()
    return mutants


def path_of(name):
    return (simulator.SOURCE if "/" in name else simulator.SIM) / name


def apply(text, before, after, where):
    """Replaces the lines; indentation does not count."""
    lines = text.splitlines()
    bare = [line.strip() for line in lines]
    wanted = [line.strip() for line in before]
    n = len(wanted)
    # the first line may be the beginning of a longer one, the last its end
    found = [
        i
        for i in range(len(bare) - n + 1)
        if bare[i : i + n - 1] == wanted[:-1] and bare[i + n - 1].startswith(wanted[-1])
    ]
    if len(found) != 1:
        raise ValueError(f"{where}: found {len(found)} times: {before[0]}")
    i = found[0]
    rest = bare[i + n - 1][len(wanted[-1]) :]
    new = [*after[:-1], after[-1] + rest]
    return "\n".join([*lines[:i], *new, *lines[i + n :]]) + "\n"


def make(mutant, folder, objects):
    """Builds the simulator with the mistake in it; returns the program."""
    folder = folder / mutant.name
    texts = {}
    for name, before, after in mutant.edits:
        text = texts.get(name) or path_of(name).read_text()
        texts[name] = apply(text, before, after, f"{mutant.name}, {name}")
    (folder / "engine").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    changed = {path_of(name): folder / name for name in texts if name.endswith(".c")}
    if any(name.endswith(".h") for name in texts):
        for source in objects:  # all that might include it
            if source.parent == simulator.SIM and source not in changed:
                changed[source] = folder / source.name
                changed[source].write_text(source.read_text())
    mine = dict(objects)
    for source, copy in changed.items():
        mine[source] = copy.with_suffix(".o")
        simulator.compile_one(copy, mine[source], [f"-I{folder}", *simulator.INCLUDES])
    program = folder / "sim"
    simulator.link(mine.values(), program)
    return program, mine


def make_test(name, folder, objects):
    """Builds a test of tests/engine with the engine of these objects."""
    mine = [o for source, o in objects.items() if source.parent != simulator.SIM]
    tests = simulator.ROOT / "tests"
    shared = [p for p in (tests / "engine").glob("*.c") if p.name[:5] != "test_"]
    for source in [tests / f"{name}.c", *shared]:
        mine.append(folder / f"test-{source.stem}.o")
        includes = [f"-I{folder}", f"-I{tests}", *simulator.INCLUDES]
        simulator.compile_one(source, mine[-1], includes)
    simulator.link([*mine, "-lcmocka"], folder / "test")
    return folder / "test"


def judge(program):
    """(caught by what, after how many schedules), or (None, how many)."""
    seeds = simulator.ROOT / "tests/seeds"
    command = [program, "--quiet", "--partly", "--tapes", seeds]
    command += ["--schedules", str(SCHEDULES)]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "it hangs", "?"
    if done.returncode < 0:
        return f"signal {-done.returncode}", "?"
    law = re.search(r"^BROKEN ([^:]+): (.*)", done.stdout, re.M)
    number = re.search(r"number (\d+)", done.stdout)
    if done.returncode == 0 or law is None:
        return None, SCHEDULES
    return law[1], int(number[1]) if number else "a tape"


def tried(mutant, folder, objects):
    try:
        program, mine = make(mutant, folder, objects)
        law, schedules = judge(program)
        if law is None and mutant.test:
            test = make_test(mutant.test, folder / mutant.name, mine)
            done = subprocess.run(
                test,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=5 * SECONDS,  # none of them is known to hang
            )
            law = mutant.test if done.returncode else None
        return law, schedules
    except (subprocess.SubprocessError, ValueError) as error:
        print(error, file=sys.stderr)
        return None, 0  # the list must follow the source


def run(names=()):
    """Yields (mutant, law or None, schedules)."""
    folder = simulator.ROOT / "build/sim/mutants"
    objects = simulator.build(simulator.ROOT / "build/sim")[1]
    chosen = [m for m in read_list(LIST.read_text()) if not names or m.name in names]
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda m: tried(m, folder, objects), chosen)
        for mutant, (law, schedules) in zip(chosen, results):
            yield mutant, law, schedules


def main():
    began, survivors, count = time.monotonic(), [], 0
    for mutant, law, schedules in run(sys.argv[1:]):
        count += 1
        print(
            f"{mutant.name:28} {law or 'SURVIVED':20} {schedules:>6}  {mutant.what}",
            flush=True,
        )
        if law is None:
            survivors.append(mutant.name)
    print(
        f"{count - len(survivors)} of {count} caught, {time.monotonic() - began:.0f} s"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
