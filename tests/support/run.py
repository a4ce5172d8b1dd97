#!/usr/bin/env python3
"""Runs test suites, or any command, with the servers they need.

    run.py test [-k WORD] [--long] [--pg VERSION] [SUITE...]
                                         from ./dev test
    run.py servers [COMMAND...]          from ./dev servers

Servers, and whatever tests leave behind, are gone when this ends, by
whichever way it ends.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import process
import python_package
from kafka_server import Kafka, version
from pg_server import Postgres
from process import Process

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/asan"
PREFIX = "outtray-test-"
# Variables of the user that tests may see: which versions of PostgreSQL, and
# how many orders of steps, tests/isolation runs; whether tests/crash takes its
# time; which failures tests/turns takes.
PASSED = (
    "OUTTRAY_TEST_PG_VERSIONS",
    "OUTTRAY_TEST_INTERLEAVE",
    "OUTTRAY_TEST_LONG",
    "OUTTRAY_TEST_TURNS",
    "OUTTRAY_TEST_TURN",
)
SUMMARY = re.compile(r"^\d+% tests passed, |^=+ .*\d+ \w+.* in [\d.]+s.* =+$")


def suites():
    """{name: servers it needs}, from tests/SUITES."""
    lines = (ROOT / "tests/SUITES").read_text().splitlines()
    rows = [line.split() for line in lines if line and line[0] != "#"]
    return {name: needs for name, *needs in rows}


class Interrupted(Exception):
    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


def interrupt(signum, _frame):
    raise Interrupted(signum)


def remove_abandoned():
    """Remove the scratch folders of runs that were killed."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = Process.load(folder / "owner")
        if owner and folder.stat().st_uid == os.getuid() and not owner.alive():
            shutil.rmtree(folder, ignore_errors=True)


def _renamed(name, other):
    return {other: os.path.abspath(os.environ[name])} if name in os.environ else {}


