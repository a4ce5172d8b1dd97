"""A Kafka of two nodes with every partition on both: its leaders die, freeze,
leave and come back, while relays drain and die too; then everything is counted.

Node 1 is the controller as well: when it is away nothing can be elected, and
what it led waits. The other one is missed after two seconds, and gets its
partitions back by an election among living nodes as soon as it has caught up:
each of its faults moves leaders twice, which is waited for."""

import random
import time

import campaign
import mortal
import pytest
from shop import Shop

PROPERTIES = """\
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
leader.imbalance.check.interval.seconds=1
leader.imbalance.per.broker.percentage=0
"""

LONG_ROUNDS = 40


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    with mortal.kafka(folder, count=2, properties=PROPERTIES) as cluster:
        yield cluster
        for node in cluster.nodes:
            node.kill()  # nobody is left to say goodbye to


class Leaders:
    """What happens to the nodes. Each is back afterwards."""

    def __init__(self, shop, topic, pack):
        self.shop, self.topic, self.pack = shop, topic, pack
        self.controller, self.other = shop.broker.nodes
        self.moves = 0

    def _led(self):
        """How many partitions the other node leads."""
        return self.shop.kafka.leaders(self.topic).count(2)

    def _moved(self, back):
        campaign.until(lambda: bool(self._led()) == back, 60, "a move of leaders")
        self.moves += 1

    def _pause(self, most):
        time.sleep(self.pack.dice.uniform(0, most))

    def leader_frozen(self):
        """It wakes up, and believes for a moment that it still leads."""
        self.other.pause()
        self._moved(back=False)
        self._pause(1)
        self.other.resume()
        self._moved(back=True)

    def leader_killed(self):
        """And a relay dies while nobody leads its partitions."""
        self.other.kill()
        self.pack.harm()
        self._moved(back=False)
        self.other.boot()
        self._moved(back=True)

    def leader_stopped(self):
        """It gives away what it leads before it ends."""
        self.other.halt()
        self._moved(back=False)
        self._pause(1)
        self.other.boot()
        self._moved(back=True)

    def controller_killed(self):
        self.controller.kill()
        self._pause(2)
        self.controller.boot()
        self._moved(back=True)

    def controller_frozen(self):
        self.controller.pause()
        time.sleep(self.pack.dice.uniform(1, 5))
        self.controller.resume()
        self._moved(back=True)

    def relay_harmed(self):
        self.pack.harm()


# The two that tell most; all of them in a long run.
SHORT = ["leader_frozen", "leader_killed"]


@pytest.mark.timeout(1800 if campaign.LONG else 900)
def test_leaders_that_change(server, pair, program):
    mortal.revive(server, pair)
    shop = Shop(server, pair, program())
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    topic = shop.kafka.topic(replicas=2)
    shop.kafka.ready(topic)
    order = SHORT
    if campaign.LONG:
        order = campaign.rounds(dice, campaign.faults_of(Leaders), LONG_ROUNDS)
    with shop.traffic(topic=topic, pause=0.003) as traffic:
        pack = campaign.Pack(shop, 2, dice)
        there = Leaders(shop, topic, pack)
        there._moved(back=True)
        try:
            for fault in order:
                campaign.go_on(pack)
                getattr(there, fault)()
            campaign.go_on(pack)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {order}: {error}") from None
        pack.kill_all()
    crashes = len(order) + pack.kills + pack.pauses + 2
    tally = campaign.settled(shop, traffic, crashes, 600 if campaign.LONG else 60)
    print(f"{there.moves} moves, {pack.kills} kills of relays: {tally}")
