"""SIGKILL of any process at any moment, 50 times, under load (DURABILITY 5 and 7).

Nothing acknowledged is lost, nothing is torn, and a second copy of a message is there only when a process that may have
owed somebody a reply died after the first copy was placed and before the second.
"""

import random
import time
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.journey_mail import Load, Verdict, reconcile
from support.journey_tiers import is_ready, journey, kill, restart_after_kill, wait_empty

ROLES = (
    ("relay", "smtp"), ("relay", "channel"), ("relay", "job_controller"), ("relay", "dispatcher"), ("relay", "supervisor"),
    ("store", "lmtp"), ("store", "dispatcher"), ("store", "supervisor"),
)  # fmt: skip
ROUNDS = 25
CLIENTS, MOST = 3, 3
UNDER_WAY = 2 * 7 * MOST
"""recipients in flight at a time: two stores, `maxjobs 7` sessions to each"""
REPLIES_OWED = {"channel", "job_controller", "supervisor", "lmtp", "dispatcher"}
"""of the rows of DURABILITY 5 that say a duplicate can appear; a killed SMTP worker makes none, the client sends nothing again"""


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_by_25_kills(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kills: list[tuple[float, str]] = []
    with journey(tmp_path, users=12) as tiers:
        # a loop under load: every role its turn, the moment by chance
        users, sizes = [f"user{number}" for number in range(12)], (400, 3000, 40_000, 300_000)
        with Load(tiers.relay.port, users, clients=CLIENTS, most=MOST, sizes=sizes, pause=0.02) as load:
            for number in range(ROUNDS):
                tier, role = ROLES[number % len(ROLES)]
                goal = load.ledger.accepted + 10
                wait_for(lambda goal=goal: load.ledger.accepted >= goal, 30)  # type: ignore[misc]
                time.sleep(chance.random() * 0.3)
                kills.append((time.time(), role))
                one_kill(tiers.relay if tier == "relay" else chance.choice(tiers.stores), role)
        assert len(kills) == ROUNDS
        settle(tiers)
        verdict = reconcile(load.ledger, tiers.stores).check()
        print(f"seed {seed}: {ROUNDS} kills, {len(load.ledger.sent)} messages offered")
        assert verdict.accepted > 10 * ROUNDS
        explained(verdict, kills)


def one_kill(instance: RunningInstance, role: str) -> None:
    victim = kill(instance, role)
    if role == "supervisor":
        restart_after_kill(instance)
    else:
        wait_for(lambda: not Path(f"/proc/{victim}").exists())
    wait_for(lambda: is_ready(instance), 30)


def settle(tiers: TwoTiers) -> None:
    """Everything accepted is delivered, then a clean stop and nothing left behind."""
    wait_empty(tiers.relay)
    for instance in reversed(tiers.instances):
        assert instance.stop() == 0, instance.output.read_text()[-2000:]
    for instance in tiers.instances:
        assert list((instance.folder / "data" / "journal").glob("*.seg")) == []
        assert not any((instance.folder / "data" / "journal").glob("aside/*")), "damage was found"


def explained(verdict: Verdict, kills: list[tuple[float, str]]) -> None:
    """Each second copy has a kill between it and the first, and there are no more than could have been under way."""
    for copies in verdict.twice.values():
        first, *later = sorted(found.placed for found in copies)
        for second in later:
            between = [role for moment, role in kills if first - 1 <= moment <= second and role in REPLIES_OWED]
            assert between, f"{copies[0].token} was placed at {first} and {second}, nothing died between"
    assert verdict.duplicates <= UNDER_WAY * sum(1 for _, role in kills if role in REPLIES_OWED)
