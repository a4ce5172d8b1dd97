"""Relays are killed at random moments, frozen beyond their lease and asked to
end, two and five at a time, while the database and the broker have their own
troubles; then everything is counted."""

import random

import campaign
import pytest

# (store, relays, kills)
SHORT = [("postgres", 2, 25), ("postgres", 5, 25), ("sqlite", 2, 25)]
LONG = [("postgres", 2, 200), ("postgres", 5, 200), ("sqlite", 2, 200)]


@pytest.mark.timeout(1800 if campaign.LONG else 900)
@pytest.mark.parametrize("store, size, kills", LONG if campaign.LONG else SHORT)
def test_relays_that_die_at_random(shop, store, size, kills):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    shop = shop(store)
    with shop.traffic(pause=0.003) as traffic:
        pack = campaign.Pack(shop, size, dice)
        while pack.kills < kills:
            campaign.go_on(pack)
            pack.harm()
        pack.kill_all()
        crashes = pack.kills + pack.pauses + size
        tally = campaign.settled(shop, traffic, crashes)
    print(f"{pack.kills} kills, {pack.pauses} pauses, {pack.ends} ends: {tally}")
