"""SIGKILL of processes of both tiers under load, and what must hold afterwards (DURABILITY 5, 7).

Nothing acknowledged is lost, nothing is torn, and a second copy of a message is there only when a process that may have owed
somebody a reply died after the first copy was placed and before the second.
"""

import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.journey_mail import Ledger, Verdict
from support.journey_tiers import everyone, is_ready, kill, restart_after_kill, signal_all, wait_empty

FAMILY = "everything"
"""not a role: the whole family of an instance at once"""
ROLES = (
    ("relay", "smtp"), ("relay", "channel"), ("relay", "job_controller"), ("relay", "dispatcher"), ("relay", "supervisor"),
    ("store", "lmtp"), ("store", "dispatcher"), ("store", "supervisor"),
)  # fmt: skip
FAMILIES = (("relay", FAMILY), ("store", FAMILY))
REPLIES_OWED = {"channel", "job_controller", "supervisor", "lmtp", "dispatcher", FAMILY}
"""of the rows of DURABILITY 5 that say a duplicate can appear; a killed SMTP worker makes none, the client sends nothing again"""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill."""

    moment: float
    tier: str
    role: str


@dataclass
class Killer:
    """Ends processes of two tiers while a load is on them.

    Args:
        tiers: running.
        chance: picks stores and moments.
        ledger: of the load: between two kills something is accepted.
    """

    tiers: TwoTiers
    chance: random.Random
    ledger: Ledger
    kills: list[Kill] = field(default_factory=list)

    def one(self, tier: str, role: str, *, accepted: int = 10, within: float = 0.3) -> None:
        """Wait until so many more messages were accepted, and a moment longer; kill; wait until all is well again."""
        goal = self.ledger.accepted + accepted
        wait_for(lambda: self.ledger.accepted >= goal, 30)
        time.sleep(self.chance.random() * within)
        instance = self.tiers.relay if tier == "relay" else self.chance.choice(self.tiers.stores)
        self.kills.append(Kill(time.time(), tier, role))
        _kill(instance, role)
        wait_for(lambda: is_ready(instance), 30)

    def many(self, count: int, until: float, told: Callable[[int], None]) -> None:
        """So many, each role and family as often as the others, in an order by chance; none after a time.monotonic()."""
        turns: list[tuple[str, str]] = []
        while len(self.kills) < count and time.monotonic() < until:
            if not turns:
                turns = [*ROLES, *FAMILIES]
                self.chance.shuffle(turns)
            self.one(*turns.pop())
            told(len(self.kills))


def _kill(instance: RunningInstance, role: str) -> None:
    if role == FAMILY:
        signal_all([instance], signal.SIGKILL)
        wait_for(lambda: not everyone(instance), 30)
        restart_after_kill(instance)
    elif role == "supervisor":
        kill(instance, role)
        restart_after_kill(instance)
    else:
        victim = kill(instance, role)
        wait_for(lambda: not Path(f"/proc/{victim}").exists())


def settle(tiers: TwoTiers) -> None:
    """Everything accepted is delivered, then a clean stop and nothing left behind."""
    wait_empty(tiers.relay)
    for instance in reversed(tiers.instances):
        assert instance.stop() == 0, instance.output.read_text()[-2000:]
    for instance in tiers.instances:
        assert list((instance.folder / "data" / "journal").glob("*.seg")) == []
        assert not any((instance.folder / "data" / "journal").glob("aside/*")), "damage was found"


def unexplained(verdict: Verdict, kills: Iterable[Kill]) -> list[str]:
    """Second copies without a kill between them and the first that could have made them."""
    owing = [each.moment for each in kills if each.role in REPLIES_OWED]
    found: list[str] = []
    for copies in verdict.twice.values():
        first, *later = sorted(copy.placed for copy in copies)
        alone = [second for second in later if not any(first - 1 <= moment <= second for moment in owing)]
        found += [f"{copies[0].token} was placed at {first} and {second}, nothing died between" for second in alone]
    return found
