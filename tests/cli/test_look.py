"""status, show, explain, tail, dead."""

import signal
import subprocess
import time

import pytest
from program import on_terminal

NUMBERS = {
    "pending": int, "oldest_age_s": float, "position": int, "last_seq": int,
    "gaps": int, "fence": int, "lease_left_s": float, "written_age_s": float,
    "commands": int, "paused": bool, "pending_is_estimate": bool, "state": str,
    "subscription": str, "held": dict, "reasons": list,
}  # fmt: skip


def test_status(shop):
    shop.load([{"topic": "t", "key": "k"}] * 3)
    one = shop.status()
    assert set(one) == {*NUMBERS, "owner", "report"}
    assert one["report"] is None
    assert [r["code"] for r in one["reasons"]] == ["no_subscription"]
    for name, kind in NUMBERS.items():
        assert isinstance(one[name], kind), name
    assert one["pending"] == 3 and one["oldest_age_s"] >= 0
    assert one["held"] == {
        "retrying": 0, "waiting": 0, "blocked": 0, "scheduled": 0, "dead": 0,
    }  # fmt: skip
    assert "  pending   3\n" in shop.run("status").stdout
    shop.relay("null:")
    one = shop.status()
    assert (one["pending"], one["oldest_age_s"]) == (0, -1)
    assert one["state"] == "no relay" and one["owner"] is None
    assert one["position"] == one["last_seq"] > 0


def test_status_of_a_running_relay(shop):
    relay = shop.start("relay", "--sink", "null:")
    relay.wait_for(lambda: shop.status()["state"] == "running")
    one = shop.status()
    assert one["owner"] and one["fence"] > 0 and one["lease_left_s"] > 0
    relay.stop()
    assert shop.status()["state"] == "no relay"


def test_status_watch(sqlite_shop):
    watch = sqlite_shop.start("status", "--watch", 1, "--json")
    watch.wait_for(lambda: watch.stdout.count("\n") >= 2)
    assert watch.stop(seconds=5).status == 0


def test_show(shop):
    made = shop.enqueue(payload="secret", key="k\x1b[31m")
    by_id = shop.run("show", made).stdout
    assert made in by_id and "6 bytes" in by_id
    assert "secret" not in by_id  # only when asked for
    assert "\x1b" not in by_id and "k\\x1b[31m" in by_id
    assert "secret" in shop.run("show", made, "--payload").stdout
    event = shop.run("show", made, "--json").json()
    assert event["id"] == made and "payload" not in event
    by_seq = shop.run("show", event["seq"], "--json").json()
    assert by_seq == event
    for missing in ("99999", "00000000-0000-7000-8000-000000000000"):
        failed = shop.run("show", missing, status=66)
        assert "no committed event" in failed.stderr
    failed = shop.run("show", "seven", status=2)
    assert "neither an event id" in failed.stderr


def codes(shop, event):
    return [reason["code"] for reason in explain(shop, event)["reasons"]]


def explain(shop, event):
    return shop.run("explain", event, "--json").json()


def test_explain(shop):
    first = shop.enqueue(key="a")
    assert codes(shop, first) == ["no_subscription"]
    second = shop.enqueue(key="a")
    later = shop.enqueue(key="b", deliver_at="+1h")
    done = shop.enqueue(key="c")
    shop.relay("fault:?script=reject@key=a", "--relay.ordering", "strict")
    assert codes(shop, done) == ["passed"]
    assert "scheduled" in codes(shop, later)
    assert "dead" in codes(shop, first)
    assert first in explain(shop, first)["try"]
    behind = explain(shop, second)
    assert behind["event"]["held"]["state"] == "blocked"
    assert behind["reasons"][0]["code"] == "behind_event"
    assert first in behind["reasons"][0]["text"]
    assert f"redrive {first}" in behind["try"]
    text = shop.run("explain", second).stdout
    assert f"behind event {first}" in text


def test_explain_pause(shop):
    shop.relay("null:")
    shop.run("pause")
    event = shop.enqueue()
    found = explain(shop, event)
    assert found["reasons"][0]["code"] == "paused"
    assert found["try"].startswith("outtray resume")


def test_explain_a_destination(shop):
    event = shop.enqueue(topic="orders")
    relay = shop.start("relay", "--sink", "fault:?script=misconfigured@topic=orders")
    relay.wait_for(lambda: shop.status()["held"]["waiting"] == 1)
    found = explain(shop, event)
    assert found["reasons"][0]["code"] == "destination"
    assert "--topic orders" in found["try"]
    relay.stop()


