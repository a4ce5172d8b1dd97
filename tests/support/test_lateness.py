"""What a test grants a loaded machine is what that machine was late, and nothing
where it was not."""

import signal
import subprocess
import sys
import time

import lateness
import pytest
from lateness import PAUSE, WORK, Promise, Watch

CHILD = """
import sys, time
from lateness import Promise
promise = Promise(1)
print("begun", flush=True)
sys.stdin.readline()
print(promise.limit(), promise.took(), flush=True)
"""


@pytest.fixture
def watch():
    return Watch()  # not started: the test is its clock


def test_who_is_in_time_is_granted_nothing(watch):
    now = watch.due
    for _ in range(1000):
        watch.note(now)
        now += PAUSE + WORK
    assert watch.late(now) < 0.001


def test_each_delay_counts_once(watch):
    now = watch.due
    for _ in range(10):
        now += 0.5
        assert watch.late(now) > watch.late(now - 0.1)  # while it lasts
        watch.note(now)
        now += PAUSE + WORK
    assert watch.late(now) == pytest.approx(5, abs=0.01)


def test_a_promise_is_broken_on_a_machine_that_is_in_time(watch, monkeypatch):
    monkeypatch.setattr(lateness, "_watch", watch)
    monkeypatch.setattr(lateness, "pressure", lambda: 7.0)
    promise = Promise(1)
    watch.due = time.monotonic() + 60  # never late
    assert not promise.broken() and promise.limit() == pytest.approx(1, abs=0.5)
    promise.began -= 7
    assert promise.broken(), str(promise)


def test_what_waited_for_a_processor_or_a_disk_counts(watch, monkeypatch, tmp_path):
    (tmp_path / "io").write_text("some avg10=0.00 total=500000\nfull total=9000000\n")
    assert lateness.pressure(tmp_path) == 0.5
    (tmp_path / "cpu").write_text("some avg10=0.00 avg60=0.31 total=2000000\n")
    assert lateness.pressure(tmp_path) == 2.5
    monkeypatch.setattr(lateness, "_watch", watch)
    waited = [0.0]
    monkeypatch.setattr(lateness, "pressure", lambda: waited[0])
    promise = Promise(1)
    watch.due = time.monotonic() + 60  # it is never late itself
    promise.began -= 7
    assert promise.broken(), str(promise)
    waited[0] = 6.1
    assert not promise.broken() and promise.late() == pytest.approx(6.1)
    # Never all of it: who never comes is in time for nobody.
    promise.began -= 10
    waited[0] = 1000
    assert promise.broken() and promise.late() == pytest.approx(0.9 * 17, abs=0.5)


def test_patience_is_longer_than_a_promise(watch, monkeypatch):
    monkeypatch.setattr(lateness, "_watch", watch)
    monkeypatch.setattr(lateness, "pressure", lambda: 7.0)
    watch.due = time.monotonic() + 60
    promise, patience = Promise(10), lateness.Patience(10)
    for one in (promise, patience):
        one.began -= 20
    assert promise.broken() and not patience.broken()
    patience.began -= 20
    assert patience.broken()
    # … and ends, however late the machine is.
    monkeypatch.setattr(lateness, "pressure", lambda: 7000.0)
    assert not patience.broken()
    patience.began -= 50
    assert patience.broken()


def test_a_process_that_may_not_run_is_granted_that_time():
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        child.send_signal(signal.SIGCONT)
        limit, took = map(float, child.communicate("\n")[0].split())
    assert took > 1.4
    assert limit - 1 > 1.4
