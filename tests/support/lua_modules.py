"""The modules of Lua as the build has them, and interpreters that find them."""

import os
import pathlib
import shlex
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
INTERPRETERS = {"lua5.4": "5.4", "luajit": "5.1"}


def build():
    return pathlib.Path(os.environ.get("OUTTRAY_TEST_BUILD", ROOT / "build/asan"))


def module(name, version):
    return build() / "lua" / version / "outtray" / f"{name}.so"


def environment(interpreter):
    """Variables for an interpreter: where the modules are, and their sanitizer,
    which must be there first."""
    folders = [ROOT / "lua", ROOT / "tests/lua", ROOT / "tests/support"]
    paths = [f"{folder}/?.lua;{folder}/?/init.lua" for folder in folders]
    version = INTERPRETERS[interpreter]
    command = ["gcc", "-print-file-name=libasan.so"]
    asan = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "LUA_PATH": ";".join(paths) + ";;",
        "LUA_CPATH": f"{build()}/lua/{version}/?.so;;",
        "LD_PRELOAD": asan.stdout.strip(),
    }


def write_interpreters(folder):
    """Programs in a folder that find the modules by themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    for interpreter in INTERPRETERS:
        words = [f"{k}={v}" for k, v in environment(interpreter).items()]
        words.append(shutil.which(interpreter) or f"/usr/bin/{interpreter}")
        path = folder / interpreter
        path.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
        path.chmod(0o755)
