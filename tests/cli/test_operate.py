"""redrive, skip, pause, resume, prune: with and without a relay."""

import json
import os
import pty
import subprocess

import pytest
from program import whole_lines


@pytest.fixture
def dead(shop):
    """Three dead events; their ids by key."""
    shop.load([{"topic": f"t{k}", "key": k} for k in "abc"])
    shop.relay("fault:?script=reject,reject,reject")
    found = {e["key"]: e["id"] for e in shop.run("dead", "--json").lines()}
    assert sorted(found) == ["a", "b", "c"]
    return found


def delivered(path):
    return [json.loads(line)["key"] for line in whole_lines(path)]


def test_redrive(shop, dead, tmp_path):
    dry = shop.run("redrive", dead["a"], "--dry-run", "--json").json()
    assert dry == {
        "verb": "redrive", "subscription": "main", "events": 1,
        "dry_run": True, "applied": False,
    }  # fmt: skip
    assert shop.status()["held"]["dead"] == 3
    done = shop.run("redrive", dead["a"], "--json").json()
    assert (done["events"], done["applied"]) == (1, True)
    assert shop.status()["held"]["dead"] == 2
    assert shop.status()["commands"] == 0
    shop.relay(f"file://{tmp_path}/out")
    assert delivered(tmp_path / "out") == ["a"]
    shop.run("redrive", "--all", "--yes")
    shop.relay(f"file://{tmp_path}/out")
    assert delivered(tmp_path / "out") == ["a", "b", "c"]


def test_skip(shop, dead, tmp_path):
    follower = shop.enqueue(topic="ta", key="a")
    shop.run("skip", dead["a"])
    shop.relay(f"file://{tmp_path}/out")
    assert delivered(tmp_path / "out") == ["a"]  # the one behind it
    assert shop.run("show", dead["a"], "--json").json()["fate"] == "delivered"
    assert shop.run("show", follower, "--json").json()["fate"] == "delivered"
    shop.run("skip", "--all", "--yes")
    assert shop.status()["held"]["dead"] == 0


def test_bulk(shop, dead):
    refused = shop.run("redrive", "--all", status=2)
    assert "3 dead events are meant" in refused.stderr
    assert "--yes" in refused.stderr and "--dry-run" in refused.stderr
    assert shop.run("redrive", "--all", "--dry-run", "--json").json()["events"] == 3
    assert shop.run("redrive", "--key", "b", "--yes", "--json").json()["events"] == 1
    assert shop.run("redrive", "--topic", "tc", "--yes", "--json").json()["events"] == 1
    assert shop.status()["held"]["dead"] == 1
    none = shop.run("skip", "--key", "nobody", "--yes", "--json").json()
    assert none["events"] == 0
    both = shop.run("skip", dead["a"], "--all", status=2)
    assert "say which" in both.stderr


def test_a_terminal_is_asked(shop, dead):
    def answer(text):
        leader, follower = pty.openpty()
        run = subprocess.Popen(
            [shop.program.path, "skip", "--all"],
            env=shop.program.environment(),
            stdin=follower,
            stdout=subprocess.DEVNULL,
            stderr=follower,
        )
        os.close(follower)
        os.write(leader, text)
        status = run.wait()
        os.close(leader)
        return status

    assert answer(b"n\n") == 130
    assert shop.status()["held"]["dead"] == 3
    assert answer(b"y\n") == 0
    assert shop.status()["held"]["dead"] == 0


def test_what_cannot_be_redriven(shop):
    event = shop.enqueue()
    failed = shop.run("redrive", event, status=66)
    assert "it is pending" in failed.stderr
    assert f"try: outtray explain {event}" in failed.stderr
    shop.relay("null:")
    assert "it is delivered" in shop.run("skip", event, status=66).stderr


def test_while_a_relay_runs(shop, dead, tmp_path):
    relay = shop.start("relay", "--sink", f"file://{tmp_path}/out")
    relay.wait_for(lambda: shop.status()["state"] == "running")
    done = shop.run("redrive", dead["b"], "--json").json()
    assert done["applied"] is False
    relay.wait_for(lambda: shop.status()["held"]["dead"] == 2)
    relay.wait_for(lambda: delivered(tmp_path / "out") == ["b"])
    shop.run("skip", "--all", "--yes")
    relay.wait_for(lambda: shop.status()["held"]["dead"] == 0)
    relay.stop()
    assert delivered(tmp_path / "out") == ["b"]


def test_pause(shop, tmp_path):
    shop.relay("null:")
    assert "subscription main" in shop.run("pause").stdout
    assert shop.status()["paused"] and shop.status()["state"] == "paused"
    relay = shop.start("relay", "--sink", f"file://{tmp_path}/out")
    relay.wait_for(lambda: shop.status()["owner"])
    shop.enqueue(key="a")
    with pytest.raises(AssertionError):
        relay.wait_for(lambda: shop.status()["pending"] == 0, seconds=2)
    assert shop.run("resume", "--json").json()["applied"] is False
    relay.wait_for(lambda: shop.status()["pending"] == 0)
    shop.run("pause")
    relay.wait_for(lambda: shop.status()["paused"])
    relay.stop()
    shop.run("resume")
    assert shop.status()["paused"] is False


def test_a_mistyped_subscription(shop):
    failed = shop.run("pause", "--subscription", "mian", status=66)
    assert "there is no subscription mian" in failed.stderr


def test_prune(shop):
    shop.load([{"topic": "t", "key": str(n)} for n in range(2500)])
    assert shop.run("prune", "--older-than", "0s", "--json").json()["found"] == 0
    shop.relay("null:", "--prune.enabled", "off")
    assert shop.run("prune", "--json").json()["found"] == 0  # too young
    dry = shop.run("prune", "--older-than", "0s", "--dry-run", "--json").json()
    assert (dry["found"], dry["deleted"], dry["dry_run"]) == (2500, 0, True)
    done = shop.run("prune", "--older-than", "0s", "--json").json()
    assert (done["found"], done["deleted"]) == (2500, 2500)
    assert shop.events() == []


def test_prune_keeps_what_is_held(shop, dead):
    done = shop.run("prune", "--older-than", "0s", "--json").json()
    assert done["deleted"] == 0
    shop.run("skip", dead["a"])
    done = shop.run("prune", "--older-than", "0s", "--json").json()
    assert done["deleted"] == 1
