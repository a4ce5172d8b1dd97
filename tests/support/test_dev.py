"""./dev on machines that lack something, and when it is interrupted."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import time

import process
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_run():
    """By its path: bench has a module of that name, and its tests find it first."""
    path = ROOT / "tests/support/run.py"
    spec = importlib.util.spec_from_file_location("support_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def machine(folder, *stubs, **scripts):
    """A PATH with little in it."""
    folder.mkdir()
    for name in ("sh", "dirname", "sed", "ls", "awk", "grep", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    scripts.setdefault("id", "echo 1000")
    for name in stubs:
        scripts[name] = "exit 1"
    for name, body in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


def dev(env, *arguments):
    return subprocess.run(
        [ROOT / "dev", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_words_of_both_kinds_of_tests():
    """-k goes to pytest and to ctest, which has no expressions."""
    run = load_run()
    names = ["store/test_postgres_read", "store/test_memory", "unit/test_Reads"]
    assert not run.is_expression("postgres_read")
    assert run.is_expression("not read") and run.is_expression("a or b")
    assert run.chosen(names, "read or (store and not postgres)") == names
    assert run.chosen(names, "READ and not (store)") == names[2:]
    assert run.chosen(names, "nobody or nothing") == []
    assert "store/test_postgres_read" in run.c_tests("store")
    with pytest.raises(SystemExit, match="write words"):
        run.chosen(names, "read or (")


def test_neither_root_nor_sudo(tmp_path):
    done = dev(machine(tmp_path / "bin", "apt-get"), "build")
    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert line.startswith("apt-get install -y --no-install-recommends gcc ")
    assert " librdkafka-dev" in line
    assert "postgresql" not in line
    assert "not root and no sudo" in done.stderr


def test_sudo_that_needs_a_password_and_no_terminal(tmp_path):
    done = dev(machine(tmp_path / "bin", "apt-get", "sudo"), "build")
    assert done.returncode == 3
    assert done.stdout.startswith("apt-get install ")


def test_another_system(tmp_path):
    done = dev(machine(tmp_path / "bin"), "build")
    assert done.returncode == 3
    assert "librdkafka 2.0.2 or newer" in done.stderr
    assert "apt" not in done.stdout + done.stderr


def test_root_gets_what_is_missing(tmp_path):
    env = machine(
        tmp_path / "bin",
        id="echo 0",
        apt_get='echo "$0 $*"; exit 0',
        mkdir="",
        rm="",
        rmdir="",
        chmod="",
        mv="",
    )
    # apt.sh would write below /: the stubs above make that a failure.
    env["APT_ROOT"] = str(tmp_path / "nowhere")
    done = dev(env, "build")
    assert done.returncode == 3
    assert "installing with apt: gcc libc6-dev cmake" in done.stdout


def test_demo_asks_for_no_server(tmp_path):
    done = dev(machine(tmp_path / "bin", "apt-get"), "demo")
    assert done.returncode == 3
    for word in ("postgresql", "jre", "maven", "kafka-"):
        assert word not in done.stdout.replace("librdkafka-dev", "")


def test_unknown_words():
    done = dev(dict(os.environ), "tset")
    assert done.returncode == 2
    assert "unknown command 'tset'" in done.stderr
    done = dev(dict(os.environ), "help")
    assert done.returncode == 0
    assert "Suites: unit engine" in done.stdout


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_behind(open_path, signum):
    """Whatever ends a run, its servers end with it."""
    command = [ROOT / ".venv/bin/python", ROOT / "tests/support/run.py"]
    command += ["servers", "sh", "-c", "echo ready; exec sleep 300"]
    env = {**os.environ, "TMPDIR": str(open_path)}
    running = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    for line in running.stdout:
        if line == b"ready\n":
            break
    below = [process.Process(pid) for pid in process.descendants(running.pid)]
    assert len(below) > 3
    running.send_signal(signum)
    status = running.wait(240)
    assert status == (-9 if signum == signal.SIGKILL else 128 + signum)
    end = time.monotonic() + 60
    while any(one.alive() for one in below):
        assert time.monotonic() < end, [process.command_line(p.pid) for p in below]
        time.sleep(0.05)
    if signum != signal.SIGKILL:
        assert list(open_path.iterdir()) == []


def test_list_of_benchmarks_needs_nothing(tmp_path):
    done = dev(machine(tmp_path / "bin"), "bench", "list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("drain ")
    assert len(done.stdout.splitlines()) > 5
