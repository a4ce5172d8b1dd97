"""Reads a spec. README.md has the format."""

import math
import os
import random
import re
import shlex

STEP = re.compile(r"(!?)([\w.-]+)(?:\[([^\]]*)\])?")
EVENT = re.compile(r"\{(\w+)((?: +[\w-]+(?:=[^ }]+)?)*)\}")
# More interleavings than the specs ask for.
MORE = int(os.environ.get("OUTTRAY_TEST_INTERLEAVE", "1"))
KINDS = ("session", "relay", "operator")


class Actor:
    """A session, a relay or the operator, and its steps in order."""

    def __init__(self, kind, name, options):
        self.kind = kind
        self.name = name
        self.options = options
        self.steps = []


class Step:
    def __init__(self, actor, name, text):
        self.actor = actor
        self.name = name
        self.text = text
        self.events = [event(m) for m in EVENT.finditer(text)]

    def sql(self, names):
        """The SQL that enqueues where {…} stands."""
        found = iter(self.events)
        text = EVENT.sub(lambda _: next(found).sql(), self.text)
        return fill(text, names)


class Event:
    def __init__(self, label, options):
        self.label = label
        self.key = options.get("key")
        self.topic = options.get("topic", "orders")
        self.how = options.get("how", "function")

    def sql(self):
        """One statement that enqueues the event and says so in a table of the
        test, in the same transaction: what is told there was committed."""
        key = f"'{self.key}'" if self.key else "NULL"
        if self.how == "function":
            enqueue = (
                f"SELECT $outbox.enqueue('{self.topic}', '{self.label}'::text, {key})"
            )
        elif self.how == "insert":
            enqueue = self._insert(f"VALUES ({self._values(key)})")
        else:
            # The lock of strict ordering comes before the number is drawn.
            enqueue = self._insert(
                f"SELECT {self._values('l.key')} FROM (SELECT k.key, "
                "pg_advisory_xact_lock(hashtextextended(k.key, 0)) "
                f"FROM (SELECT {key}::text AS key) k) l"
            )
        return (
            f"WITH e AS ({enqueue}) INSERT INTO said "
            f"SELECT '{self.label}', {key}, '{self.topic}' FROM e"
        )

    def _values(self, key):
        return f"gen_random_uuid(), '{self.topic}', {key}, '{self.label}'::bytea"

    def _insert(self, what):
        return f"INSERT INTO $outbox.event (id, topic, key, payload) {what} RETURNING 1"


def event(match):
    words = dict(w.partition("=")[::2] for w in match[2].split())
    for how in ("insert", "strict"):
        if how in words:
            words["how"] = how
    return Event(match[1], words)


def fill(text, names):
    return re.sub(r"\$(outbox|relay|app|db)\b", lambda m: names[m[1]], text)


class Spec:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        self.guards = ""
        self.own_server = False
        self.settings = {}
        self.setup, self.teardown = [], []
        self.actors = []
        self.steps = {}
        self.orders = []
        self.runs = []
        self.most = 0
        self._parse(path.read_text())

    def _parse(self, text):
        block = None
        text = text.replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                if line[0] == " ":
                    self._inner(block, line.strip())
                else:
                    block = self._outer(line.strip())
            except (ValueError, KeyError) as error:
                raise ValueError(f"{self.path}:{number}: {error}") from error
        if not self.guards:
            raise ValueError(f"{self.path}: what does it guard?")
        if not self.runs and not self.most:
            raise ValueError(f"{self.path}: nothing to run")

    def _outer(self, line):
        word, _, rest = line.partition(" ")
        if word in KINDS:
            name, *options = rest.split() or [word]
            self.actors.append(Actor(word, name, options))
            return self.actors[-1]
        if word in ("setup", "teardown"):
            return getattr(self, word)
        if word == "guards":
            self.guards = rest
        elif word == "server":
            self.own_server = True
            self.settings = dict(w.split("=") for w in shlex.split(rest))
        elif word == "order":
            self.orders.append(rest.split())
        elif word == "run":
            self.runs.append(self._run(rest))
        elif word == "interleave":
            self.most = int(rest) * MORE
        else:
            raise ValueError(f"'{word}'")
        return None

    def _inner(self, block, line):
        if isinstance(block, list):
            block.append(line)
            return
        name, _, text = line.partition(" ")
        if name in self.steps:
            raise ValueError(f"step '{name}' stands twice")
        self.steps[name] = Step(block, name, text.strip() or name)
        block.steps.append(self.steps[name])

    def _run(self, rest):
        found = []
        for later, name, checks in STEP.findall(rest):
            words = [w.partition("=") for w in checks.split()]
            checks = {key: value for key, _, value in words}
            found.append((self.steps[name], checks, bool(later)))
        return found

    def relays(self):
        return [a for a in self.actors if a.kind == "relay"]

    def events(self):
        return [e for s in self.steps.values() for e in s.events]

    def exact(self):
        """Nothing happens in it that allows a duplicate."""
        allowed = {"lease", "read", "ask", "hear", "settle", "write", "poll", "prune"}
        words = {
            s.text.split()[0]
            for s in self.steps.values()
            if s.actor.kind in ("relay", "operator")
        }
        return len(self.relays()) == 1 and not (words - allowed - {"state"})

    def keeps_connections(self):
        """Its relays may have the connections of the permutation before: no
        role has new defaults, and where pruning has been is not remembered."""
        words = {s.text.split()[0] for s in self.steps.values()}
        return not (self.setup or self.own_server or "prune" in words)

    def interleavings(self):
        """Orders of all steps in which each actor's keep theirs; at most so
        many as the spec asks for, drawn evenly, always the same."""
        lists = [actor.steps for actor in self.actors if actor.steps]
        total = math.factorial(sum(map(len, lists)))
        for one in lists:
            total //= math.factorial(len(one))
        if total <= self.most:
            return list(merges(lists))
        draw = random.Random(self.name)
        tags = [i for i, one in enumerate(lists) for _ in one]
        found = {}
        while len(found) < self.most:
            draw.shuffle(tags)
            left = [iter(one) for one in lists]
            found.setdefault(tuple(tags), [next(left[tag]) for tag in tags])
        return list(found.values())


def merges(lists):
    lists = [one for one in lists if one]
    if not lists:
        yield []
    for i, one in enumerate(lists):
        rest = [*lists[:i], one[1:], *lists[i + 1 :]]
        for order in merges(rest):
            yield [one[0], *order]


def load(folder):
    return [Spec(path) for path in sorted(folder.glob("*.spec"))]


def wanted(topics, topic):
    """Does a relay's filter let a topic through?"""
    terms = topics.split(",") if topics else ["*"]
    return any(
        topic.startswith(t[:-1]) if t.endswith("*") else t == topic for t in terms
    )
