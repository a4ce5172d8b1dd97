"""The relay as a process."""

import json
import signal
import subprocess
import time

import pytest


def test_to_standard_output(shop):
    first = shop.enqueue("orders", '{"id": 7}', key="7")
    done = shop.run("relay", "--sink", "stdout:", "--until-empty")
    (line,) = done.lines()
    assert line["id"] == first and line["payload"] == '{"id": 7}'
    assert shop.status()["pending"] == 0
    # Nothing left: nothing is said twice.
    assert shop.run("relay", "--sink", "stdout:", "--until-empty").stdout == ""


def test_log(sqlite_shop):
    sqlite_shop.enqueue()
    words = ["relay", "--sink", "null:", "--until-empty"]
    lines = sqlite_shop.run(*words, "-q", "--log.level", "info").stderr.splitlines()
    assert {"time", "level", "facility", "text"} == set(json.loads(lines[0]))
    text = sqlite_shop.run(*words, "-q", "--log.level", "info", "--log.format", "text")
    assert " info " in text.stderr and "{" not in text.stderr
    assert sqlite_shop.run(*words, "-q").stderr == ""


def test_numbers(shop):
    shop.load([{"topic": "t", "key": str(n)} for n in range(100)])
    found = shop.relay("fault:?script=reject*3")
    assert found["delivered"] == 97 and found["dead"] == 3 and found["held"] == 3
    assert found["position"] == found["last_seq"] > 0


def test_what_until_empty_leaves(shop):
    """A script can tell an empty outbox from one where events are held."""
    words = ("relay", "--until-empty", "--sink")
    shop.load([{"topic": "t", "key": str(n)} for n in range(2)])
    said = shop.run(*words, "fault:?script=reject").stderr
    assert "1 held, 1 given up on: not empty" in said
    shop.load([{"topic": "t", "key": "0"}])  # behind the dead one
    said = shop.run(*words, "null:").stderr
    assert "2 held, 0 given up on: not empty" in said
    assert shop.relay("null:")["held"] == 2
    shop.run("redrive", "--all", "--yes")
    assert "not empty" not in shop.run(*words, "null:").stderr
    assert shop.relay("null:")["held"] == 0


def test_no_sink(sqlite_shop):
    failed = sqlite_shop.run("relay", status=2)
    assert "no sink is named" in failed.stderr
    failed = sqlite_shop.run("relay", "--sink", "kafak://x", status=2)
    assert "kafak" in failed.stderr and "kafka" in failed.stderr
    failed = sqlite_shop.run("relay", "--sink", "script:", status=2)
    assert "taken by the program" in failed.stderr


def test_no_outbox(outtray, store_url):
    outtray.env.update(OUTTRAY_STORE_URL=store_url, OUTTRAY_CONFIG="")
    failed = outtray.run("relay", "--sink", "null:", status=78)
    assert "try: outtray init" in failed.stderr


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&- 2>&-", "<&- >&-", "2>&-"])
def test_closed_standard_descriptors_are_nobody_elses(shop, tmp_path, closed):
    """What is opened next must not get their numbers: log lines would go into
    the database, and events of stdout: count as delivered where they are not."""
    shop.load([{"topic": "t", "key": str(n)} for n in range(100)])

    def relay(sink):
        words = [shop.program.path, "relay", "--until-empty", "--sink", sink]
        return subprocess.run(
            ["sh", "-c", f'exec "$0" "$@" {closed}', *words],
            env=shop.program.environment(),
            capture_output=True,
        )

    if closed != "2>&-":
        done = relay("stdout:")
        assert done.returncode == 74, done
        assert shop.status()["pending"] == 100
    out = tmp_path / "out"
    assert relay(f"file://{out}").returncode == 0
    assert out.read_text().count("\n") == 100
    assert shop.status()["pending"] == 0


def test_kafka(shop, kafka):
    topic = kafka.topic()
    ids = [shop.enqueue(topic, f"{n}", key="k") for n in range(3)]
    assert shop.relay(kafka.url)["delivered"] == 3
    found = kafka.read(topic, 3)
    assert [message.value() for message in found] == [b"0", b"1", b"2"]
    names = [dict(message.headers()) for message in found]
    assert [str(headers["id"], "ascii") for headers in names] == ids


