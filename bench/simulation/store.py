"""A store: cores, a disk, and the batches it has. What is sent twice it has once (XQID, store.dupcheck), and is counted."""

from __future__ import annotations

from collections.abc import Callable

from simulation.clock import Clock
from simulation.load import Batch, World
from simulation.stations import Cores, Disk


class Store:
    """One of them.

    Args:
        clock: of the simulation.
        world: its size and costs.
        delivered: told of a batch when it is durable for the first time.
    """

    def __init__(self, clock: Clock, world: World, delivered: Callable[[Batch], None]) -> None:
        self.up = True
        self.repeated = 0
        """messages that came again"""
        self._clock = clock
        self._world = world
        self._delivered = delivered
        self._sessions: dict[int, tuple[Batch, Callable[[bool], None]]] = {}
        self._serial = 0
        self._cores, self._disk = self._machine()

    def _machine(self) -> tuple[Cores, Disk]:
        costs = self._world.costs
        return Cores(self._clock, self._world.cores), Disk(self._clock, costs.sync, costs.octets)

    @property
    def under_way(self) -> int:
        """Messages in sessions that have no reply yet."""
        return sum(batch.weight for batch, _ in self._sessions.values())

    def take(self, batch: Batch, replied: Callable[[bool], None]) -> None:
        """A session sends it, message after message; True when the last has its 250, False when the connection is cut."""
        if not self.up:
            replied(False)
            return
        self._serial += 1
        number, costs = self._serial, self._world.costs
        self._sessions[number] = batch, replied
        # one core works for one session: the messages of a batch come one after the other, each waits for its sync
        apart = (batch.weight - 1) * (costs.round_trip + costs.sync) + costs.round_trip

        def worked() -> None:
            self._clock.after(apart, written)

        def written() -> None:
            if number in self._sessions:
                self._disk.commit(batch.weight * costs.message, durable)

        def durable() -> None:
            if self._sessions.pop(number, None) is None:  # it was cut
                return
            if batch.delivered < 0.0:
                batch.delivered = self._clock.now
                self._delivered(batch)
            else:
                self.repeated += batch.weight
            replied(True)

        self._cores.do(batch.weight * costs.store, worked)

    def stop(self) -> None:
        """Its service ends hard: connections are cut, new ones refused."""
        self.up = False
        cut, self._sessions = self._sessions, {}
        self._cores, self._disk = self._machine()
        for _, replied in cut.values():
            replied(False)

    def start(self) -> None:
        """It is back."""
        self.up = True
