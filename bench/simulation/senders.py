"""The world outside: it offers mail to any relay, the next one when the first does not answer, and tries again later.

Tried again after 300 s, doubled up to 4,000 s, and up to 300 s more until its queue is looked at (Postfix's defaults). It never
gives up: what is refused for good is no part of this.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from simulation.clock import Clock
from simulation.load import Batch, World

if TYPE_CHECKING:
    from simulation.relay import Relay

FIRST, LONGEST, LOOK = 300.0, 4000.0, 300.0
CONNECT = 30.0
"""seconds until a sender gives up a machine that does not answer"""


class Senders:
    """All of them.

    Args:
        clock: of the simulation.
        world: the load.
        chance: of this simulation.
    """

    def __init__(self, clock: Clock, world: World, chance: random.Random) -> None:
        self.relays: list[Relay] = []
        self.offered = 0
        """messages the world has had"""
        self.waiting = 0
        """messages that were refused and are not accepted yet"""
        self.refusals = 0
        self._clock = clock
        self._world = world
        self._chance = chance
        self._key = 0
        self._until = 0.0

    def begin(self, until: float) -> None:
        """New mail comes until this time."""
        self._until = until
        self._next()

    def _next(self) -> None:
        self._clock.after(self._chance.expovariate(self._world.rate / self._world.batch), self._arrive)

    def _arrive(self) -> None:
        if self._clock.now >= self._until:
            return
        self._next()
        weight, store = self._world.batch, self._chance.randrange(self._world.stores)
        asks = self._unknown(weight)
        self.offered += weight
        for size, unknown in ((weight - asks, 0), (asks, asks)):  # who is known does not wait for who is not
            if size:
                self._key += 1
                self._offer(Batch(self._key, store, size, unknown, self._clock.now))

    def _unknown(self, weight: int) -> int:
        """How many of so many recipients the caches do not know."""
        mean = weight * (1.0 - self._world.hits)
        if weight == 1:
            return int(self._chance.random() < mean)
        return min(weight, max(0, round(self._chance.gauss(mean, math.sqrt(mean * self._world.hits)))))

    def _offer(self, batch: Batch) -> None:
        self._try(batch, self._chance.sample(self.relays, len(self.relays)))

    def _try(self, batch: Batch, order: list[Relay]) -> None:
        if not order:
            self._refused(batch)
        elif order[0].up:
            order[0].offer(batch, lambda taken: self._answered(batch, taken))
        else:
            self._clock.after(CONNECT, lambda: self._try(batch, order[1:]))

    def _answered(self, batch: Batch, taken: bool) -> None:
        if not taken:
            self._refused(batch)
        elif batch.offers:
            self.waiting -= batch.weight

    def _refused(self, batch: Batch) -> None:
        if not batch.offers:
            self.waiting += batch.weight
        self.refusals += batch.weight
        batch.offers += 1
        wait = min(FIRST * 2.0 ** min(batch.offers - 1, 10), LONGEST) + self._chance.random() * LOOK
        self._clock.after(wait, lambda: self._offer(batch))
