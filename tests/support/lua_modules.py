"""The modules of Lua as the build has them, and interpreters that find them."""

import os
import pathlib
import shlex
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
INTERPRETERS = {"lua5.4": "5.4", "luajit": "5.1"}
# Lua 5.1 itself loads what LuaJIT does: it runs the specs alone.
VERSIONS = {**INTERPRETERS, "lua5.1": "5.1"}


def build():
    return pathlib.Path(os.environ.get("OUTTRAY_TEST_BUILD", ROOT / "build/asan"))


def module(name, version):
    return build() / "lua" / version / "outtray" / f"{name}.so"


def paths(interpreter, folder):
    """Variables for an interpreter: where the modules of a build are."""
    folders = [ROOT / "lua", ROOT / "tests/lua", ROOT / "tests/support"]
    found = [f"{one}/?.lua;{one}/?/init.lua" for one in folders]
    version = VERSIONS[interpreter]
    return {
        "LUA_PATH": ";".join(found) + ";;",
        "LUA_CPATH": f"{folder}/lua/{version}/?.so;;",
    }


def environment(interpreter):
    """The same for the build of the tests, with its sanitizer, which must be
    there first."""
    command = ["gcc", "-print-file-name=libasan.so"]
    asan = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**paths(interpreter, build()), "LD_PRELOAD": asan.stdout.strip()}


def write_program(folder, name, variables):
    """A program in a folder that has these variables."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"{key}={value}" for key, value in variables.items()]
    words.append(shutil.which(name) or f"/usr/sbin/{name}")
    path = folder / name
    path.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
    path.chmod(0o755)


def write_programs(folder):
    """The interpreters, which find the modules by themselves, and nginx."""
    for interpreter in INTERPRETERS:
        write_program(folder, interpreter, environment(interpreter))
    asan = environment("luajit")["LD_PRELOAD"]
    # A worker ends with what it has.
    variables = {"LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"}
    write_program(folder, "nginx", variables)
