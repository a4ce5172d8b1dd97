"""The relay dies at every numbered point, as by SIGKILL, while an application
writes; another one takes over; then everything is counted."""

import itertools
import signal
import subprocess
import threading
import time
from datetime import timedelta

import campaign
import psycopg
import pytest
from shop import FileTraffic, connect

# Passed once in the life of a relay, or seldom.
SELDOM = ("load.", "release.", "end.", "abandon.", "fetch.", "commands.", "prune.")
SELDOM += ("sqlite.pruned",)
PASSAGES = (1, 2, 5, 11, 29, 71, 173) if campaign.LONG else (1, 3)
ROUNDS = 3 if campaign.LONG else 1
CHAINS = 3
# The chains share a broker: one must not wake it while another wants it silent.
SILENCE = threading.Lock()


def plan(store):
    """(point, which passage of it) in an order that mixes early and late."""
    deaths = []
    for point in campaign.points_of(store):
        if store == "sqlite" and point.startswith("abandon."):
            continue  # a file is never slow enough to have events under way
        if point.startswith(SELDOM):
            deaths += [(point, 1)] * ROUNDS
        elif point.startswith("lease."):
            deaths += [(point, passage) for passage in (1, 2, 3)[: len(PASSAGES)]]
        else:
            deaths += [(point, passage) for passage in PASSAGES]
    return deaths


def busy_work(shop, traffic, number):
    """What makes the relay hold, fetch and obey: scheduled events, each of a
    key of its own, and commands."""
    if isinstance(traffic, FileTraffic):
        now = int(time.time() * 1e6)
        command = "INSERT INTO outtray_command (subscription, verb, asked_at) VALUES"
        with connect(shop.file) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for i in range(4):
                key = f"s{number}.{i}"
                connection.execute("INSERT INTO ledger VALUES (?, 0)", [key])
                traffic.event(connection, key, deliver_at=now + (i + 1) * 600000)
            connection.execute(f"{command} ('main', 'resume', {now})")
            connection.execute("COMMIT")
        connection.close()
        return
    with psycopg.connect(shop.url) as connection:
        now = connection.execute("SELECT now()").fetchone()[0]
        for i in range(4):
            key = f"s{number}.{i}"
            connection.execute("INSERT INTO ledger VALUES (%s, 0)", [key])
            soon = now + timedelta(seconds=(i + 1) * 0.6)
            traffic.event(connection, key, deliver_at=soon)
        connection.execute(
            "INSERT INTO outtray.command (subscription, verb) VALUES ('main', 'resume')"
        )


def provoke(shop, relay, point):
    """Some points are passed only when the relay is asked to end, or slept
    through the end of its lease with events under way."""
    if point.startswith(("release.", "end.", "abandon.")):
        relay.wait_for(lambda: "relaying from" in relay.stderr)
    if point.startswith(("release.", "end.")):
        relay.send(signal.SIGTERM)
    elif point.startswith("abandon."):
        for _ in range(10):
            shop.moved(relay)
            if dies_of_a_long_sleep(shop, relay):
                break


def dies_of_a_long_sleep(shop, relay):
    """Does it abandon events after its lease has ended? Not if by chance none
    was under way: its topic may just be refused."""
    with SILENCE:
        shop.node.pause()
        try:
            time.sleep(0.5)
            relay.send(signal.SIGSTOP)
            time.sleep(1.2)
            relay.send(signal.SIGCONT)
            relay.popen.wait(10)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            shop.node.resume()


def die_in_turn(shop, deaths):
    with shop.traffic(pause=0.004) as traffic:
        for number, (point, passage) in enumerate(deaths):
            busy_work(shop, traffic, number)
            at = f"{point}:{passage}"
            relay = shop.relay(*campaign.OPTIONS, env={"OUTTRAY_CRASH_AT": at})
            provoke(shop, relay, point)
            campaign.awaits_end(relay, point)
        tally = campaign.settled(shop, traffic, len(deaths))
    print(f"{len(deaths)} kills at points: {tally}")


@pytest.mark.timeout(1800 if campaign.LONG else 900)
@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_a_relay_that_dies_at_any_point(shop, store):
    deaths = plan(store)
    chains = campaign.Chains()
    for number in range(CHAINS):
        chains.start(die_in_turn, shop(store), deaths[number::CHAINS])
    chains.join()


@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_a_migration_that_dies_at_any_point(program, pg, store, tmp_path):
    """init is one transaction: there is an outbox, or there is nothing."""
    outtray = program()
    for number in itertools.count(1):
        if store == "postgres":
            options = ("--store", pg.url, "--outbox", f"o{number}")
        else:
            options = ("--store", f"sqlite:{tmp_path}/{number}.db")
        at = {"OUTTRAY_CRASH_AT": str(number)}
        died = outtray.run("init", *options, env=at, status=None)
        again = outtray.run("init", *options, status=None)
        made = "committed" in died.stderr or died.status == 0
        assert (again.status != 0) == made, f"{died}\n{again}"
        outtray.run("enqueue", "t", "x", *options)
        relay = ("relay", "--until-empty", "--sink", "null:")
        outtray.run(*relay, *options)
        if died.status == 0:
            break
        assert died.status == -signal.SIGKILL, str(died)
    assert number > 5, number


def test_every_point_is_somewhere_killed():
    """No point that was added is forgotten."""
    killed = set()
    for store in ("postgres", "sqlite"):
        killed |= {point for point, _ in plan(store)}
    left = campaign.all_points() - killed
    assert {name.split(".")[0] for name in left} <= {"migration", "postgres"}, left
