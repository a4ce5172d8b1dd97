"""What all campaigns share: the numbered points at which a relay can be made
to die (libcore/src/base/crash.h), relays that do, and the bound on what may
come twice."""

import os
import pathlib
import re
import signal
import threading
import time

from lateness import Patience, Promise

ROOT = pathlib.Path(os.environ["OUTTRAY_SOURCE_DIR"])
LONG = bool(os.environ.get("OUTTRAY_TEST_LONG"))

# A killed relay is replaced soon, retention works all the time, and a small
# window makes the bound on duplicates strict.
WINDOW = 500
OPTIONS = (
    *("--set", "relay.lease_ttl_ms=1s"),
    *("--set", f"relay.window_events={WINDOW}"),
    *("--set", "relay.cursor_ms=20"),
    *("--set", "prune.retention_ms=0"),
)
KEPT = (*OPTIONS[:-1], "prune.retention_ms=24h")


def all_points():
    """The names of all points, from the source."""
    names = set()
    for path in (ROOT / "libcore/src").rglob("*.c"):
        source = path.read_text()
        names |= set(re.findall(r'ot_crash_point\("([a-z.]+)"\)', source))
        if "ot_crash_point(names" in source:
            for pair in re.findall(r'\] = \{"([a-z.]+)", "([a-z.]+)"\}', source):
                names |= set(pair)
    assert len(names) > 50, names
    return names


def points_of(store):
    """Those that a relay on this store passes."""
    other = ("sqlite.", "file.") if store == "postgres" else ("postgres.", "kafka.")
    other += ("migration.", "postgres.commit")
    return sorted(name for name in all_points() if not name.startswith(other))


class Dead(Exception):
    pass


def awaits_end(relay, what, seconds=120):
    """It must die by itself, of the signal."""
    try:
        status = relay.popen.wait(seconds)
    except Exception:
        relay.kill()
        raise Dead(f"{what} was not reached\n{relay.stderr[-2000:]}") from None
    if status != -signal.SIGKILL or f"crash point {what}" not in relay.stderr:
        raise Dead(f"{what}: status {status}\n{relay.stderr[-2000:]}")


class Chains:
    """Several shops at once, each with a chain of relays that die."""

    def __init__(self):
        self.errors = []
        self.threads = []

    def start(self, work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException as error:  # told by the main thread
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


class Pack:
    """Relays of one shop, of which some die."""

    def __init__(self, shop, size, dice):
        self.shop, self.dice = shop, dice
        self.relays = [self.start() for _ in range(size)]
        self.kills = self.pauses = self.ends = 0

    def start(self):
        return self.shop.relay(*KEPT)

    def owner(self):
        """Who wrote last that it relays, if it still lives; else anybody."""
        return max(self.relays, key=lambda r: r.stderr.rfind("relaying from"))

    def harm(self):
        """Mostly the owner: the others are only waiting."""
        victim = self.owner() if self.dice.random() < 0.8 else self.relays[0]
        what = self.dice.random()
        if what < 0.7:
            victim.kill()
            self.kills += 1
        elif what < 0.85:
            victim.send(signal.SIGSTOP)  # it wakes up as a zombie
            time.sleep(1.3)
            victim.send(signal.SIGCONT)
            self.pauses += 1
            return
        else:
            ended = victim.stop(20, status=None)
            # Before it has opened what it needs a signal ends it at once.
            early = ended.status == 128 + signal.SIGTERM and not ended.stderr
            assert early or ended.status == 0, str(ended)
            self.ends += 1
        self.relays.remove(victim)
        self.relays.append(self.start())

    def kill_all(self):
        for relay in self.relays:
            relay.kill()


def settled(shop, traffic, kills, seconds=40):
    """A relay that may live brings everything; nothing is lost, invented or
    out of order, and each kill repeated at most a window."""
    traffic.stop()
    last = shop.relay(*KEPT)
    try:
        tally = shop.tally(traffic, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{last.stderr[-3000:]}") from None
    # Before that a signal would end it at once.
    last.wait_for(lambda: "relaying from" in last.stderr)
    last.stop(30)
    return tally.good(duplicates=kills * WINDOW)


def faults_of(kind):
    """What a class can make happen."""
    return [name for name in vars(kind) if not name.startswith("_")]


def rounds(dice, faults, n):
    """Each fault about as often as any other, in random order."""
    order = []
    while len(order) < n:
        some = list(faults)
        dice.shuffle(some)
        order += some
    return order[:n]


def go_on(pack, seconds=60):
    """Somebody relays again in time, and then there is a pause of any length."""
    promise = Promise(seconds)
    pack.shop.moved(pack.relays[-1], seconds)
    said = "\n".join(relay.stderr[-2000:] for relay in pack.relays)
    assert not promise.broken(), f"nobody relays: {promise}\n{said}"
    time.sleep(pack.dice.uniform(0, 0.3))


def until(condition, seconds=20, what="it"):
    patience = Patience(seconds)
    while not condition():
        assert not patience.broken(), f"{what}: not in time: {patience}"
        time.sleep(0.02)
