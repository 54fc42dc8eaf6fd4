"""The heap of events. Two at the same time happen in the order in which they were planned: the same seed gives the same run."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clock:
    """Simulated time, in seconds from the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        """events that have happened"""
        self._serial = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Plan an event; one in the past happens now."""
        self._serial += 1
        heapq.heappush(self._heap, (max(when, self.now), self._serial, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan an event so many seconds from now."""
        self.at(self.now + seconds, action)

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen that is planned up to a time, and what comes of it."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action = heapq.heappop(heap)
            self.events += 1
            action()
        if until != float("inf"):
            self.now = until
