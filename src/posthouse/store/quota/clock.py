"""A clock that was set forward ends no grace period at once: for an hour what would be 522 is 422 (decision 184).

Pure: both clocks are passed in.
"""

from collections.abc import Callable

SPARED = 3600.0
"""seconds in which somebody may put the clock right; a smaller step ends no grace period much too early"""


class Forward:
    """Compares the clock with one that cannot be set, whenever it is asked.

    Args:
        wall: Unix seconds.
        steady: seconds, never going back.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady
        self._last = wall() - steady()
        self._until = 0.0

    def lately(self) -> bool:
        """Whether it was set forward by an hour or more, and that was found less than an hour ago."""
        steady, last = self._steady(), self._last
        self._last = self._wall() - steady
        if self._last - last >= SPARED:
            self._until = steady + SPARED
        return steady < self._until
