"""Which arguments a command or test takes (RFC 5228 2.6), and taking them: tags in any order, then positions.

A fault is told with its line, and the next argument is looked at: one compilation finds many faults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from posthouse.relay.filtering.syntax import Argument, Number, Strings, Tag


class Want(Enum):
    """Types of arguments."""

    STRING = "a string"
    STRINGS = "a string or string list"
    NUMBER = "a number"

    def fits(self, argument: Argument) -> bool:
        """Whether it is one."""
        if isinstance(argument, Strings):
            return self is Want.STRINGS or (self is Want.STRING and not argument.listed)
        return isinstance(argument, Number) and self is Want.NUMBER


class Tests(Enum):
    """How many tests follow."""

    NONE = "no test"
    ONE = "one test"
    LIST = "a list of tests in parentheses"


class TagUse(NamedTuple):
    """One tag a command knows."""

    group: str
    """of one group only one may be given"""
    want: Want | None = None
    """its value"""
    requires: tuple[str, ...] = ()
    """one of these extensions is needed"""


MATCH: Final[Mapping[str, TagUse]] = {
    "is": TagUse("match type"),
    "contains": TagUse("match type"),
    "matches": TagUse("match type"),
    "value": TagUse("match type", Want.STRING, ("relational",)),
    "count": TagUse("match type", Want.STRING, ("relational",)),
    "regex": TagUse("match type", None, ("regex",)),
    "comparator": TagUse("comparator", Want.STRING),
}
PART: Final[Mapping[str, TagUse]] = {
    "all": TagUse("address part"),
    "localpart": TagUse("address part"),
    "domain": TagUse("address part"),
    "user": TagUse("address part", None, ("subaddress",)),
    "detail": TagUse("address part", None, ("subaddress",)),
}
INDEX: Final[Mapping[str, TagUse]] = {
    "index": TagUse("index", Want.NUMBER, ("index",)),
    "last": TagUse("last", None, ("index",)),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a command or test takes.

    Args:
        positions: types of its positional arguments.
        tags: what it knows.
        tests: that follow.
        block: whether a block follows.
        requires: one of these extensions is needed.
        optional: how many of the first positions may be missing.
    """

    positions: tuple[Want, ...] = ()
    tags: Mapping[str, TagUse] = field(default_factory=dict)
    tests: Tests = Tests.NONE
    block: bool = False
    requires: tuple[str, ...] = ()
    optional: int = 0


class Given(NamedTuple):
    """One tag that was given."""

    name: str
    line: int
    value: Argument | None


class Taken(NamedTuple):
    """The arguments of one command."""

    tags: dict[str, Given]
    """by group"""
    positions: tuple[Argument | None, ...]
    """as many as the signature has; None for an optional one that is missing"""

    def strings(self, place: int) -> Strings:
        """A positional string or list."""
        found = self.positions[place]
        assert isinstance(found, Strings)
        return found

    def number(self, place: int) -> int:
        """A positional number."""
        found = self.positions[place]
        assert isinstance(found, Number)
        return found.value

    def text(self, group: str) -> Strings | None:
        """A tag's string or list."""
        given = self.tags.get(group)
        return given.value if given is not None and isinstance(given.value, Strings) else None

    def amount(self, group: str) -> int | None:
        """A tag's number."""
        given = self.tags.get(group)
        return given.value.value if given is not None and isinstance(given.value, Number) else None


def take(
    name: str, line: int, arguments: tuple[Argument, ...], signature: Signature, allowed: frozenset[str]
) -> Taken | list[tuple[int, str]]:
    """The arguments in their places, or every fault as line and reason.

    Args:
        name: of the command, as faults name it.
        line: where it stands.
        arguments: as parsed.
        signature: what it takes.
        allowed: extensions that are required.
    """
    faults: list[tuple[int, str]] = []
    tags: dict[str, Given] = {}
    positions: list[Argument] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not isinstance(argument, Tag):
            positions.append(argument)
            continue
        use = signature.tags.get(argument.name)
        if use is None or (use.requires and not allowed.intersection(use.requires)):
            why = f" (it needs the extension {use.requires[0]})" if use is not None else ""
            faults.append((argument.line, f"unknown tag :{argument.name} for {name}{why}"))
            continue
        if positions:
            faults.append((argument.line, f"the tag :{argument.name} stands behind an argument of {name}"))
        if use.group in tags:
            faults.append((argument.line, f"a second {use.group} for {name}: :{argument.name}"))
        given: Argument | None = None
        if use.want is not None:
            if not rest or not use.want.fits(rest[0]):
                found = rest[0].kind if rest else "nothing"
                faults.append((argument.line, f"the tag :{argument.name} of {name} wants {use.want.value}, but found {found}"))
                if rest and not (isinstance(rest[0], Tag) and rest[0].name in signature.tags):
                    rest.pop(0)
                continue
            given = rest.pop(0)
        tags[use.group] = Given(argument.name, argument.line, given)
    placed = _place(name, line, positions, signature, faults)
    return faults or Taken(tags, placed)


def _place(
    name: str, line: int, positions: list[Argument], signature: Signature, faults: list[tuple[int, str]]
) -> tuple[Argument | None, ...]:
    wanted = len(signature.positions)
    missing = wanted - len(positions)
    if faults and not 0 <= missing <= signature.optional:
        return ()  # what is wrong with a tag has taken an argument away, or left one
    if missing < 0:
        faults.append((positions[wanted].line, f"{name} has too many arguments: {positions[wanted].kind}"))
        return ()
    if missing > signature.optional:
        want = signature.positions[len(positions)] if not signature.optional else signature.positions[-1]
        faults.append((line, f"{name} needs {want.value} as argument {len(positions) + 1}"))
        return ()
    padded: list[Argument | None] = [*([None] * missing), *positions]
    for place, (want, argument) in enumerate(zip(signature.positions, padded, strict=True)):
        if argument is not None and not want.fits(argument):
            faults.append((argument.line, f"{name} needs {want.value} as argument {place + 1}, but found {argument.kind}"))
    return tuple(padded)
