"""What is wrong with an instance now, for `posthouse status`: said by the workers when it changes, gathered by the Dispatcher."""

from collections.abc import Iterable

import msgspec


class Trouble(msgspec.Struct, frozen=True):
    """One thing a person should know of while it lasts."""

    what: str
    """directory, queue, host"""
    since: float
    """Unix seconds"""
    text: str


def gathered(troubles: Iterable[Trouble]) -> list[Trouble]:
    """What several processes say in the same words is said once, since the first of them knows it."""
    first: dict[tuple[str, str], Trouble] = {}
    for one in sorted(troubles, key=lambda one: one.since):
        first.setdefault((one.what, one.text), one)
    return list(first.values())
