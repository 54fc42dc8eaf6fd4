"""Operators' orders under way: hold, release, return, drop, reroute (queue.md 6, job-controller-cnf 8).

An order is carried out by the channel worker of the copy's pool, under a lease like any other job: nobody else touches the copy
meanwhile. A copy that is being delivered is asked for when it comes back; one that does not come back in time is reported as
busy and left alone. An order is answered when all its copies have a result and what was changed is durable (controller.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from posthouse.relay.job_controller.protocol import Job

ORDERS = {"hold": Job.HOLD, "release": Job.RELEASE, "return": Job.BOUNCE, "drop": Job.DROP, "reroute": Job.REROUTE}
PATIENCE = 10.0
"""seconds an order waits for copies that are being delivered"""
MOST_FAULTS = 20


@dataclass(slots=True)
class Order:
    """One request of an operator.

    Args:
        job: what is to be done.
        deadline: Unix seconds after which copies that are out are not waited for.
        finished: called once, when no copy is left.
    """

    job: Job
    deadline: float
    finished: Callable[["Order"], None]
    copies: int = 0
    """selected"""
    recipients: int = 0
    """selected"""
    unchanged: int = 0
    """copies that are left as they are, because they are as wanted already or for a reason in `stayed`"""
    in_place: int = 0
    """those of them that wait for the place the directory says"""
    done: int = 0
    failed: int = 0
    busy: int = 0
    faults: list[str] = field(default_factory=list)
    stayed: list[str] = field(default_factory=list)
    """why MOST_FAULTS copies, or some recipients of theirs, were not rerouted; of a dry run all, and where the others would go"""
    missing: tuple[str, ...] = ()
    """ids the operator named that no copy has, as far as the rest of the filter goes"""
    keys: list[int] = field(default_factory=list)
    """the controller's numbers of the copies it was given to"""
    left: int = 0
    """copies without a result"""
    _told: bool = False

    def result(self, *, good: bool, text: str = "") -> None:
        """One copy has its result."""
        self.left -= 1
        if good:
            self.done += 1
        else:
            self.cannot((text,))
        self.settle()

    def stays(self, reason: str) -> None:
        """One copy is left as it is, for a reason or because it is where it should be."""
        self.left -= 1
        self.unchanged += 1
        self.in_place += not reason
        self.leave(reason)
        self.settle()

    def leave(self, reason: str) -> None:
        """Why something of a copy is left as it is."""
        if reason and (self.job is Job.ASK or len(self.stayed) < MOST_FAULTS):
            self.stayed.append(reason)
        elif reason and len(self.stayed) == MOST_FAULTS:
            self.stayed.append("others stay, too: `--dry-run` names them all")

    def cannot(self, reasons: Iterable[str]) -> None:
        """Copies that are left as they are, and why."""
        for reason in reasons:
            self.failed += 1
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(reason)

    def not_now(self) -> None:
        """One copy could not be had in time."""
        self.left -= 1
        self.busy += 1
        self.settle()

    def settle(self) -> None:
        """End it when nothing is left."""
        if not self.left and not self._told:
            self._told = True
            self.finished(self)

    def answer(self) -> dict[str, Any]:
        """What the operator is told."""
        return {
            "copies": self.copies, "recipients": self.recipients, "done": self.done, "unchanged": self.unchanged,
            "in_place": self.in_place,
            "failed": self.failed, "busy": self.busy, "faults": list(self.faults), "stayed": list(self.stayed),
            "missing": list(self.missing), **({"dry_run": True} if self.job is Job.ASK else {}),
        }  # fmt: skip


@dataclass(slots=True)
class Asked:
    """What is wanted of one copy."""

    order: Order
    ids: tuple[int, ...]
    """recipients; empty for all"""
