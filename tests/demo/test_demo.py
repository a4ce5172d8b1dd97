"""The demo: nothing lost, invented or out of order while things are killed."""

import re
import signal

import pytest
from program import on_terminal

BROKEN = ("lost", "ghosts", "out_of_order")


def check(got, kills, outages):
    for promise in BROKEN:
        assert got[promise] == 0, got
    assert got["committed"] > 0
    assert got["delivered"] == got["committed"] + got["duplicates"]
    assert got["relay_kills"] == kills
    assert got["broker_outages"] == outages
    assert got["rolled_back"] > 0
    assert got["savepoints_rolled_back"] > 0
    measured(got)


def measured(got):
    """How fast it was: numbers that make sense, whatever the machine."""
    names = ("seconds", "events_per_s", "p50_ms", "p99_ms")
    assert all(type(got[name]) is float for name in names), got
    assert 0 < got["p50_ms"] <= got["p99_ms"]
    assert got["seconds"] > 0
    pace = got["delivered"] / got["seconds"]
    assert got["events_per_s"] == pytest.approx(pace, rel=1e-6)


def test_sqlite_and_embedded_broker(outtray):
    got = outtray.run("demo", "--json", "-n", "5000", "--kills", "5").json()
    check(got, kills=5, outages=1)


def test_dual_write_loses_under_the_same_kills(outtray):
    got = outtray.run(
        "demo", "--json", "--compare", "-n", "3000", "--kills", "5"
    ).json()
    check(got, kills=5, outages=1)
    dual = got["dual_write"]
    assert set(dual) == set(got) - {"seed", "dual_write"}
    told = outtray.run("help", "demo").stdout.partition("With --json")[2]
    assert set(got) <= set(re.findall(r"\w+", told))
    assert dual["broker_outages"] == 1
    assert dual["lost"] > 0, dual


def test_postgres_and_kafka(outtray, pg, own_kafka):
    server = own_kafka()
    pid = server.nodes[0].process.pid
    got = outtray.run(
        "demo",
        "--json",
        *("--store", pg.url),
        *("--sink", f"kafka://{server.bootstrap}"),
        *("--broker-down", f"kill -STOP {pid}"),
        *("--broker-up", f"kill -CONT {pid}"),
        *("-n", "5000", "--kills", "5"),
    ).json()
    check(got, kills=5, outages=1)
    # It removed what it made.
    left = pg.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'outtray%'")
    assert left == []


def test_progress_fits_a_terminal(outtray):
    seen = on_terminal(outtray, "demo", "-n", "3000", "--kills", "1")
    drawn = [part.partition("\x1b[K")[0] for part in seen.split("\r")]
    drawn = [line for line in drawn if "committed " in line]
    assert any(line.startswith("broker down ") for line in drawn), drawn
    assert [line for line in drawn if not re.search(r" kills \d+$", line)] == []
    assert "records delivered" in seen


def made_by_demo(pg, server):
    """Outboxes and topics that a demo left."""
    from topics import Topics

    found = pg.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'outtray%'")
    topics = Topics(server.bootstrap).admin().list_topics(timeout=20).topics
    return [row[0] for row in found] + [t for t in topics if t.startswith("outtray")]


def test_torture_on_the_servers_of_the_user(outtray, pg, own_kafka):
    server = own_kafka()
    pid = server.nodes[0].process.pid
    servers = ("--store", pg.url, "--sink", f"kafka://{server.bootstrap}")
    pg.query("CREATE SCHEMA outtray; CREATE TABLE outtray.event (mine int)")
    got = outtray.run(
        "demo",
        "--json",
        *("--torture", "25s", "--rate", "400", "--outage", "1s", "--seed", "2"),
        *("--broker-down", f"kill -STOP {pid}"),
        *("--broker-up", f"kill -CONT {pid}"),
        *servers,
    ).json()
    for promise in BROKEN:
        assert got[promise] == 0, got
    assert got["committed"] > 0 and got["broker_outages"] >= 1
    assert got["relay_kills"] > 0 and got["writer_kills"] > 0
    assert got["relay_pauses"] > 0
    assert got["seconds"] >= 25
    measured(got)
    # Of what was there before it took no notice.
    assert made_by_demo(pg, server) == ["outtray"]
    assert pg.query("SELECT * FROM outtray.event") == []
    running = outtray.start("demo", "--torture", "10m", "--rate", "50", *servers)
    running.wait_for(lambda: len(made_by_demo(pg, server)) == 3)
    running.send(signal.SIGINT)
    running.wait(status=130)
    assert made_by_demo(pg, server) == ["outtray"]


@pytest.mark.parametrize("word", ["--kills", "--transactions"])
def test_torture_goes_by_time(outtray, word):
    words = ("demo", "--torture", "5s", "--sink", "kafka://127.0.0.1:1")
    assert "--torture" in outtray.run(*words, word, "3", status=2).stderr


def test_torture_needs_a_broker(outtray):
    done = outtray.run("demo", "--torture", "5s", status=2)
    assert "--sink" in done.stderr and "embedded" in done.stderr


def test_configuration_of_the_environment_is_not_used(outtray, tmp_path):
    """It may name a production database."""
    (tmp_path / "outtray.ini").write_text("[store]\nurl = sqlite:mine.db\n")
    got = outtray.run(
        "demo",
        "--json",
        *("-n", "50", "--kills", "0", "--outage", "0"),
        env={"OUTTRAY_STORE_URL": f"sqlite:{tmp_path}/mine.db"},
    ).json()
    assert got["lost"] == 0
    assert not (tmp_path / "mine.db").exists()


def test_refuses_a_sink_that_it_cannot_read_back(outtray):
    done = outtray.run("demo", "--sink", "stdout:", status=2)
    assert "kafka://" in done.stderr


def test_needs_both_broker_commands(outtray):
    done = outtray.run("demo", "--broker-down", "true", status=2)
    assert "--broker-up" in done.stderr
