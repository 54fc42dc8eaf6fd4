r"""Search filters of RFC 4515: parse, evaluate, escape.

    filter = "(" ( "&" filter* | "|" filter* | "!" filter | item ) ")"
    item   = attr ( "=" | "~=" | ">=" | "<=" ) value | attr "=*" | attr "=" [a] "*" ... "*" [z] | attr [":" rule] ":=" value

Values may hold `\XX`; parentheses, `*`, `\` and NUL in them must be written so. Attribute names and values are compared
case-blind with runs of blanks as one (caseIgnoreMatch); `>=` and `<=` compare numbers as numbers and all else as text.
`~=` is `=`. An attribute the entry lacks makes an item false. Refused with FilterError: anything else, nesting deeper
than 64, text over 64 KiB. An extensible match by a rule other than the caseIgnore and caseExact ones is never true.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

MAX_DEPTH = 64
MAX_TEXT = 65536
_ATTRIBUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.;-]*")
_ESCAPE = re.compile(r"[*()\\\x00]")
_UNESCAPE = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)")
_PLAIN_VALUE = re.compile(r"(?:[^*()\\\x00]|\\[0-9A-Fa-f]{2})*")

Attributes: TypeAlias = Mapping[str, tuple[str, ...]]


class FilterError(ValueError):
    """The text is no filter; the message says where it stops being one."""


class Comparison(StrEnum):
    """How an item compares."""

    EQUAL = "="
    APPROXIMATE = "~="
    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Present:
    """`(attr=*)`."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`(attr=value)` and its kin; the value is unescaped."""

    attribute: str
    comparison: Comparison
    value: str


@dataclass(frozen=True, slots=True)
class Substring:
    """`(attr=a*b*c)`: parts[0] is the beginning, parts[-1] the end, either may be empty."""

    attribute: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extensible:
    """`(attr:rule:=value)`; rule "" is the attribute's own."""

    attribute: str
    rule: str
    value: str


