"""`posthouse queue summary`: what waits, counted by channel, host and state. Pure; every state is there, also with 0."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from posthouse.relay.job_controller.cargo import iso


class Counted(NamedTuple):
    """One copy."""

    channel: str
    host: str
    state: str
    """journal, file or held"""
    recipients: int
    octets: int
    enqueued: float
    """Unix seconds"""


def summary_of(copies: Iterable[Counted], damaged: int, overdue: dict[str, Any] | None) -> dict[str, Any]:
    """The object `queue summary --json` prints.

    Args:
        copies: all that are meant.
        damaged: held files that cannot be read; not among the copies.
        overdue: copies that should have gone, where somebody knows.
    """
    groups: dict[tuple[str, str, str], list[float]] = {}
    states = Counter[str]()
    for each in copies:
        group = groups.setdefault((each.channel, each.host, each.state), [0, 0, 0, each.enqueued])
        group[0] += 1
        group[1] += each.recipients
        group[2] += each.octets
        group[3] = min(group[3], each.enqueued)
        states[each.state] += 1
    oldest = min((group[3] for group in groups.values()), default=None)
    return {
        "groups": [
            {"channel": channel, "host": host, "state": state, "copies": int(group[0]), "recipients": int(group[1]),
             "octets": int(group[2]), "oldest": iso(group[3])}
            for (channel, host, state), group in sorted(groups.items())
        ],
        "total": {
            "copies": states.total(), "recipients": int(sum(group[1] for group in groups.values())),
            "octets": int(sum(group[2] for group in groups.values())),
            **{state: states[state] for state in ("journal", "file", "held")}, "damaged": damaged,
            "oldest": iso(oldest) if oldest is not None else None,
        },
        "overdue": overdue,
    }  # fmt: skip