def test_dead(shop):
    assert shop.run("dead").stdout == ""
    shop.load(
        [
            {"topic": "a", "key": "1"},
            {"topic": "b", "key": "2"},
            {"topic": "b", "key": "3"},
            {"topic": "c", "key": "4"},
        ]
    )
    shop.relay("fault:?script=reject@topic=a,reject@topic=b")
    assert [e["topic"] for e in shop.run("dead", "--json").lines()] == ["a", "b", "b"]
    found = shop.run("dead", "--json", "--topic", "b", "--key", "3").lines()
    assert [event["key"] for event in found] == ["3"]
    assert found[0]["held"]["state"] == "dead" and found[0]["held"]["error"]
    lines = shop.run("dead").stdout.splitlines()
    assert len(lines) == 4 and lines[0].startswith("ID\tTOPIC\tKEY")
    assert len(shop.run("dead", "--json", "-n", 2).lines()) == 2


def test_tail(shop):
    shop.load([{"topic": f"t{n % 2}", "key": str(n)} for n in range(20)])
    assert len(shop.run("tail").stdout.splitlines()) == 10
    keys = [e["key"] for e in shop.run("tail", "-n3", "--json").lines()]
    assert keys == ["17", "18", "19"]
    only = shop.run("tail", "-n", 100, "--topic", "t1", "--json").lines()
    assert len(only) == 10
    only = shop.run("tail", "--key", "4", "--json").lines()
    assert [event["key"] for event in only] == ["4"]


def test_follow(shop):
    shop.enqueue(key="0")
    tail = shop.start("tail", "-f", "--json")
    tail.wait_for(lambda: tail.stdout.count("\n") == 1)
    for n in range(1, 4):
        shop.enqueue(key=str(n))
    tail.wait_for(lambda: tail.stdout.count("\n") >= 4)
    time.sleep(1.2)  # two more looks
    assert tail.stop(seconds=5).stdout.count("\n") == 4


def test_follow_sees_late_commits(pg, outtray):
    import psycopg

    outtray.env.update(OUTTRAY_STORE_URL=pg.url, OUTTRAY_CONFIG="")
    outtray.run("init")
    outtray.run("enqueue", "t", "x", "--key", "first")
    with psycopg.connect(pg.url) as slow:
        slow.execute("SELECT outtray.enqueue('t', 'x'::text, key => 'late')")
        outtray.run("enqueue", "t", "x", "--key", "early")
        tail = outtray.start("tail", "-f", "--json")
        tail.wait_for(lambda: "early" in tail.stdout)
        slow.commit()
    tail.wait_for(lambda: "late" in tail.stdout)
    assert tail.stop(seconds=5).stdout.count("\n") == 3


def test_closed_pipe_ends_quietly(sqlite_shop):
    sqlite_shop.load([{"topic": "t", "payload": "x" * 500}] * 5000)
    program = sqlite_shop.program
    for words in (["tail", "-n", "5000", "--payload"], ["tail", "-f", "-n", "5000"]):
        run = subprocess.Popen(
            [program.path, *words],
            env=program.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait() == 0


@pytest.mark.parametrize("verb", ["conf", "doctor"])
def test_full_disk(verb, sqlite_shop):
    """A finding (1) that cannot be read is none."""
    program = sqlite_shop.program
    sqlite_shop.enqueue()
    sqlite_shop.run("doctor", status=1)  # no relay is there
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [program.path, verb],
            env=program.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 74
    assert b"No space left" in done.stderr


def test_hints_are_for_terminals(outtray, sqlite_url):
    outtray.env.update(OUTTRAY_CONFIG="", TERM="xterm")
    store = ["--store", sqlite_url]
    seen = on_terminal(outtray, "init", *store)
    assert f"outtray enqueue --store {sqlite_url} orders.created" in seen
    seen = on_terminal(outtray, "enqueue", *store, "t", "x")
    assert f"outtray relay --store {sqlite_url} --sink stdout: --until-empty" in seen
    assert "next:" not in on_terminal(outtray, "enqueue", *store, "t", "x", "-q")
    assert "next:" not in on_terminal(outtray, "enqueue", *store, "t", "x", "--json")
    assert outtray.run("enqueue", *store, "t", "x").stderr == ""
    assert "\x1b[2mnext" in on_terminal(outtray, "status", *store)
    plain = on_terminal(outtray, "status", *store, env={"NO_COLOR": "1"})
    assert "\nnext: outtray relay" in plain and "\x1b" not in plain


def test_interrupted(sqlite_shop):
    """A signal while a verb waits for input."""
    program = sqlite_shop.program
    run = subprocess.Popen(
        [program.path, "enqueue", "--ndjson"],
        env=program.environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    run.stdin.write(b'{"topic":"t"}\n' * 5000)
    run.stdin.flush()
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    assert run.wait() == 130  # OUTTRAY_E_INTERRUPTED
    assert b"interrupted" in run.stderr.read()
    run.stdin.close()
    assert sqlite_shop.status()["pending"] == 0
