"""Builds the simulator without sanitizers, quick and with assertions; and
copies of it whose engine has a mistake.

    simulator.py [FOLDER]        the simulator alone
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = ROOT / "tests/sim"
SOURCE = ROOT / "libcore/src"
INCLUDES = [f"-I{ROOT}/libcore/include", f"-I{SOURCE}", f"-I{SIM}"]
FLAGS = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE"]
QUICK = ["-O2", "-g"]


def compiler():
    cc = os.environ.get("CC", "cc")
    return ["ccache", cc] if shutil.which("ccache") else [cc]


def sources():
    """The simulator, the engine as it is, and what both stand on."""
    parts = [SIM.glob("*.c"), (SOURCE / "engine").glob("*.c")]
    parts += [(SOURCE / "base").glob("*.c"), [SOURCE / "store/names.c"]]
    return sorted(path for part in parts for path in part)


def compile_one(source, target, includes=INCLUDES, flags=QUICK):
    command = [*compiler(), *FLAGS, *flags, *includes, "-c", source, "-o", target]
    subprocess.run(command, check=True)


def link(objects, target):
    subprocess.run([*compiler(), *QUICK, *objects, "-o", target], check=True)


def build(folder):
    """Returns the program and {source: object}."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    objects = {}
    for source in sources():
        target = folder / (f"{source.parent.name}-{source.stem}.o")
        compile_one(source, target)
        objects[source] = target
    program = folder / "sim"
    link(objects.values(), program)
    return program, objects


if __name__ == "__main__":
    print(build(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/sim")[0])
