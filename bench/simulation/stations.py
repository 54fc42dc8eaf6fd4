"""What work waits for: cores, first come first served, and a disk that makes all that waits durable with one sync."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from simulation.clock import Clock


class Cores:
    """So many servers, one queue.

    Args:
        clock: of the simulation.
        count: servers.
    """

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._free = count
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self.busy = 0.0
        """seconds of work done or begun"""

    def do(self, seconds: float, done: Callable[[], None]) -> None:
        """So much work; `done` when it is over."""
        if self._free:
            self._free -= 1
            self._begin(seconds, done)
        else:
            self._queue.append((seconds, done))

    def _begin(self, seconds: float, done: Callable[[], None]) -> None:
        self.busy += seconds

        def ended() -> None:
            if self._queue:
                self._begin(*self._queue.popleft())
            else:
                self._free += 1
            done()

        self._clock.after(seconds, ended)


class Disk:
    """Syncs one after the other; each covers all that has come before it begins, as the journal's do.

    Args:
        clock: of the simulation.
        sync: seconds for a sync of nothing.
        octets: a second.
    """

    def __init__(self, clock: Clock, sync: float, octets: float) -> None:
        self._clock = clock
        self._sync = sync
        self._octets = octets
        self._waiting: list[Callable[[], None]] = []
        self._size = 0.0
        self._working = False
        self.syncs = 0

    def commit(self, octets: float, done: Callable[[], None]) -> None:
        """Make so much durable; `done` when it is."""
        self._waiting.append(done)
        self._size += octets
        if not self._working:
            self._begin()

    def _begin(self) -> None:
        covered, size = self._waiting, self._size
        self._waiting, self._size, self._working = [], 0.0, True
        self.syncs += 1

        def ended() -> None:
            self._working = False
            if self._waiting:
                self._begin()
            for done in covered:
                done()

        self._clock.after(self._sync + size / self._octets, ended)
