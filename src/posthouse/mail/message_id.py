"""Ids of messages: 18 characters of 0-9A-Z, unique over hosts, processes and restarts (queue.md 2).

    8 characters time (hundredths of a second), 6 random characters of this process, 4 counter

The time and the process's random part are passed in; the counter wraps after 1.6 million messages, by when the
time has moved on. Upper case only, so that a queue file's name survives every file system.
"""

import re
from collections.abc import Callable

_SHAPE = re.compile(rb"([0-9A-Z]{8})[0-9A-Z]{10}\.[0-9]+")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COUNTER_LIMIT = 36**4


def base36(value: int, width: int) -> str:
    """The number in base 36, padded with zeros to the width."""
    out = ""
    while value:
        value, digit = divmod(value, 36)
        out = _DIGITS[digit] + out
    return out.rjust(width, "0")[-width:]


_PAIRS = [base36(number, 2) for number in range(36 * 36)]


class MessageIds:
    """Makes ids for one process.

    Args:
        now: Unix time in seconds.
        randbits: `secrets.randbits` or a test's own; asked once.
    """

    def __init__(self, now: Callable[[], float], randbits: Callable[[int], int]) -> None:
        self._now = now
        self._process = base36(randbits(31), 6)
        self._count = randbits(20)
        self._tick = -1
        self._stem = ""

    def next(self) -> str:
        """A new id."""
        self._count = count = (self._count + 1) % _COUNTER_LIMIT
        tick = int(self._now() * 100)
        if tick != self._tick:
            self._tick = tick
            self._stem = base36(tick, 8) + self._process
        return self._stem + _PAIRS[count // 1296] + _PAIRS[count % 1296]


def made_at(xqid: bytes) -> float | None:
    """When the id in an XQID, `id.number`, was made: Unix time by its relay's clock. None: another client's XQID."""
    found = _SHAPE.fullmatch(xqid)
    return int(found[1], 36) / 100 if found else None
