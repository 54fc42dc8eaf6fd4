"""Faults, and what came of them. A run ends when everything the world offered has been delivered."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field

from simulation.clock import Clock
from simulation.directory import Directory
from simulation.load import Batch, World
from simulation.relay import Relay
from simulation.senders import Senders
from simulation.store import Store

BEGINS = 600.0
QUIET = 600.0
"""seconds of new mail after a fault is over"""
PATIENCE = 24 * 3600.0
"""seconds after that in which everything must have come"""


@dataclass(frozen=True)
class Fault:
    """What goes wrong from BEGINS on."""

    name: str
    words: str
    seconds: float
    store: bool = False
    """the first store is down"""
    relay: bool = False
    """the first relay is dead"""
    search: float = 0.0
    """seconds the directory takes for each search; 0: as ever"""


FAULTS = (
    Fault("store-down", "one store of ten down for an hour", 3600.0, store=True),
    Fault("slow-directory", "directory takes 1 s for each search, for 15 minutes", 900.0, search=1.0),
    Fault("silent-directory", "directory takes 3 s for each search, for 15 minutes", 900.0, search=3.0),
    Fault("relay-dies", "one relay of four dead for 20 minutes", 1200.0, relay=True),
)


@dataclass
class Outcome:
    """What came of it; times in seconds, everything else in messages."""

    fault: Fault
    offered: int = 0
    delivered: int = 0
    left: int = 0
    """not delivered when the run ended: nothing is lost when it is 0"""
    repeated: int = 0
    refusals: int = 0
    peak: int = 0
    """most messages accepted and not delivered"""
    peak_outside: int = 0
    """most messages refused and not accepted yet"""
    backlog_gone: float = 0.0
    """from the end of the fault until 1 % of the most that was queued or outside is left, or a second's mail"""
    drained: float = 0.0
    """from the end of the fault until the last message that was accepted or refused before it is delivered"""
    mean_wait: float = 0.0
    """from acceptance to delivery"""
    others_wait: float = 0.0
    """the same, 99 % of the messages for stores without a fault wait less"""
    area: float = 0.0
    """queued messages, integrated over time"""
    waited: float = 0.0
    """seconds all messages waited, summed"""
    events: int = 0
    samples: list[tuple[float, int, int]] = field(default_factory=list)
    """time, queued, outside"""


class Scenario:
    """One run.

    Args:
        fault: what goes wrong.
        world: machines and load.
        seed: of all chance.
        quiet: seconds of new mail after the fault.
    """

    def __init__(self, fault: Fault, world: World, seed: int, quiet: float = QUIET) -> None:
        chance = random.Random(seed)
        self.clock = Clock()
        self.outcome = Outcome(fault)
        self.directory = Directory(self.clock, world.directory_threads, world.costs.search)
        self.stores = [Store(self.clock, world, self._delivered) for _ in range(world.stores)]
        self.senders = Senders(self.clock, world, chance)
        self.relays = [
            Relay(self.clock, world, self.directory, self.stores, chance, self._accepted) for _ in range(world.relays)
        ]
        self.senders.relays = self.relays
        self._fault, self._world, self._over = fault, world, BEGINS + fault.seconds
        self._ends = self._over + quiet
        self._queued = 0
        self._since = 0.0
        self._waits = array("d")

    def run(self) -> Outcome:
        """All of it."""
        self.senders.begin(self._ends)
        self.clock.at(BEGINS, self._break)
        self.clock.at(self._over, self._mend)
        self.clock.at(0.0, self._sample)
        while self.clock.now < self._ends + PATIENCE and (self.clock.now < self._ends or not self._done()):
            self.clock.run(self.clock.now + 10.0)
        return self._settle()

    def _done(self) -> bool:
        return self.outcome.delivered == self.senders.offered and not any(relay.kept for relay in self.relays)

    def _break(self) -> None:
        if self._fault.store:
            self.stores[0].stop()
        if self._fault.relay:
            self.relays[0].stop()
        if self._fault.search:
            self.directory.seconds = self._fault.search

    def _mend(self) -> None:
        if self._fault.store:
            self.stores[0].start()
        if self._fault.relay:
            self.relays[0].start()
        self.directory.seconds = self._world.costs.search

    # counting

    def _count(self, change: int) -> None:
        now = self.clock.now
        self.outcome.area += self._queued * (now - self._since)
        self._queued, self._since = self._queued + change, now
        self.outcome.peak = max(self.outcome.peak, self._queued)

    def _accepted(self, batch: Batch) -> None:
        self._count(batch.weight)

    def _delivered(self, batch: Batch) -> None:
        self._count(-batch.weight)
        wait, outcome = batch.delivered - batch.accepted, self.outcome
        outcome.delivered += batch.weight
        outcome.waited += wait * batch.weight
        if not (self._fault.store and batch.store == 0):
            self._waits.append(wait)
        if batch.born < self._over:
            outcome.drained = max(0.0, batch.delivered - self._over)

    def _sample(self) -> None:
        outside = self.senders.waiting
        self.outcome.peak_outside = max(self.outcome.peak_outside, outside)
        self.outcome.samples.append((self.clock.now, self._queued, outside))
        self.clock.after(10.0, self._sample)

    def _settle(self) -> Outcome:
        outcome = self.outcome
        outcome.offered = self.senders.offered
        outcome.left = outcome.offered - outcome.delivered
        outcome.repeated = sum(store.repeated for store in self.stores)
        outcome.refusals = self.senders.refusals
        outcome.mean_wait = outcome.waited / max(outcome.delivered, 1)
        waits = sorted(self._waits)
        outcome.others_wait = waits[int(len(waits) * 0.99)] if waits else 0.0
        level = max(outcome.peak * 0.01, outcome.peak_outside * 0.01, self._world.rate)
        late = [at for at, queued, outside in outcome.samples if at > self._over and queued + outside > level]
        outcome.backlog_gone = max(late, default=self._over) - self._over
        outcome.events = self.clock.events
        return outcome