def test_sigterm_under_load(shop):
    """It stops in less than 10 s, cleanly, and the next one goes on."""
    shop.load([{"topic": "t", "key": str(n % 50)} for n in range(30_000)])
    relay = shop.start("relay", "--sink", "fault:?script=delay:100ms",
                       "--relay.window_events", 50)  # fmt: skip
    relay.wait_for(lambda: shop.status()["position"] > 0)
    relay.stop(seconds=10, status=0)
    left = shop.status()
    assert left["owner"] is None and 0 < left["pending"] < 30_000
    assert shop.relay("null:")["delivered"] == left["pending"]


def test_sigterm_with_a_sink_that_hangs(shop):
    shop.load([{"topic": "t"}] * 100)
    relay = shop.start("relay", "--sink", "fault:?script=hang")
    relay.wait_for(lambda: shop.status()["state"] == "running")
    time.sleep(0.5)
    relay.stop(seconds=10, status=0)
    assert shop.status()["owner"] is None
    assert shop.status()["pending"] == 100


def test_second_signal(shop):
    shop.load([{"topic": "t"}] * 10)
    relay = shop.start("relay", "--sink", "fault:?script=hang")
    relay.wait_for(lambda: shop.status()["state"] == "running")
    time.sleep(0.5)
    relay.tell(signal.SIGINT)
    time.sleep(0.5)
    assert relay.alive()
    relay.send(signal.SIGINT)
    assert relay.wait().status == 130


def test_a_terminal_that_goes(shop):
    """It says so more than once, and the relay stops as it does for SIGTERM;
    below nohup it goes on."""
    shop.load([{"topic": "t"}] * 10)
    relay = shop.start("relay", "--sink", "fault:?script=hang",
                       "--relay.stop_soft_ms", "1s",
                       "--relay.stop_hard_ms", "1s")  # fmt: skip
    relay.wait_for(lambda: shop.status()["state"] == "running")
    for _ in range(2):
        relay.tell(signal.SIGHUP)
    assert relay.wait().status == 0
    assert shop.status()["owner"] is None
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    relay = shop.start("relay", "--sink", "null:")
    signal.signal(signal.SIGHUP, was)
    relay.send(signal.SIGHUP)
    relay.wait_for(lambda: shop.status()["pending"] == 0)


def test_broker_away(shop):
    """It does not end, and says so once."""
    shop.enqueue()
    relay = shop.start(
        "relay", "--sink", "kafka://127.0.0.1:1",
        "--relay.stop_soft_ms", "500", "--relay.stop_hard_ms", "1s",
    )  # fmt: skip
    relay.wait_for(lambda: "127.0.0.1:1" in relay.stderr)
    time.sleep(3)
    assert relay.alive()
    warnings = [
        line for line in map(json.loads, relay.stderr.splitlines())
        if line["level"] in ("warn", "error")
    ]  # fmt: skip
    assert 1 <= len(warnings) <= 3, warnings
    assert shop.status()["held"]["dead"] == 0
    relay.stop(seconds=10)


def test_database_away(outtray):
    """Not yet up: it waits."""
    url = "postgresql://postgres@127.0.0.1:1/postgres"
    relay = outtray.start(
        "relay", "--sink", "null:", "--store", url, env={"OUTTRAY_CONFIG": ""}
    )
    relay.wait_for(lambda: "127.0.0.1" in relay.stderr)
    time.sleep(2)
    assert relay.alive()
    relay.stop(seconds=10)


def test_two_relays(shop):
    first = shop.start("relay", "--sink", "null:")
    first.wait_for(lambda: shop.status()["state"] == "running")
    owner = shop.status()["owner"]
    second = shop.start("relay", "--sink", "null:")
    time.sleep(1)
    assert second.alive() and shop.status()["owner"] == owner
    first.stop()
    second.wait_for(lambda: shop.status()["owner"] not in (None, owner))
    second.stop()


def test_head(sqlite_shop):
    """relay --sink stdout: | head ends by itself, and quietly."""
    sqlite_shop.load([{"topic": "t", "payload": "x" * 1000}] * 20_000)
    program = sqlite_shop.program
    run = subprocess.Popen(
        [program.path, "relay", "--sink", "stdout:", "--log.level", "warn"],
        env=program.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert run.stdout.readline()
    run.stdout.close()
    said = run.stderr.read()
    assert run.wait() == 0
    assert said == b""
