"""What is counted of a channel (logging.md 6): places of its numbers in a row of 64-bit numbers.

Six kinds of event with messages, recipients and blocks each, then queue times, then replies by code. New figures are only
added at the end: a shorter row of an older version is read as one with zeros behind it.
"""

KINDS = ("received", "delivered", "submitted", "attempted", "rejected", "failed")
RECEIVED, DELIVERED, SUBMITTED, ATTEMPTED, REJECTED, FAILED = range(0, 18, 3)
"""messages at the number, recipients one behind it, blocks two"""
QUEUED, QUEUED_MS, FIRST, FIRST_MS = range(18, 22)
"""copies whose time in the queue is known and its sum in milliseconds; of these, those that went at the first attempt"""
CODES = (250, 420, 422, 430, 500, 511, 522, 523, 560)
"""replies a store gives to a recipient; any other is counted as 0"""
QUOTA_CODES = (422, 522)
REPLIES = 22
WIDTH = REPLIES + 1 + len(CODES)

Row = list[int]
Rows = dict[str, Row]


def new_row() -> Row:
    """A channel of which nothing is counted."""
    return [0] * WIDTH


def replies(row: Row) -> dict[int, int]:
    """Replies by code; 0 is any other."""
    return dict(zip((0, *CODES), row[REPLIES:], strict=True))


def add(rows: Rows, more: Rows) -> None:
    """Add the rows of one to the other, channel by channel."""
    for channel, row in more.items():
        known = rows.get(channel)
        rows[channel] = list(row) if known is None else [a + b for a, b in zip(known, row, strict=True)]
