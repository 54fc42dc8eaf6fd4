"""SIGKILL of any process at any moment, 50 times, under load (DURABILITY 5 and 7). `make bench BENCH=kills` does it longer."""

import random
from pathlib import Path

import pytest

from support.journey_mail import Load, reconcile
from support.journey_tiers import journey
from support.kills import REPLIES_OWED, ROLES, Killer, settle, unexplained

ROUNDS = 25
CLIENTS, MOST = 3, 3
UNDER_WAY = 2 * 7 * MOST
"""recipients in flight at a time: two stores, `maxjobs 7` sessions to each"""


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_by_25_kills(tmp_path: Path, seed: int) -> None:
    with journey(tmp_path, users=12) as tiers:
        # a loop under load: every role its turn, the moment by chance
        users, sizes = [f"user{number}" for number in range(12)], (400, 3000, 40_000, 300_000)
        with Load(tiers.relay.port, users, clients=CLIENTS, most=MOST, sizes=sizes, pause=0.02) as load:
            killer = Killer(tiers, random.Random(seed), load.ledger)
            for number in range(ROUNDS):
                killer.one(*ROLES[number % len(ROLES)])
        settle(tiers)
        verdict = reconcile(load.ledger, tiers.stores).check()
        print(f"seed {seed}: {ROUNDS} kills, {len(load.ledger.sent)} messages offered")
        assert verdict.accepted > 10 * ROUNDS
        assert unexplained(verdict, killer.kills) == []
        assert verdict.duplicates <= UNDER_WAY * sum(1 for each in killer.kills if each.role in REPLIES_OWED)
