"""A relay whose connection a test takes away and gives back, and what it has to
show for it: nothing lost, no order broken, progress soon after the cure, and
each change of state said once."""

import concurrent.futures
import contextlib
import json
import os
import re
import time
from collections import Counter

import process
import psycopg
import pytest
from fault_proxy import FaultProxy
from lateness import Patience, Promise
from program import Program
from shop import Line, Shop
from topics import Topics
from traffic import Tally, Traffic

# Seconds from the cure to the first new event, and from the cause to the word
# about it.
PROMISED = 5
# Nothing may move while a cause lasts; what is under way may still arrive, until
# nothing came for so long. The traffic does not pause that long by itself.
SETTLE = 0.7
READY = 60


def ends_told(lines):
    """How often a relay said that a trouble was over."""
    return sum(" is over after " in one or " answers again" in one for one in lines)


class Case:
    """One cause: an outbox, a relay on it, and what is in between."""

    def __init__(self, name, path, folder):
        self.name = "".join(c if c.isalnum() else "_" for c in name)[:40]
        folder = folder / self.name
        folder.mkdir(parents=True)
        self.program = Program(path, folder)
        self.stack = contextlib.ExitStack()
        self.relay = None
        self.took = None  # from the cure to the first new event
        self.noticed = None  # from the cause to the word about it

    def query(self, sql, *parameters, url=None):
        return Shop.query(self, sql, *parameters, url=url)

    def start(self, *options, prefix=()):
        words = ("relay", "--log.format", "json", *options)
        program = self.program
        if prefix:
            program = Program(prefix[0], self.program.folder)
            program.env = self.program.env
            words = (*prefix[1:], self.program.path, *words)
        self.relay = program.start(*words)
        self.stack.callback(program.stop_all)
        self.relay.wait_for(lambda: self.count() > 20, READY)

    def lines(self):
        """What it said, as (level, text)."""
        found = []
        for line in self.relay.stderr.splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                found.append((said["level"], said["text"]))
        return found

    def promised(self, condition):
        """It becomes true in time; returns how long it took."""
        promise = Promise(PROMISED, others=3)
        self.relay.wait_for(condition, 60)
        took = promise.took()
        assert not promise.broken(), f"{promise}\n{self.relay.stderr[-3000:]}"
        return took

    def notices(self):
        """The trouble is told soon after it began."""
        trouble = re.compile("^(store|refused|sink|breaker): |^no broker of")
        self.noticed = self.promised(
            lambda: any(trouble.match(text) for _, text in self.lines())
        )

    def stands(self, seconds):
        """It comes to a stand, and then nothing arrives for so long."""
        patience = Patience(5)
        before, since = self.count(), time.monotonic()
        while time.monotonic() < since + SETTLE:
            time.sleep(0.05)
            now = self.count()
            if now != before:
                before, since = now, time.monotonic()
            assert not patience.broken(), f"it does not stand still: {patience}"
        time.sleep(seconds)
        assert self.count() == before, f"{self.count() - before} events came"

    def flows(self, seconds, most=9):
        """Events arrive all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self.count()
            self.relay.wait_for(lambda n=before: self.count() > n, most)

    def recovers(self):
        """From now on events arrive again."""
        before = self.count()
        self.took = self.promised(lambda: self.count() > before + 2)

    def good(self, said=2):
        """Everything arrived, in order; and nothing was said twice."""
        self.traffic.stop()
        self.traffic.drained(60)
        tally = self.tally().good()
        told = Counter(
            text.partition(" for ")[0]
            for level, text in self.lines()
            if level in ("warn", "error")
        )
        # Each time that it was over it may come again.
        said = max(said, 1 + ends_told(text for _, text in self.lines()))
        assert max(told.values(), default=0) <= said, told
        assert len(self.lines()) <= 20, self.relay.stderr
        return tally

    def close(self):
        if self.relay is not None and self.relay.alive():
            self.relay.kill()
        self.traffic.stop()
        self.stack.close()


class DatabaseCase(Case):
    """The database is on the other side; events go to a file."""

    def __init__(self, name, path, folder, server, proxied=True):
        super().__init__(name, path, folder)
        self.server = server
        self.database = f"d{os.urandom(4).hex()}"
        self.role = f"r{self.database}"
        self.url = server.url.rpartition("/")[0] + "/" + self.database
        self.query(f"CREATE DATABASE {self.database}", url=server.url)
        self.query(f"CREATE ROLE {self.role} LOGIN PASSWORD 'right'", url=server.url)
        self.out = self.program.folder / "out"
        self.proxy = FaultProxy(("127.0.0.1", server.port)) if proxied else None
        if proxied:
            self.stack.callback(self.proxy.close)
        port = self.proxy.port if proxied else server.port
        self.program.run("init", "--store", self.url, "--relay-role", self.role)
        self.program.env = {
            "OUTTRAY_STORE_URL": self.relay_url(port),
            "OUTTRAY_SINK_URL": f"file://{self.out}",
        }
        self.traffic = Traffic(self.url, "orders", keys=10, writers=1, pause=0.05)
        self.traffic.__enter__()

    def relay_url(self, port, host="127.0.0.1"):
        return f"postgresql://{self.role}:right@{host}:{port}/{self.database}"

    def admin(self, sql, *parameters):
        return self.query(sql, *parameters, url=self.server.url)

    def terminate(self, whom="usename"):
        """End the sessions of the relay, or of all in the database
        (datname)."""
        name = self.role if whom == "usename" else self.database
        self.admin(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {whom} = %s",
            name,
        )

    def relay_pids(self):
        """The same, from the titles of processes: the server need not
        answer."""
        return [
            one.pid
            for one in self.server.process.tree()
            if f" {self.role} {self.database} " in process.command_line(one.pid)
        ]

    def backends(self):
        """Processes that serve the relay."""
        rows = self.admin(
            "SELECT pid FROM pg_stat_activity WHERE usename = %s", self.role
        )
        return [pid for (pid,) in rows]

    def count(self):
        with contextlib.suppress(FileNotFoundError):
            return self.out.read_bytes().count(b"\n")
        return 0

    def tally(self):
        lines = self.out.read_text().splitlines()
        return Tally(self.traffic.truth(), [Line(line) for line in lines])


class BrokerCase(Case):
    """The broker is on the other side, behind a proxy for each node; the
    database is at hand."""

    def __init__(self, name, path, folder, server, cluster, number):
        super().__init__(name, path, folder)
        self.cluster, self.node = cluster, cluster.nodes[0]
        self.kafka = Topics(cluster.bootstrap)
        self.looking = None
        self.url = server.url.rpartition("/")[0] + f"/d{os.urandom(4).hex()}"
        self.query("CREATE DATABASE " + self.url.rpartition("/")[2], url=server.url)
        self.proxies, url = cluster.proxies(number)
        self.proxy = self.proxies[0]
        for proxy in self.proxies:
            self.stack.callback(proxy.close)
        self.program.run("init", "--store", self.url)
        self.program.env = {"OUTTRAY_STORE_URL": self.url, "OUTTRAY_SINK_URL": url}
        self.topic = self.make_topic()
        self.traffic = Traffic(self.url, self.topic, keys=10, writers=1, pause=0.05)
        self.traffic.__enter__()

    def make_topic(self, name=None):
        """Made, and each partition has a leader that knows it is one."""
        name = self.kafka.topic(name=name, replicas=len(self.cluster.nodes))
        self.kafka.ready(name)
        return name

    def count(self):
        """What the relay knows to be delivered."""
        if self.looking is None:
            self.looking = psycopg.connect(self.url, autocommit=True)
            self.stack.callback(self.looking.close)
        return self.looking.execute(
            "SELECT coalesce(max(position), 0) - (SELECT count(*) FROM outtray.held)"
            " FROM outtray.cursor"
        ).fetchone()[0]

    def tally(self):
        return self.traffic.tally(self.kafka)


def play(cause, make):
    """None, or why the case that make(cause) gives is no good."""
    case = None
    try:
        case = make(cause)
        case.start(*getattr(cause, "options", ()))
        for _ in cause(case):
            case.recovers()
        tally = case.good()
        noticed = "" if case.noticed is None else f", noticed in {case.noticed:.1f} s"
        print(f"{cause.__name__}: {case.took:.1f} s{noticed}; {tally}")
        return None
    except BaseException as error:
        said = case.relay.stderr if case is not None and case.relay else ""
        return AssertionError(f"{type(error).__name__}: {error}\n{said}")
    finally:
        if case is not None:
            case.close()


def play_all(causes, make, at_once=10):
    """{cause: None, or what was wrong}"""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        played = pool.map(lambda cause: play(cause, make), causes)
        return dict(zip(causes, played))


@pytest.mark.timeout(900)
def test_cause(played, cause):
    """Of the modules that import it; see tests/relay/conftest.py."""
    if played[cause] is not None:
        raise played[cause]
