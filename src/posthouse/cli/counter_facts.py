"""A channel's counters as an administrator of the Sun product reads them (logging.md 6). Pure."""

from collections.abc import Iterator
from typing import Any

from posthouse.trace.figures import KINDS, Counted, Row, Rows, Waited, kinds, new_row, replies, waited

_HEAD = ("Channel                Messages   Recipients Blocks", "---------------------- ---------- ---------- ----------")


def since(rows: Rows, cleared: Rows) -> Rows:
    """What was counted after the counters were cleared; a number that is less than then was counted anew, and is whole."""
    pairs = ((channel, zip(row, cleared.get(channel, new_row()), strict=True)) for channel, row in rows.items())
    return {channel: [now - then if now >= then else now for now, then in both] for channel, both in pairs}


def facts(row: Row) -> dict[str, Any]:
    """One channel as `posthouse counters --json` prints it.

    Stored is what was received and has not left: less than nothing where mail waited when the counters were cleared.
    """
    counted = kinds(row)
    every, first = waited(row)
    stored = (now - gone for now, gone in zip(counted["received"], counted["delivered"], strict=True))
    return {
        "received": counted["received"]._asdict(),
        "stored": Counted(*stored)._asdict(),
        "delivered": {**counted["delivered"]._asdict(), "first_time": first.copies},
        **{kind: counted[kind]._asdict() for kind in KINDS[2:]},
        "queue_time": _time(every),
        "queue_first_time": _time(first),
        "replies": {str(code or "other"): number for code, number in replies(row).items() if number},
    }


def _time(time: Waited) -> dict[str, float]:
    return {"seconds": time.seconds, "count": time.copies}


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
