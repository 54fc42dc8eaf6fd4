"""conn_throttle: connections of an address counted by the minute, in memory (dispatcher-cnf 5).

`throttle` says yes when the address made more than `rate` connections in the current minute. `throttle_p` remembers what was
too much: after each minute the rate is taken off the total, and the address stays blocked while the total is above the rate.
At most 100,000 addresses are kept; when there are more, those whose minute is over go first, then the oldest.
"""

from collections.abc import Callable

IMAGE = "conn_throttle.so"
ROUTINES = frozenset({"throttle", "throttle_p"})
MAX_ADDRESSES = 100_000
_MINUTE = 60.0


class Throttle:
    """The table of one process.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        """(routine, address) to the start of its minute and the count"""

    def exceeded(self, routine: str, argument: str) -> bool:
        """Counts one connection; whether it is one too many. `argument` is `address,rate`; any other text counts nothing."""
        address, _, written = argument.rpartition(",")
        if not address or not written.strip().isdecimal() or routine not in ROUTINES:
            return False
        rate = int(written.strip()[:9])
        now = self._clock()
        start, count = self._seen.pop((routine, address), (now, 0))
        minutes = int((now - start) / _MINUTE)
        if minutes > 0:
            start += minutes * _MINUTE
            count = max(0, count - minutes * rate) if routine == "throttle_p" else 0
        self._seen[routine, address] = (start, count + 1)
        if len(self._seen) > MAX_ADDRESSES:
            self._forget(now)
        return count + 1 > rate

    def _forget(self, now: float) -> None:
        over = [key for key, (start, _) in self._seen.items() if now - start >= _MINUTE and key[0] == "throttle"]
        for key in over or list(self._seen)[: MAX_ADDRESSES // 10]:
            del self._seen[key]
