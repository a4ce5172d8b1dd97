"""The disk of the database gets full, or its power is cut while applications
write that do not wait for the disk. What was published must be there
afterwards; a reader that does not care is the proof that it need not be."""

import contextlib
import random
import signal
import sqlite3
import threading
import time

import campaign
import disk
import process
import psycopg
import pytest
from hostile import HastyTraffic
from outage import DatabaseCase
from pg_server import Postgres
from process import Process
from shop import FileShop, connect

CUTS = 25 if campaign.LONG else 3

pytestmark = pytest.mark.skipif(
    not disk.available(), reason="a disk of its own needs root and loop devices"
)


@pytest.fixture
def drive(open_path):
    made = []

    def make(megabytes):
        made.append(disk.Disk(open_path, megabytes))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Careless:
    """A relay as people write it: what is visible is published."""

    def __init__(self, read):
        self.read, self.seen = read, set()
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(sqlite3.Error, psycopg.Error):
            for found in self.read(self.ending):
                self.seen |= found

    def stop(self):
        self.ending.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


def read_file(file):
    def read(ending):
        with contextlib.closing(connect(file)) as connection:
            last = 0
            while not ending.wait(0.001):
                rows = connection.execute(
                    "SELECT seq, id FROM outtray_event WHERE seq > ?", [last]
                ).fetchall()
                last = max([last, *(seq for seq, _ in rows)])
                yield {event for _, event in rows}

    return read


def read_server(url):
    def read(ending):
        with psycopg.connect(url, autocommit=True) as connection:
            last = 0
            while not ending.wait(0.001):
                rows = connection.execute(
                    "SELECT seq, id::text FROM outtray.event WHERE seq > %s", [last]
                ).fetchall()
                last = max([last, *(seq for seq, _ in rows)])
                yield {event for _, event in rows}

    return read


def freeze(processes):
    """A cut stops the machine as well. And ext4 that was shut down may tell one
    who is in the middle of fsync that all went well."""
    for one in processes:
        one.send(signal.SIGSTOP)
    for one in processes:
        campaign.until(lambda o=one: (process.stat(o.pid) or "T")[0] in "TZ")


@pytest.mark.timeout(1800 if campaign.LONG else 900)
def test_power_cuts_under_sqlite(program, drive):
    drive = drive(64)
    shop = FileShop(program(), drive.path)
    traffic, gone = None, []
    for number in range(CUTS + 1):
        # In the first round nobody publishes: what the control would have is
        # lost, or the cuts prove nothing.
        traffic = shop.traffic(again=number > 0)
        drive.sync()
        with traffic:
            careless = Careless(read_file(shop.file))
            if number == 0:
                traffic.run(100)
            else:
                relay = shop.relay(*campaign.KEPT)
                shop.moved(relay, 60)
                time.sleep(random.uniform(0, 0.3))
                freeze([Process(relay.pid)])
            drive.cut_power()
            if number > 0:
                relay.kill()
        careless.stop()
        drive.restore_power()
        gone.append(len(careless.seen - set(traffic.truth())))
    tally = campaign.settled(shop, traffic, CUTS)
    print(f"{CUTS} power cuts: events seen and gone {gone}; {tally}")
    assert gone[0] > 0


class ServerOnDisk:
    """A PostgreSQL whose files can vanish from under it."""

    def __init__(self, drive):
        self.drive = drive
        settings = {"fsync": "on", "wal_writer_delay": "10s"}
        self.server = Postgres(drive.path / "pg", settings=settings)
        self.start()

    def start(self):
        self.server.start()
        self.running = self.server.process

    def kill(self):
        for one in self.running.tree():
            one.send(signal.SIGKILL)
        assert self.running.wait(60)

    def cut_power(self):
        freeze(self.running.tree())
        self.drive.cut_power()

    def restore_power(self):
        self.kill()
        self.drive.restore_power()
        self.start()


@pytest.mark.timeout(1800 if campaign.LONG else 900)
def test_power_cuts_under_postgresql(program, drive, tmp_path):
    machine = ServerOnDisk(drive(320))
    case = DatabaseCase("cuts", program().path, tmp_path, machine.server, proxied=False)
    case.traffic.stop()
    hasty = f"ALTER DATABASE {case.database} {{}} synchronous_commit"
    case.admin(hasty.format("SET") + " = off")
    machine.drive.sync()
    gone = []
    try:
        for number in range(CUTS + 1):
            case.traffic = HastyTraffic(
                case.url, "orders", keys=10, writers=4, again=True
            )
            with case.traffic as traffic:
                careless = Careless(read_server(case.url))
                if number == 0:
                    traffic.run(100)
                else:
                    relay = case.program.start("relay", *campaign.KEPT)
                    before = case.count()
                    relay.wait_for(lambda n=before: case.count() > n + 50, 60)
                    time.sleep(random.uniform(0, 0.3))
                    freeze([Process(relay.pid)])
                machine.cut_power()
                if number > 0:
                    relay.kill()
                machine.kill()
            careless.stop()
            machine.restore_power()
            if number == 0:
                case.admin(hasty.format("RESET"))
            gone.append(len(careless.seen - set(traffic.truth())))
        relay = case.program.start("relay", *campaign.KEPT)
        case.traffic.drained(60)
        relay.stop()
        tally = case.tally().good(duplicates=CUTS * campaign.WINDOW)
        print(f"{CUTS} power cuts: events seen and gone {gone}; {tally}")
        assert gone[0] > 0
    finally:
        case.close()
        machine.kill()


def test_a_full_disk_under_sqlite(program, drive):
    """It stays full for a while; then everything goes on."""
    drive = drive(16)
    shop = FileShop(program(), drive.path)
    with shop.traffic() as traffic:
        relay = shop.relay(*campaign.KEPT)
        for _ in range(2):
            shop.moved(relay, 60)
            drive.fill()
            campaign.until(lambda: traffic.failed, 60, "a full disk")
            time.sleep(1)
            assert relay.alive(), relay.stderr
            drive.clear()
            traffic.failed = None
            shop.moved(relay, 60)
        relay.kill()
    tally = campaign.settled(shop, traffic, 1)
    print(f"a full disk: {tally}")