@dataclass(frozen=True, slots=True)
class And:
    """All of them; of none: true (RFC 4526)."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them; of none: false (RFC 4526)."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    part: "Filter"


Filter: TypeAlias = Present | Compare | Substring | Extensible | And | Or | Not


def escape(value: str) -> str:
    r"""The value as it may stand in a filter: `*`, `(`, `)`, `\` and NUL as `\XX`, so that it can never be more than a value."""
    return value if value.isalnum() else _ESCAPE.sub(lambda found: f"\\{ord(found[0]):02x}", value)


def unescape(value: str) -> str:
    r"""The value with every `\XX` replaced; the octets are UTF-8."""
    if "\\" not in value:
        return value
    return _UNESCAPE.sub(lambda found: bytes.fromhex(found[1].replace("\\", "")).decode("utf-8", "surrogateescape"), value)


def fold(value: str) -> str:
    """The form in which values are compared: one case, blanks at the ends gone and runs of them one."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value).casefold()
    value = value.lower()
    return " ".join(value.split()) if " " in value or "\t" in value else value


def parse(text: str) -> Filter:
    """The filter in the text.

    Raises:
        FilterError: it is none.
    """
    if len(text) > MAX_TEXT:
        raise FilterError(f"filter is longer than {MAX_TEXT} characters")
    text = text.strip()
    found, end = _filter(text, 0, 0)
    if end != len(text):
        raise FilterError(f"nothing may follow the filter: {text[end : end + 20]!r}")
    return found


def matches(wanted: Filter, attributes: Attributes) -> bool:
    """Whether the entry with these attributes (names lower case) fits the filter."""
    match wanted:
        case Compare(name, comparison, value):
            return _compare(comparison, fold(value), attributes.get(name, ()))
        case And(parts):
            return all(matches(part, attributes) for part in parts)
        case Or(parts):
            return any(matches(part, attributes) for part in parts)
        case Not(part):
            return not matches(part, attributes)
        case Present(name):
            return name in attributes
        case Substring(name, parts):
            pattern = ".*".join(re.escape(fold(part)) for part in parts)
            return any(re.fullmatch(pattern, fold(value), re.DOTALL) for value in attributes.get(name, ()))
        case Extensible(name, rule, value):
            return _extensible(rule.lower(), value, attributes.get(name, ()))


def _compare(comparison: Comparison, wanted: str, values: tuple[str, ...]) -> bool:
    if comparison in {Comparison.EQUAL, Comparison.APPROXIMATE}:
        return any(fold(value) == wanted for value in values)
    for value in values:
        have = fold(value)
        pair = (int(have), int(wanted)) if have.isdecimal() and wanted.isdecimal() else (have, wanted)
        if pair[0] == pair[1] or (pair[0] > pair[1]) == (comparison is Comparison.AT_LEAST):  # type: ignore[operator]
            return True
    return False


def _extensible(rule: str, wanted: str, values: tuple[str, ...]) -> bool:
    if rule.startswith("caseexact"):
        return wanted in values
    return (not rule or rule.startswith("caseignore")) and any(fold(value) == fold(wanted) for value in values)


def _filter(text: str, at: int, depth: int) -> tuple[Filter, int]:
    if depth > MAX_DEPTH:
        raise FilterError(f"filter is nested deeper than {MAX_DEPTH}")
    if text[at : at + 1] != "(":
        raise FilterError(f"'(' expected at position {at}")
    at = _blanks(text, at + 1)
    operator = text[at : at + 1]
    found: Filter
    if operator and operator in "&|!":
        parts: list[Filter] = []
        at = _blanks(text, at + 1)
        while text[at : at + 1] == "(":
            part, at = _filter(text, at, depth + 1)
            parts.append(part)
            at = _blanks(text, at)
        if operator == "!" and len(parts) != 1:
            raise FilterError("'!' takes one filter")
        found = Not(parts[0]) if operator == "!" else And(tuple(parts)) if operator == "&" else Or(tuple(parts))
    else:
        found, at = _item(text, at)
    if text[at : at + 1] != ")":
        raise FilterError(f"')' expected at position {at}")
    return found, at + 1


def _blanks(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _item(text: str, at: int) -> tuple[Filter, int]:
    name = _ATTRIBUTE.match(text, at)
    if not name:
        raise FilterError(f"attribute name expected at position {at}")
    attribute, at = name[0].lower(), name.end()
    if text[at : at + 1] == ":":
        return _extensible_item(text, attribute, at)
    for comparison in (Comparison.AT_LEAST, Comparison.AT_MOST, Comparison.APPROXIMATE, Comparison.EQUAL):
        if text.startswith(comparison, at):
            break
    else:
        raise FilterError(f"'=', '~=', '>=' or '<=' expected at position {at}")
    at += len(comparison)
    parts: list[str] = []
    while True:
        value = _PLAIN_VALUE.match(text, at)
        assert value is not None
        parts.append(unescape(value[0]))
        at = value.end()
        if text[at : at + 1] != "*":
            break
        at += 1
    if len(parts) == 1:
        return Compare(attribute, comparison, parts[0]), at
    if comparison is not Comparison.EQUAL:
        raise FilterError(f"'*' does not go with {comparison!s} at position {at}")
    if parts == ["", ""]:
        return Present(attribute), at
    return Substring(attribute, tuple(parts)), at


def _extensible_item(text: str, attribute: str, at: int) -> tuple[Filter, int]:
    found = re.compile(r"(?::([A-Za-z0-9.-]+))?(?::([A-Za-z0-9.-]+))?:=").match(text, at)
    if not found:
        raise FilterError(f"':=' expected at position {at}")
    rules = [word for word in (found[1], found[2]) if word and word.lower() != "dn"]
    value = _PLAIN_VALUE.match(text, found.end())
    assert value is not None
    return Extensible(attribute, rules[-1] if rules else "", unescape(value[0])), value.end()
