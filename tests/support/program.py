"""Runs the program `outtray` for a test."""

import json
import os
import pty
import signal
import subprocess
import time

import process
from lateness import Patience, Promise


class Result:
    """What a run that ended left."""

    def __init__(self, command, status, stdout, stderr):
        self.command = command
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    def json(self):
        return json.loads(self.stdout)

    def lines(self):
        """Standard output as NDJSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def __str__(self):
        return (
            f"{' '.join(self.command)}\nstatus {self.status}\n"
            f"-- stdout\n{self.stdout}\n-- stderr\n{self.stderr}"
        )


class Running:
    """A run that goes on. Its output goes to files."""

    def __init__(self, command, folder, env):
        stem = folder / f"run-{os.urandom(3).hex()}"
        self.command = command
        self.out, self.err = stem.with_suffix(".out"), stem.with_suffix(".err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.popen = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self.popen.pid

    @property
    def stdout(self):
        return self.out.read_text(errors="replace")

    @property
    def stderr(self):
        return self.err.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def send(self, signum):
        self.popen.send_signal(signum)

    def tell(self, signum):
        """Send it, and wait until it was taken: then another one is a second."""
        self.send(signum)
        self.wait_for(lambda: not process.pending(self.pid, signum))

    def kill(self):
        self.popen.kill()
        return self.popen.wait(60)

    def wait(self, seconds=120, status=None):
        """Wait for its end; checks its exit status if one is given."""
        result = Result(
            self.command, self.popen.wait(seconds), self.stdout, self.stderr
        )
        assert status is None or result.status == status, str(result)
        return result

    def stop(self, seconds=15, status=0):
        """SIGTERM, and the status it should end with within so many seconds."""
        promise = Promise(seconds, others=3)
        if self.alive():
            self.send(signal.SIGTERM)
        result = self.wait(seconds + 60, status)
        assert not promise.broken(), f"{promise}\n{result}"
        return result

    def wait_for(self, condition, seconds=20):
        """Until condition() is true; returns what it returned. Fails if the
        program ends meanwhile."""
        patience = Patience(seconds)
        while True:
            ended = not self.alive()
            value = condition()
            if value:
                return value
            assert not ended, f"it ended\n{self.wait()}"
            assert not patience.broken(), f"not in time: {patience}\n{self.stderr}"
            time.sleep(0.02)


class Program:
    """`outtray` in a scratch folder; env holds more variables for all runs."""

    def __init__(self, path, folder):
        self.path = path
        self.folder = folder
        self.env = {}
        self.running = []

    def environment(self, env=None):
        return {**os.environ, **self.env, **(env or {})}

    def run(self, *arguments, status=0, stdin=None, env=None, seconds=180):
        """Run to the end, and check its exit status (None: whatever)."""
        command = [self.path, *map(str, arguments)]
        if isinstance(stdin, str):
            stdin = stdin.encode()
        given = {"input": stdin} if stdin is not None else {}
        if stdin is None:
            given["stdin"] = subprocess.DEVNULL
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            timeout=seconds,
            **given,
        )
        result = Result(
            command,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        assert status is None or result.status == status, str(result)
        assert "Sanitizer" not in result.stderr, str(result)
        return result

    def start(self, *arguments, env=None):
        """Start it and go on."""
        command = [self.path, *map(str, arguments)]
        self.running.append(Running(command, self.folder, self.environment(env)))
        return self.running[-1]

    def stop_all(self):
        for one in self.running:
            if one.alive():
                one.send(signal.SIGCONT)
                one.send(signal.SIGTERM)
                try:
                    one.popen.wait(10)
                except subprocess.TimeoutExpired:
                    one.kill()
            assert "Sanitizer" not in one.stderr, one.stderr


def whole_lines(path):
    """What a sink has written to a file so far; none where there is no file."""
    try:
        return path.read_text().rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return []


def on_terminal(program, *words, env=None, stdin=None):
    """What a person sees, both outputs together. stdin: a file, instead."""
    leader, follower = pty.openpty()
    run = subprocess.Popen(
        [program.path, *words],
        cwd=program.folder,
        env=program.environment(env),
        stdin=stdin or follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(leader)
    assert run.wait(120) == 0, seen
    return seen.decode().replace("\r\n", "\n")
