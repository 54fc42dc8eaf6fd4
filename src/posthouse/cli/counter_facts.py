"""A channel's counters as an administrator of the Sun product reads them (logging.md 6). Pure."""

from collections.abc import Iterator
from typing import Any

from posthouse.trace.figures import DELIVERED, FIRST, FIRST_MS, KINDS, QUEUED, QUEUED_MS, RECEIVED, Row, Rows, new_row, replies

UNITS = ("messages", "recipients", "blocks")
_HEAD = ("Channel                Messages   Recipients Blocks", "---------------------- ---------- ---------- ----------")


def since(rows: Rows, cleared: Rows) -> Rows:
    """What was counted after the counters were cleared; a number that is less than then was counted anew, and is whole."""
    pairs = ((channel, zip(row, cleared.get(channel, new_row()), strict=True)) for channel, row in rows.items())
    return {channel: [now - then if now >= then else now for now, then in both] for channel, both in pairs}


def facts(row: Row) -> dict[str, Any]:
    """One channel as `posthouse counters --json` prints it. Stored is what was received and has not been delivered, returned or
    dropped: less than 0 where mail waited when the counters were cleared.
    """  # noqa: D205
    found: dict[str, Any] = {kind: _triple(row[3 * at : 3 * at + 3]) for at, kind in enumerate(KINDS)}
    stored = _triple([row[RECEIVED + at] - row[DELIVERED + at] for at in range(3)])
    found["delivered"]["first_time"] = row[FIRST]
    return {
        "received": found.pop("received"),
        "stored": stored,
        **found,
        "queue_time": {"seconds": row[QUEUED_MS] / 1000, "count": row[QUEUED]},
        "queue_first_time": {"seconds": row[FIRST_MS] / 1000, "count": row[FIRST]},
        "replies": {str(code or "other"): number for code, number in replies(row).items() if number},
    }


def _triple(numbers: list[int]) -> dict[str, Any]:
    return dict(zip(UNITS, numbers, strict=True))


def table(channels: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines of `imsimta counters -show`; behind them a store's replies."""
    yield from _HEAD
    for channel, counted in channels.items():
        yield channel
        for kind in ("received", "stored", *KINDS[1:]):
            numbers = counted[kind]
            first = f" ({numbers['first_time']} first time)" if numbers.get("first_time") else ""
            yield f"   {kind.capitalize():<10}{numbers['messages']:>17}{numbers['recipients']:>11}{numbers['blocks']:>11}{first}"
        for name, key in (("Queue time/count", "queue_time"), ("Queue first time/count", "queue_first_time")):
            seconds, count = counted[key]["seconds"], counted[key]["count"]
            if count:
                yield f"   {name:<22}{seconds:>16.2f}/{count} = {seconds / count:.2f}"
        if counted["replies"]:
            yield "   Replies   " + "  ".join(f"{code}: {number}" for code, number in counted["replies"].items())
