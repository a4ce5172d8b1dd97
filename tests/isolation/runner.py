"""Runs the permutations of a spec, and checks after each what must be true
after any: [INV-1] [INV-2] [INV-3], no gap open, the position at the end."""

import select
import time

from spec import fill, wanted
from world import PATIENCE, Failed

RESTS_AFTER = 60  # polls


class Told:
    """What became of an event, in the time of the runner."""

    def __init__(self, event, session, place):
        self.event = event
        self.session = session
        self.place = place  # (start of its step, place in it)
        self.transaction = None
        self.committed = None  # when its transaction had certainly ended


class Permutation:
    def __init__(self, world, spec):
        self.world = world
        self.spec = spec
        self.names = world.names()
        self.trace = []
        self.sent = []  # labels, as they were published
        self.acknowledged = set()
        self.waiting = {}  # actor: its step that is blocked
        self.tick = 0
        self.told = []
        self.transactions = {}  # session: its number of transactions
        self.peers = {}
        self.failed = False

    # --- steps ---------------------------------------------------------------

    def start(self):
        self.world.reset()
        for line in self.spec.setup:
            self.world.query(fill(line, self.names))
        for actor in self.spec.actors:
            if actor.kind == "session":
                self.peers[actor] = session = self.world.session(actor.name)
                self.transactions[actor] = 0
                if "as" in actor.options:
                    role = self.names[actor.options[1]]
                    session.send(f"SET SESSION AUTHORIZATION {role}")
                    self._until_done(session)
            elif actor.kind == "relay":
                self.peers[actor] = self.world.relay(
                    actor.name, " ".join(actor.options)
                )

    def step(self, step, checks=None):
        """Begin a step, and wait until it has ended or is blocked."""
        actor = step.actor
        self.tick += 1
        if actor.kind == "operator":
            self.trace.append(f"{step.name}")
            self._operate(step)
            return
        peer = self.peers[actor]
        if actor.kind == "relay" and step.text in ("start", "crash"):
            self._life(actor, step)
            return
        for place, event in enumerate(step.events):
            told = Told(event, actor, (self.tick, place))
            told.transaction = (actor, self.transactions[actor])
            self.told.append(told)
        if actor.kind == "session":
            peer.send(step.sql(self.names))
        else:
            peer.send(step.text)
        if self._settles(actor, peer):
            self._ended(step, checks)
        else:
            self.waiting[actor] = step
            self.trace.append(f"{step.name} <blocked>")
            if checks is not None and "blocked" not in checks:
                raise Failed(f"{step.name} is blocked")
        self.look()

    def look(self):
        """Take in what blocked steps have come to."""
        for actor, step in list(self.waiting.items()):
            if self._settles(actor, self.peers[actor]):
                del self.waiting[actor]
                self._ended(step, None)

    def _settles(self, actor, peer):
        """True: it ended. False: it is blocked."""
        end = time.monotonic() + PATIENCE
        pause = 0.004
        while not peer.done():
            if not select.select([peer.fd], [], [], pause)[0]:
                if self.world.blocked(peer) and not peer.done():
                    return False
                pause = min(pause * 2, 0.1)
            if time.monotonic() > end:
                raise Failed(f"{actor.name} neither ends nor is blocked")
        return True

    def _until_done(self, peer):
        while not peer.done():
            select.select([peer.fd], [], [], 1)

    def _ended(self, step, checks):
        actor, peer = step.actor, self.peers[step.actor]
        answer = dict(peer.answer)
        self.tick += 1
        if actor.kind == "relay":
            self._publish(answer)
            shown = " ".join(f"{k}={v}" for k, v in answer.items() if v)
        else:
            shown = answer["error"] or answer["value"] or ""
            self._transaction(actor, peer, step)
            self._judge_error(step, answer, checks)
        self.trace.append(f"{step.name} -> {shown}" if shown else step.name)
        step.answer = answer
        self.check(step, checks)

    def _publish(self, answer):
        self.sent += filter(None, answer["sent"].split(","))
        self.acknowledged |= set(filter(None, answer["ok"].split(",")))

    def _transaction(self, actor, peer, step):
        if not peer.idle():
            return
        for told in self.told:
            mine = told.transaction == (actor, self.transactions[actor])
            if mine and "PREPARE TRANSACTION" not in step.text:
                told.committed = self.tick
        self.transactions[actor] += 1

    def _judge_error(self, step, answer, checks):
        if checks is not None and "error" in checks:
            return
        if answer["error"][:2] in ("42", "22", "XX", "3F", "58"):
            raise Failed(f"{step.name}: {answer['text']}")
        if answer["error"] and checks is not None:
            raise Failed(f"{step.name}: {answer.get('text')}")

    def check(self, step, checks):
        for key, value in (checks or {}).items():
            if key == "blocked":
                raise Failed(f"{step.name} is not blocked")
            found = step.answer.get(key) or ""
            fits = value in found if key == "error" and value else found == value
            if not fits:
                raise Failed(f"{step.name}: {key} is '{found}', not '{value}'")

    def _life(self, actor, step):
        self.trace.append(step.name)
        relay = self.peers[actor]
        relay.crash()
        if step.text == "start":
            relay.open(self.world.relay_url, self.world.outbox, " ".join(actor.options))

    # --- the operator --------------------------------------------------------

    def _operate(self, step):
        world = self.world
        verb, *words = step.text.split()
        if verb == "expire":
            world.query(
                f"UPDATE {world.outbox}.cursor SET lease_expires_at = "
                "clock_timestamp() - interval '1 s'"
            )
        elif verb == "disconnect":
            peer = next(p for a, p in self.peers.items() if a.name == words[0])
            for pid in peer.pids(world):
                world.query(f"SELECT pg_terminate_backend({pid}, 50000)")
        elif verb == "kill":
            world.kill_backend(world.session(words[0]).pid)
            self._forget_sessions()
        elif verb == "freeze":
            world.freeze(words[0])
        elif verb == "restart":
            world.restart(kill="hard" in words)
            self._forget_sessions()
        elif verb == "sql":
            world.query(fill(step.text[4:], self.names))
        else:
            raise ValueError(f"operator: {verb}")
        self.look()

    def _forget_sessions(self):
        for actor, peer in self.peers.items():
            if actor.kind == "session":
                if actor in self.waiting:
                    self._until_done(peer)
                    del self.waiting[actor]
                peer.open()
                self.transactions[actor] += 1

    # --- the end -------------------------------------------------------------

    def finish(self):
        """End all sessions, poll until nothing moves, and judge."""
        self._end_sessions()
        self.world.undo_prepared()
        relay = self._owner()
        self.trace.append(f"-- at the end, by {relay.name}")
        answer = self._rest(relay)
        self._judge(answer)

    def _end_sessions(self):
        end = time.monotonic() + PATIENCE
        ended = set()
        while len(ended) < len(self.peers):
            self.look()
            for actor, peer in self.peers.items():
                if actor in self.waiting or actor in ended:
                    continue
                if actor.kind == "session":
                    peer.send("ROLLBACK; RESET SESSION AUTHORIZATION; RESET ALL")
                    self._until_done(peer)
                ended.add(actor)
            if time.monotonic() > end:
                names = ", ".join(a.name for a in self.waiting)
                raise Failed(f"blocked for ever: {names}")

    def _owner(self):
        """The relay that has the lease; without one, the last takes it."""
        has = self.world.query(
            f"SELECT fence FROM {self.world.outbox}.cursor WHERE owner IS NOT NULL"
        )
        last = None
        for actor, peer in self.peers.items():
            if actor.kind != "relay" or not peer.opened:
                continue
            state = peer.ask("state")
            if state["done"] == "1":
                continue
            last = peer
            if has and state["fence"] == has[0][0]:
                return peer
        if has:
            self.world.query(
                f"UPDATE {self.world.outbox}.cursor SET lease_expires_at = "
                "clock_timestamp() - interval '1 s'"
            )
        if last:
            return last
        actor = self.spec.relays()[-1]
        return self.world.relay(actor.name, " ".join(actor.options))

    def _rest(self, relay):
        for _ in range(RESTS_AFTER):
            answer = relay.ask("poll")
            self._publish(answer)
            quiet = not any(answer[k] for k in ("got", "gaps", "error"))
            quiet &= answer["lease"] != "refused" and answer["fence"] != "0"
            shown = " ".join(f"{k}={v}" for k, v in answer.items() if v)
            self.trace.append(f"poll -> {shown}")
            if quiet and answer["window"] == "0":
                return answer
        raise Failed("the relay does not come to rest")

    def _judge(self, answer):
        outbox = self.world.outbox
        topics = self._topics()
        rows = self.world.query("SELECT label, topic FROM said")
        committed = {label for label, topic in rows if wanted(topics, topic)}
        published = set(self.sent)
        if lost := committed - self.acknowledged:
            raise Failed(f"lost: {sorted(lost)} [INV-1]")
        if ghosts := published - committed:
            raise Failed(f"published, not committed: {sorted(ghosts)} [INV-2]")
        if self.spec.exact() and len(self.sent) != len(published):
            raise Failed(f"published twice: {self.sent}")
        self._judge_order(committed)
        gaps = self.world.query(f"SELECT first, last FROM {outbox}.gap")
        if gaps:
            raise Failed(f"gaps in the database: {gaps}")
        top = self.world.query(
            f"SELECT position, (SELECT coalesce(max(seq), 1) FROM {outbox}.event) "
            f"FROM {outbox}.cursor"
        )[0]
        if int(top[0]) < int(top[1]) or top[0] != answer["read"]:
            raise Failed(f"position {top[0]}, last event {top[1]}, read {answer}")

    def _topics(self):
        for word in self.spec.relays()[-1].options:
            if word.startswith("topics="):
                return word[7:]
        return ""

    def _judge_order(self, committed):
        first = {}
        for place, label in enumerate(self.sent):
            first.setdefault(label, place)
        for before, after in [*self.spec.orders, *self._causes()]:
            if before in committed and after in committed:
                if first[before] > first[after]:
                    raise Failed(f"{after} before {before}: {self.sent} [INV-3]")

    def _causes(self):
        """Pairs of one key of which the first was committed before the second
        was begun, or which one transaction wrote in this order."""
        for a in self.told:
            for b in self.told:
                if a.event.key is None or a.event.key != b.event.key or a is b:
                    continue
                together = a.transaction == b.transaction and a.place < b.place
                after = a.committed is not None and a.committed < b.place[0]
                if together or after:
                    yield a.event.label, b.event.label


