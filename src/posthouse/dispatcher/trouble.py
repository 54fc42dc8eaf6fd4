"""What is wrong with an instance now, for `posthouse status`: said by the workers when it changes, gathered by the Dispatcher."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

What: TypeAlias = Literal[
    "directory", "queue", "host", "store", "partition", "worker", "certificate", "channel", "configuration", "version"
]
"""`version` is found by the commands that show troubles: who runs cannot know"""
WHATS: tuple[What, ...] = get_args(What)
Wrong: TypeAlias = dict[What, str]
"""all that is wrong, in words"""


class Trouble(msgspec.Struct, frozen=True):
    """One thing a person should know of while it lasts."""

    what: str
    """one of WHATS; a process of a newer version may know more"""
    since: float
    """Unix seconds"""
    text: str


Tell: TypeAlias = Callable[[Sequence[Trouble]], None]


class Since:
    """Remembers since when each thing has been wrong.

    Args:
        tell: takes all there are now.
        now: Unix seconds.
    """

    def __init__(self, tell: Tell, now: Callable[[], float] = time.time) -> None:
        self._tell = tell
        self._now = now
        self._since: dict[What, float] = {}

    def say(self, found: Mapping[What, str]) -> None:
        """This is all that is wrong now: in words, by what it is."""
        now = self._now()
        self._since = {what: self._since.get(what, now) for what in found}
        self._tell([Trouble(what, self._since[what], text) for what, text in found.items()])


def gathered(troubles: Iterable[Trouble]) -> list[Trouble]:
    """What several processes say in the same words is said once, since the first of them knows it."""
    first: dict[tuple[str, str], Trouble] = {}
    for one in sorted(troubles, key=lambda one: one.since):
        first.setdefault((one.what, one.text), one)
    return list(first.values())