class Scratch:
    """A scratch folder, the servers in it, and what runs beside them."""

    def __init__(self, needs, postgres="system"):
        self.needs = needs
        self.postgres = postgres
        self.servers = []

    def __enter__(self):
        process.adopt_orphans()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, interrupt)
        remove_abandoned()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o755)
        Process(os.getpid()).save(self.folder / "owner")
        self.environment = self._environment()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        for server in reversed(self.servers):
            server.stop()
        self.left_behind = self._sweep()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command, **options):
        """Run a command to its end; its lines go to standard output.
        Returns its status and the lines in which it sums up."""
        started = time.monotonic()
        print(f"\n---- {' '.join(map(str, command))}", flush=True)
        child = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=lambda: process.end_with_parent(signal.SIGTERM),
            **options,
        )
        summary = []
        try:
            for line in child.stdout:
                print(line, end="", flush=True)
                plain = re.sub(r"\x1b\[[\d;]*m", "", line.strip())
                if SUMMARY.search(plain):
                    summary.append(plain)
            status = child.wait()
            child.stdout.close()
        except Interrupted:
            Process(child.pid).stop(seconds=10)
            raise
        print(f"---- {time.monotonic() - started:.1f} s", flush=True)
        return status, summary

    def _environment(self):
        (self.folder / "tmp").mkdir()
        (self.folder / "tmp").chmod(0o1777)
        suppressions = ROOT / "tests/support/lsan.supp"
        # The user's settings must not change what tests see.
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OUTTRAY_", "PG"))
        }
        return {
            **clean,
            "TMPDIR": str(self.folder / "tmp"),
            "OUTTRAY_SOURCE_DIR": str(ROOT),
            "OUTTRAY_TEST_BUILD": str(BUILD),
            # The folder of a pgmoon, instead of tests/support/pgclient.lua.
            **_renamed("OUTTRAY_PGMOON", "OUTTRAY_TEST_PGMOON"),
            # Another program may be tested: OUTTRAY_BIN=… ./dev test cli
            "OUTTRAY_TEST_BIN": os.environ.get("OUTTRAY_BIN", str(BUILD / "outtray")),
            "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
            "PYTHONPATH": str(ROOT / "tests/support"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OUTTRAY_TEST_PG_VERSION": self.postgres,
            **{name: os.environ[name] for name in PASSED if name in os.environ},
        }

    def _start(self):
        if "pg" in self.needs:
            server = Postgres(self.folder / "pg", self.postgres)
            self.servers.append(server)
            server.start()
            print(f"PostgreSQL is up: {server.url}", flush=True)
            self.environment["OUTTRAY_TEST_PG"] = server.url
        if "kafka" in self.needs:
            server = Kafka(self.folder / "kafka")
            self.servers.append(server)
            server.start()
            print(f"Kafka {version()} is up: {server.bootstrap}", flush=True)
            self.environment["OUTTRAY_TEST_KAFKA"] = server.bootstrap

    def _sweep(self):
        """Ends what still runs below this process; returns what it was."""
        found = []
        for pid in process.descendants(os.getpid()):
            left = Process(pid)
            line = process.command_line(pid)
            left.stop(seconds=2)
            if line:
                found.append(line)
        return found


def is_expression(word):
    return re.search(r"\b(and|or|not)\b|[()]", word) is not None


def chosen(names, word):
    """Which names an expression of pytest's -k means; ctest knows none."""

    def term(found):
        text = found[0]
        if text in ("and", "or", "not"):
            return text
        return f"{text.lower()!r} in name"

    test = re.sub(r"[^\s()]+", term, word)
    try:
        return [name for name in names if eval(test, {"name": name.lower()})]
    except SyntaxError:
        sys.exit(f"dev: -k {word!r}: write words with and, or, not, ( and )")


def c_tests(suite):
    return [
        f"{suite}/{path.stem}" for path in (ROOT / "tests" / suite).glob("test_*.c")
    ]


def run_tests(arguments):
    known = suites()
    names = arguments.suite or list(known)
    for name in names:
        if name not in known:
            sys.exit(f"dev: no suite '{name}': {' '.join(known)}")
    needs = {need for name in names for need in known[name]}
    c_names, py_names = [], []
    for name in names:
        folder = ROOT / "tests" / name
        has_c = any(folder.glob("test_*.c"))
        has_py = any(folder.glob("test_*.py"))
        c_names += [name] * has_c
        py_names += [name] * has_py
        if not has_c and not has_py:
            print(f"dev: suite {name} has no test yet")
            if arguments.suite:
                return 2
    only = arguments.k
    if only and is_expression(only):
        found = chosen([test for name in c_names for test in c_tests(name)], only)
        only = f"^({'|'.join(found)})$"
        c_names = c_names if found else []
    if {"python", "docs"} & set(names):
        python_package.install()
    status, summary = 0, []
    with Scratch(needs, arguments.pg) as scratch:
        if arguments.long:
            scratch.environment["OUTTRAY_TEST_LONG"] = "1"
        if c_names:
            command = ["ctest", "--test-dir", BUILD, "-j2"]
            command += ["--output-on-failure", "--no-tests=error"]
            command += ["-L", f"^({'|'.join(c_names)})$"]
            command += ["-R", only] if only else []
            result, lines = scratch.run(command)
            status |= result
            summary += lines
        if py_names:
            # A long run is for what its tests counted.
            command = [sys.executable, "-m", "pytest"]
            command += ["-raP"] if arguments.long else ["-ra"]
            command += ["--color=yes"] if sys.stdout.isatty() else []
            command += ["--durations=10"]
            # Most tests wait for servers. A file stays with one process, which
            # keeps what its tests share. Files go in the order of tests/SUITES,
            # not by their number of tests: else the longest come last, alone.
            parallel = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
            command += parallel if len(py_names) > 1 else []
            command += ["-k", arguments.k] if arguments.k else []
            command += [f"tests/{name}" for name in py_names]
            result, lines = scratch.run(command, cwd=ROOT)
            status |= result
            summary += lines
    for line in scratch.left_behind:
        print(f"dev: a test left this running: {line}")
        status = 1
    print(f"\nSuites: {' '.join(names)}")
    print("\n".join(summary))
    return 1 if status else 0


def run_servers(arguments):
    command = arguments.command or [os.environ.get("SHELL", "/bin/sh")]
    with Scratch({"pg", "kafka"}) as scratch:
        print(f"Scratch folder: {scratch.folder}", flush=True)
        child = subprocess.Popen(
            command, env=scratch.environment, preexec_fn=process.end_with_parent
        )
        # Ctrl-C is for the command; its shell is still there afterwards.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return child.wait()


def main():
    parser = argparse.ArgumentParser(prog="./dev")
    verbs = parser.add_subparsers(required=True)
    test = verbs.add_parser("test")
    test.add_argument("-k", metavar="WORD")
    test.add_argument("--long", action="store_true")
    test.add_argument("--pg", metavar="VERSION", default="system")
    test.add_argument("suite", nargs="*")
    test.set_defaults(run=run_tests)
    servers = verbs.add_parser("servers")
    servers.add_argument("command", nargs=argparse.REMAINDER)
    servers.set_defaults(run=run_servers)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments)
    except Interrupted as interrupted:
        return 128 + interrupted.signum
    except RuntimeError as error:
        sys.exit(f"dev: {error}")


if __name__ == "__main__":
    sys.exit(main())