def run_given(world, spec, given, blind=False):
    """A permutation that the spec spells out, with what it expects (blind:
    only the invariants are checked)."""
    one = Permutation(world, spec)
    if blind:
        given = [(step, None, later) for step, _, later in given]
    with_trace(one, lambda: play_given(one, given))


def play_given(one, given):
    one.start()
    for step, checks, later in given:
        if not later:
            one.step(step, checks)
        elif checks and step in one.waiting.values():
            raise Failed(f"{step.name} is still blocked")
        else:
            one.check(step, checks)
    one.finish()


def run_order(world, spec, order):
    """An interleaving. The steps of an actor that is blocked come later."""
    one = Permutation(world, spec)
    with_trace(one, lambda: play_order(one, order))


def play_order(one, order):
    one.start()
    left = list(order)
    while left:
        step = next((s for s in left if s.actor not in one.waiting), None)
        if step is None:
            one.look()
            if len(one.waiting) == len({s.actor for s in left}):
                break  # all that is left waits for the end of the others
            continue
        left.remove(step)
        one.step(step)
    one.finish()


def with_trace(one, play):
    try:
        one.failed = True  # until it has ended well
        play()
        one.failed = False
    except Failed as failed:
        trace = "\n    ".join(one.trace)
        raise Failed(f"{one.spec.name}: {failed}\n    {trace}") from None
    finally:
        clean(one)


def clean(one):
    # Sessions first: a relay may be waiting for them.
    for actor, peer in one.peers.items():
        if actor.kind == "session" and (one.failed or not peer.idle()):
            peer.renew(one.world)
    if one.failed:
        one.world.undo_prepared()
    for actor, peer in one.peers.items():
        if actor.kind == "relay":
            peer.crash(keep=not one.failed and one.spec.keeps_connections())
    for line in one.spec.teardown:
        one.world.query(fill(line, one.names))
