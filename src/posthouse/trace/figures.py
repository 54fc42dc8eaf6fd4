"""What is counted of a channel (logging.md 6): a row of 64-bit numbers, and the figures people ask for.

Counting is on the way of every message, so a row has what one addition each can tell; the rest is worked out by who reads it.
New numbers are only added at the end of a row: one of an older version is read with zeros behind it.
"""

from typing import NamedTuple

KINDS = ("received", "delivered", "submitted", "attempted", "rejected", "failed")
RECEIVED, SUBMITTED, ATTEMPTED, REJECTED, FAILED = range(0, 15, 3)
"""messages at the number, recipients one behind it, blocks two"""
FIRST, LATER = 15, 18
"""copies that have left the queue at their first attempt, and at a later one; blocks one behind it, milliseconds waited two"""
LEFT_RECIPIENTS = 21
TAKEN, TAKEN_BLOCKS = 22, 23
"""messages a store has taken for somebody"""
REPLIES = 24
CODES = (250, 420, 422, 430, 511, 522, 523, 560)
"""replies a store gives to a recipient; any other is counted before them"""
QUOTA_CODES = (422, 522)
QUOTA_REFUSED = REPLIES + 1 + len(CODES)
"""recipients a store refused for their quota without a reply: to a channel of its own machine"""
WIDTH = QUOTA_REFUSED + 1
_GOOD = REPLIES + 1 + CODES.index(250)

Row = list[int]
Rows = dict[str, Row]


class Counted(NamedTuple):
    """One kind of event."""

    messages: int
    recipients: int
    blocks: int


class Waited(NamedTuple):
    """Time in the queue of copies that left it."""

    copies: int
    seconds: float


def new_row() -> Row:
    """A channel of which nothing is counted."""
    return [0] * WIDTH


def kinds(row: Row) -> dict[str, Counted]:
    """What happened, by KINDS. What a store takes is received and delivered at once; delivered is what left, failed or not."""
    messages, recipients, blocks = row[TAKEN], row[_GOOD], row[TAKEN_BLOCKS]
    received = Counted(row[RECEIVED] + messages, row[RECEIVED + 1] + recipients, row[RECEIVED + 2] + blocks)
    left = row[FIRST] + row[LATER] + messages, row[LEFT_RECIPIENTS] + recipients, row[FIRST + 1] + row[LATER + 1] + blocks
    counted = (Counted(*row[kind : kind + 3]) for kind in (SUBMITTED, ATTEMPTED, REJECTED, FAILED))
    return dict(zip(KINDS, (received, Counted(*left), *counted), strict=True))


def waited(row: Row) -> tuple[Waited, Waited]:
    """Of all copies that left, and of those that did at the first attempt."""
    first, later = row[FIRST + 2] / 1000, row[LATER + 2] / 1000
    return Waited(row[FIRST] + row[LATER], first + later), Waited(row[FIRST], first)


def replies(row: Row) -> dict[int, int]:
    """A store's replies by code; 0 is any other."""
    return dict(zip((0, *CODES), row[REPLIES:QUOTA_REFUSED], strict=True))


def quota_refused(row: Row) -> int:
    """Recipients a store refused for their quota, for now or for good."""
    given = replies(row)
    return row[QUOTA_REFUSED] + sum(given[code] for code in QUOTA_CODES)


def add(rows: Rows, more: Rows) -> None:
    """Add the rows of one to the other, channel by channel."""
    for channel, row in more.items():
        known = rows.get(channel)
        rows[channel] = list(row) if known is None else [a + b for a, b in zip(known, row, strict=True)]
