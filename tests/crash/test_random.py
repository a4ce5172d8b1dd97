"""Relays are killed at random moments, frozen beyond their lease and asked to
end, two and five at a time, while the database and the broker have their own
troubles; then everything is counted."""

import random
import signal
import time

import campaign
import pytest

# (store, relays, kills)
SHORT = [("postgres", 2, 25), ("postgres", 5, 25), ("sqlite", 2, 25)]
LONG = [("postgres", 2, 200), ("postgres", 5, 200), ("sqlite", 2, 200)]


class Pack:
    """Relays of one shop, of which some die."""

    def __init__(self, shop, size, dice):
        self.shop, self.dice = shop, dice
        self.relays = [self.start() for _ in range(size)]
        self.kills = self.pauses = self.ends = 0

    def start(self):
        return self.shop.relay(*campaign.KEPT)

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
            victim.stop(20)
            self.ends += 1
        self.relays.remove(victim)
        self.relays.append(self.start())

    def kill_all(self):
        for relay in self.relays:
            relay.kill()


@pytest.mark.timeout(1800 if campaign.LONG else 300)
@pytest.mark.parametrize("store, size, kills", LONG if campaign.LONG else SHORT)
def test_relays_that_die_at_random(shop, store, size, kills):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    shop = shop(store)
    with shop.traffic(pause=0.003) as traffic:
        pack = Pack(shop, size, dice)
        while pack.kills < kills:
            pack.shop.moved(pack.relays[-1], 60)
            time.sleep(dice.uniform(0, 0.3))
            pack.harm()
        pack.kill_all()
        crashes = pack.kills + pack.pauses + size
        tally = campaign.settled(shop, traffic, crashes)
    print(f"{pack.kills} kills, {pack.pauses} pauses, {pack.ends} ends: {tally}")
