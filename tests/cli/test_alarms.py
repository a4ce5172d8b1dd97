"""The alarms of docs/operations.md: each rings for its trouble, and no other."""

import pathlib
import re
import sqlite3

import pytest
from database import Database

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "docs/examples/operations"
RULE = re.compile(r"- alert: Outtray(\w+)\n +expr: (.+)\n")
EXPRESSION = re.compile(
    r'(?P<name>\w+)(?:\{(?P<label>\w+)(?P<how>!?=)"(?P<text>\w+)"\})?'
    r" (?P<op>>|==) (?P<number>\d+)"
)
SAMPLE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)+)\} ([-+.e\d]+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text):
    """[(name, labels, value)]; each metric is declared once, before its own."""
    found, declared = [], []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            declared.append(line.split()[2])
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {declared[-1]} gauge"
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name == declared[-1]
            found.append((name, dict(LABEL.findall(labels)), float(value)))
    assert len(set(declared)) == len(declared)
    return found


def holds(rule, labels, value):
    if rule["label"]:
        same = labels[rule["label"]] == rule["text"]
        if same != (rule["how"] == "="):
            return False
    number = float(rule["number"])
    return value > number if rule["op"] == ">" else value == number


class Alarms:
    def __init__(self, shop):
        self.shop = shop

    def of_rules(self):
        """Those of Prometheus, if what they say lasted."""
        metrics = samples(self.shop.run("status", "--metrics").stdout)
        ringing = set()
        for alert, text in RULE.findall((EXAMPLES / "alarms.yml").read_text()):
            if alert == "NotMeasured":  # of the file's age, which node exporter has
                continue
            rule = EXPRESSION.fullmatch(text)
            assert rule, text
            named = [one for one in metrics if one[0] == rule["name"]]
            assert named, f"no metric {rule['name']}"
            if any(holds(rule, *one[1:]) for one in named):
                ringing.add(alert)
        return ringing

    def of_sql(self):
        text = (EXAMPLES / "alarms.sql").read_text()
        # A stall need not last here.
        text, changed = re.subn("interval '1 minute'", "interval '0'", text)
        assert changed == 1
        return {alarm for _, alarm, _ in Database(self.shop.url).query(text)}

    def ring(self, *wanted):
        """Both say just that."""
        assert self.of_rules() == {words.title().replace(" ", "") for words in wanted}
        if "postgresql" in self.shop.url:
            assert self.of_sql() == set(wanted)

    def age(self):
        """All events are ten minutes older."""
        if "postgresql" in self.shop.url:
            Database(self.shop.url).query(
                "UPDATE outtray.event SET created_at = created_at - interval '10 min'"
            )
            return
        with sqlite3.connect(self.shop.url.removeprefix("sqlite://")) as conn:
            conn.execute("UPDATE outtray_event SET created_at = created_at - 600000000")


@pytest.fixture
def alarms(shop):
    return Alarms(shop)


def relay(shop, sink):
    running = shop.start("relay", "--sink", sink)
    running.wait_for(lambda: shop.status()["state"] in ("running", "stalled"))
    return running


def test_nothing_is_wrong(shop, alarms):
    shop.enqueue()
    running = relay(shop, "null:")
    running.wait_for(lambda: shop.status()["pending"] == 0)
    alarms.ring()
    running.stop()


def test_no_relay_late_paused(shop, alarms):
    shop.relay("null:")  # makes the subscription
    shop.enqueue()
    alarms.ring("no relay")
    alarms.age()
    alarms.ring("no relay", "late")
    shop.run("pause")
    running = shop.start("relay", "--sink", "null:")
    running.wait_for(lambda: shop.status()["owner"])
    alarms.ring("paused", "late")
    running.stop()


def test_dead(shop, alarms):
    shop.enqueue()
    running = relay(shop, "fault:?script=reject")
    running.wait_for(lambda: shop.status()["held"]["dead"] == 1)
    alarms.ring("dead")
    running.stop()


def test_stalled(shop, alarms):
    shop.enqueue()
    running = relay(shop, "fault:?script=unavailable:60min")
    running.wait_for(lambda: shop.status()["state"] == "stalled")
    alarms.ring("stalled")
    running.stop()


@pytest.mark.parametrize("store_url", ["pg"], indirect=True)
def test_a_watcher_sees_all_and_reads_no_event(shop, pg):
    """With the rights that docs/operations.md gives, whatever is held."""
    shop.enqueue("nowhere")
    running = shop.start("relay", "--sink", "fault:?script=misconfigured@topic=nowhere")
    running.wait_for(lambda: shop.status()["held"]["waiting"] == 1)
    role = f"watch_{pg.url.rpartition('/')[2]}"
    pg.query(f"CREATE ROLE {role} LOGIN")
    page = (EXAMPLES.parents[1] / "operations.md").read_text()
    for grant in re.findall(r"^GRANT .* TO shop_watch;$", page, re.M):
        pg.query(grant.replace("shop_watch", role))
    url = pg.url.replace("//postgres", f"//{role}")
    seen = shop.run("status", "--metrics", "--store", url).stdout
    held = {one["state"]: n for _, one, n in samples(seen) if "state" in one}
    assert held["waiting"] == 1
    running.stop()
    pg.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_metrics_say(shop):
    shop.enqueue()
    odd = 'a"b\\c'
    shop.relay("fault:?script=reject", "--subscription", odd)
    text = shop.run("status", "--metrics").stdout
    (one,) = (line for line in text.splitlines() if 'state="dead"' in line)
    assert one == r'outtray_held_events{subscription="a\"b\\c",state="dead"} 1'
    numbers = {name: value for name, _, value in samples(text)}
    assert numbers["outtray_last_seq"] == numbers["outtray_cursor_position"] == 1
    assert numbers["outtray_pending_events"] == numbers["outtray_relay_up"] == 0
    for other in ("--json", "--watch=1"):
        assert "--metrics" in shop.run("status", "--metrics", other, status=2).stderr
