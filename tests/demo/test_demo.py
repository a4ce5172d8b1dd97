"""The demo: nothing lost, invented or out of order while things are killed."""

import pytest

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


@pytest.mark.timeout(300)
def test_sqlite_and_embedded_broker(outtray):
    got = outtray.run(
        "demo", "--json", "-n", "5000", "--kills", "5", seconds=240
    ).json()
    check(got, kills=5, outages=1)


@pytest.mark.timeout(300)
def test_dual_write_loses_under_the_same_kills(outtray):
    got = outtray.run(
        "demo", "--json", "--compare", "-n", "3000", "--kills", "5", seconds=240
    ).json()
    check(got, kills=5, outages=1)
    dual = got["dual_write"]
    assert dual["broker_outages"] == 1
    assert dual["lost"] > 0, dual


@pytest.mark.timeout(300)
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
        seconds=240,
    ).json()
    check(got, kills=5, outages=1)
    # It removed what it made.
    left = pg.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'outtray%'")
    assert left == []


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
