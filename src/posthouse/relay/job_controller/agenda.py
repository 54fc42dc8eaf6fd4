"""Numbers that fall due at times, many of them: eight octets each, where a heap of tuples takes a hundred.

Times are rounded up to a width: nothing comes early, and late by less than the width. Pure: time is passed in.
"""

import heapq
from collections.abc import Iterator


class Agenda:
    """What falls due.

    Args:
        width: seconds.
    """

    def __init__(self, width: float) -> None:
        self._width = width
        self._slots: dict[int, list[int]] = {}
        self._order: list[int] = []

    def add(self, when: float, key: int) -> None:
        """The key falls due at a Unix time."""
        slot = -int(-when // self._width)
        keys = self._slots.get(slot)
        if keys is None:
            self._slots[slot] = [key]
            heapq.heappush(self._order, slot)
        else:
            keys.append(key)

    def due(self, now: float) -> Iterator[int]:
        """Those due, each taken out as it is given; what is added meanwhile for now or before comes too."""
        while self._order and self._order[0] * self._width <= now:
            slot = self._order[0]
            keys = self._slots[slot]
            if keys:
                yield keys.pop()
            else:
                heapq.heappop(self._order)
                del self._slots[slot]

    def set_back(self, seconds: float) -> None:
        """The clock was set back: everything falls due as much earlier."""
        by = int(seconds // self._width)
        self._slots = {slot - by: keys for slot, keys in self._slots.items()}
        self._order = [slot - by for slot in self._order]
