"""How many searches a server is given at once, and which of them still have the time. Pure: times are passed in.

A server that answers at once may have MOST on the way (slapd closes a connection with more than 100). One that takes its time is
given no more than it works on: beyond that, searches only wait behind each other there, in the end longer than anybody waits
for them. So the number grows while it is used up and answers take no longer than they do when few are asked, and is halved, once
for all that was on the way, when they take half as long again, or one is late.

A question that has waited here until less time is left than an answer takes is not sent any more: it would only keep others.
"""

MOST = 32
FIRST = 4
"""how many a server gets that has not been heard yet; doubled with each round of quick answers"""
_QUICK = 1 / 4
"""part of the time limit within which an answer is quick, whatever the others took"""
_QUEUED = 1.5
"""times the shortest answer: it has waited behind others"""
_SLOWLY = 0.25
"""growth in a round of answers once it was too large"""
_MARGIN = 1.25
_ALL = 0.9
"""part of a search's time that is always enough to be sent"""


class Window:
    """What one connection may have on the way."""

    __slots__ = ("_age", "_calm", "_cut", "_shortest", "_size")

    def __init__(self) -> None:
        self._size = float(FIRST)
        self._calm = float(MOST)
        """up to here it grows with each answer, beyond it with some rounds of them"""
        self._shortest = 0.0
        """what an answer takes that waits for none before it"""
        self._age = 0.0
        """what answers took lately"""
        self._cut = float("-inf")
        """when the number was halved last: what was sent before tells of the number before"""

    @property
    def size(self) -> int:
        """Searches that may be on the way, 1 to MOST."""
        return int(self._size)

    def need(self, seconds: float) -> float:
        """Seconds a question must have left to be sent.

        Args:
            seconds: the server has for the search.
        """
        return min(self._age * _MARGIN, seconds * _ALL)

    def heard(self, sent: float, now: float, seconds: float, *, full: bool) -> None:
        """A search has been answered.

        Args:
            sent: when it was.
            now: the time.
            seconds: the server had for it.
            full: whether more would have been sent if they might.
        """
        age = now - sent
        self._age += (age - self._age) * 0.25 if self._age else age
        if sent < self._cut:
            return
        shortest = self._shortest
        if not shortest or age < shortest:
            self._shortest = age
        if shortest and age > shortest * _QUEUED and age > seconds * _QUICK:
            if self._size < 2.0:  # it was alone: that is what an answer takes now
                self._shortest, self._calm = age, float(MOST)
            else:
                self._halve(sent, now)
        elif full and self._size < MOST:
            self._size = min(MOST, self._size + (1.0 if self._size < self._calm else _SLOWLY / self._size))

    def late(self, sent: float, now: float) -> None:
        """A search has had its time, and others were answered meanwhile."""
        self._age = max(self._age, now - sent)
        self._halve(sent, now)

    def _halve(self, sent: float, now: float) -> None:
        if sent < self._cut:
            return
        self._cut = now
        self._size = max(1.0, self._size / 2)
        self._calm = self._size
