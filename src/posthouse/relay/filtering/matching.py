r"""Comparators and match types (RFC 5228 2.7; relational: RFC 5231), each in time linear in the value.

    :is  :contains  :matches (`*` any text, the shortest; `?` one character; a backslash makes the next one itself)
    :value "gt" "ge" "lt" "le" "eq" "ne"       :count compares how many values there are
    i;octet   i;ascii-casemap (A-Z and a-z are the same)   i;ascii-numeric (leading digits; none: above every number)

`:matches` never tries twice: the texts between stars are looked for from left to right, the last one at the value's end,
which finds the leftmost and shortest match whenever there is one.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_DIGITS = re.compile(r"[0-9]+")
_PATTERN = re.compile(r"\\(.)|([*?])|([^\\*?]+)|\\", re.DOTALL)
RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip


class Comparator(StrEnum):
    """The comparators there are."""

    OCTET = "i;octet"
    CASEMAP = "i;ascii-casemap"
    NUMERIC = "i;ascii-numeric"


class MatchType(StrEnum):
    """The match types there are, without their colon."""

    IS = "is"
    CONTAINS = "contains"
    MATCHES = "matches"
    VALUE = "value"
    COUNT = "count"
    REGEX = "regex"


def casemap(text: str) -> str:
    """The text in lower case, as far as it is ASCII."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def as_is(text: str) -> str:
    """The text."""
    return text


def number(text: str) -> float:
    """The number the text begins with, infinite when it begins with none (RFC 4790 9.1)."""
    match = _DIGITS.match(text)
    if match is None:
        return float("inf")
    return int(match[0]) if len(match[0]) <= 4000 else 10.0**300


def order_key(comparator: Comparator, text: str) -> object:
    """What values are ordered by."""
    match comparator:
        case Comparator.NUMERIC:
            return number(text)
        case Comparator.OCTET:
            return text.encode("utf-8", "surrogateescape")
        case Comparator.CASEMAP:
            return text.encode("utf-8", "surrogateescape").upper()  # ASCII letters only (RFC 4790 9.2)


@dataclass(frozen=True, slots=True)
class _Segment:
    """What stands between two stars: its length is fixed."""

    text: str
    """with U+0000 for each `?`"""
    holes: tuple[int, ...]
    """where its question marks stand"""
    search: re.Pattern[str] | None
    """None when there are no holes"""

    def find(self, value: str, at: int) -> int:
        """The first place at or behind `at`, -1 when there is none."""
        if self.search is None:
            return value.find(self.text, at)
        found = self.search.search(value, at)
        return found.start() if found else -1

    def stands(self, value: str, at: int) -> bool:
        """Whether it stands at this place."""
        if self.search is None:
            return value.startswith(self.text, at)
        return self.search.match(value, at) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled `:matches` key, already folded."""

    segments: tuple[_Segment, ...]
    cost: int
    """factor of the work to be charged"""

    def match(self, folded: str, value: str) -> tuple[str, ...] | None:
        """The match variables, the whole first (RFC 5229 3.2), or None.

        Args:
            folded: the value as the comparator sees it.
            value: as it is; as long as `folded`.
        """
        segments = self.segments
        first, last = segments[0], segments[-1]
        if not first.stands(folded, 0):
            return None
        if len(segments) == 1:
            return (value, *_holes(first, value, 0)) if len(folded) == len(first.text) else None
        places, at = [0], len(first.text)
        for segment in segments[1:-1]:
            found = segment.find(folded, at)
            if found < 0:
                return None
            places.append(found)
            at = found + len(segment.text)
        end = len(folded) - len(last.text)
        if end < at or not last.stands(folded, end):
            return None
        places.append(end)
        out = [value, *_holes(first, value, 0)]
        for (before, begin), (segment, place) in pairwise(zip(segments, places, strict=True)):
            out.append(value[begin + len(before.text) : place])
            out += _holes(segment, value, place)
        return tuple(out)


def _holes(segment: _Segment, value: str, at: int) -> list[str]:
    return [value[at + hole] for hole in segment.holes]


def pattern(key: str) -> Pattern:
    """Compile a `:matches` key, folded as the comparator wants it."""
    segments: list[_Segment] = []
    text = ""
    holes: list[int] = []
    for escaped, wild, plain in _PATTERN.findall(key):
        if wild == "*":
            segments.append(_segment(text, holes))
            text, holes = "", []
        elif wild:
            holes.append(len(text))
            text += "\0"
        else:
            text += escaped or plain or "\\"  # a backslash at the key's end is one
    segments.append(_segment(text, holes))
    widest = max((len(each.text) for each in segments[1:-1] if each.holes), default=0)  # only these are looked for
    return Pattern(tuple(segments), 1 + widest)


def _segment(text: str, holes: list[int]) -> _Segment:
    if not holes:
        return _Segment(text, (), None)
    wild = set(holes)
    expression = "".join("." if place in wild else re.escape(char) for place, char in enumerate(text))
    return _Segment(text, tuple(holes), re.compile(expression, re.DOTALL))


def quoted_wildcards(text: str) -> str:
    """The text as a key that matches only itself (`:quotewildcard`, RFC 5229 4.1.3)."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
