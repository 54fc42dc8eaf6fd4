r"""The right side of a DELIVERY_OPTIONS clause, parsed and rendered (option-dat 2.3).

    *            expand the group            **           every forwarding address
    otherwise    text with `$` [number] letter

A digit on I, S and O says what happens without a value: none or 0 the clause gives nothing, 1 insert nothing, 2 also delete
the character before, 3 also skip the next character of the template, 4 both. A user name or folder whose characters would
end a local part is quoted in the result, so nothing a sender writes can become a host.
Refused: unknown codes, numbers where none may stand, a digit above 4 on I, S and O.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from posthouse.mail.address import quote

_LETTERS = frozenset("ADEGFHIJKLMOPSUX")
_NUMBERED = frozenset("AEGHIJMOSUX")
_OPTIONAL = frozenset("ISO")
_SPECIAL = '@:,"<>()[]\\; '
_HIDE = {ord(char): 0xE000 + place for place, char in enumerate(_SPECIAL)}
_SHOW = {hidden: chr(char) for char, hidden in _HIDE.items()}
_HIDDEN = re.compile("[\ue000-\ue0ff]")
_NEEDS_HIDING = re.compile(r'[@:,"<>()\[\]\\; ]')
_CASES = "\\^_"


class ClauseError(ValueError):
    """The clause cannot be understood; the message says why."""


class Whole(StrEnum):
    """Templates that are not texts."""

    TEXT = ""
    EXPAND = "*"
    FORWARD = "**"


class Code(NamedTuple):
    """One code, or literal text (letter "")."""

    letter: str
    number: int | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ClauseTemplate:
    """A parsed template."""

    whole: Whole
    codes: tuple[Code, ...] = ()
    uses: frozenset[str] = frozenset()
    """letters of its codes"""
    through_lmtp: bool = False
    """it routes through a host that ends in .LMTP or .LMTPN"""


class OwnerValues(NamedTuple):
    """What the codes draw on, for one entry. Empty texts mean there is no value."""

    uid: str
    hosted_domain: str
    """canonical domain unless it is the default domain"""
    mail_host: str
    program: str = ""
    delivery_file: str = ""
    filter: str = ""
    spare: Mapping[int, str] = MappingProxyType({})


class ClauseInputs(NamedTuple):
    """What the codes draw on, for one entry and one address of his."""

    address: str
    local: str
    """still quoted if it was"""
    mailbox: str
    """local part without quotes and subaddress"""
    subaddress: str
    domain: str
    route: str
    owner: OwnerValues


def parse_clause_template(text: str) -> ClauseTemplate:
    """Parse the template of one clause.

    Raises:
        ClauseError: it is none.
    """
    if text in {"*", "**"}:
        return ClauseTemplate(Whole(text))
    codes: list[Code] = []
    at = 0
    while at < len(text):
        if text[at] != "$":
            end = text.find("$", at)
            end = len(text) if end < 0 else end
            codes.append(Code("", None, text[at:end]))
            at = end
            continue
        found = re.compile(r"\$(\d*)(.)", re.DOTALL).match(text, at)
        if not found:
            raise ClauseError("$ at the end of the template")
        codes.append(_code(found[1], found[2].upper()))
        at = found.end()
    if not codes:
        raise ClauseError("the template is empty")
    uses = frozenset(code.letter for code in codes if code.letter)
    return ClauseTemplate(Whole.TEXT, tuple(codes), uses, bool(re.match(r"@[^:]*\.lmtpn?:", text, re.IGNORECASE)))


def _code(digits: str, letter: str) -> Code:
    number = int(digits) if digits else None
    if letter == "$" and number is None:
        return Code("", None, "$")
    if letter in _CASES and number is None:
        return Code(letter, None)
    if letter not in _LETTERS or (number is not None and letter not in _NUMBERED):
        raise ClauseError(f"unknown code ${digits}{letter}")
    if letter in _OPTIONAL and number is not None and number > 4:
        raise ClauseError(f"${digits}{letter}: the digit is 0 to 4")
    return Code(letter, number)


def differs_by_uid(template: ClauseTemplate) -> bool:
    """Whether two users of a domain get addresses that differ in their uids only, which stand there as they are.

    Said of addresses without a subaddress, of entries that are alike in everything templates draw on but the uid.
    """
    if not template.uses.isdisjoint("ADHLPU"):
        return False
    case = "_"
    for letter, number, _ in template.codes:
        if letter and letter in _CASES:
            case = letter
        elif letter == "M" and (number is not None or case != "_"):
            return False
    return "M" in template.uses


def render_clause(template: ClauseTemplate, inputs: ClauseInputs) -> str | None:
    """The address a text template gives, or None when a value it needs is missing."""
    out: list[str] = []
    case = "_"
    skip = False
    for letter, number, literal in template.codes:
        if not letter:
            text = literal[1:] if skip else literal
            skip = False
        elif letter in _CASES:
            case = letter
            continue
        elif skip:
            skip = False
            continue
        else:
            value = _value(letter, number, inputs)
            if value is None:
                return None
            if value == "" and letter in _OPTIONAL:
                if not number:
                    return None
                if number in {2, 4}:
                    _delete_last(out)
                skip = number in {3, 4}
                continue
            text = value
        if case != "_":
            text = text.lower() if case == "\\" else text.upper()
        out.append(text)
    made = "".join(out)
    return _shown(made) if _HIDDEN.search(made) else made


def _delete_last(out: list[str]) -> None:
    while out and not out[-1]:
        out.pop()
    if out:
        out[-1] = out[-1][:-1]


def _shown(made: str) -> str:
    """Put hidden characters back, with the local part quoted."""
    route, rest = "", made
    if made.startswith("@"):
        route, colon, rest = made.partition(":")
        route += colon
    local, at, domain = rest.rpartition("@")
    if not at:
        local, domain = rest, ""
    return (route + quote(local.translate(_SHOW)) + at + domain).translate(_SHOW)


def _hidden(value: str) -> str:
    return value.translate(_HIDE) if _NEEDS_HIDING.search(value) else value


def _value(letter: str, number: int | None, inputs: ClauseInputs) -> str | None:
    """The text of one code; "" for nothing to insert, None when the clause must fail."""
    match letter:
        case "X":
            if not inputs.owner.mail_host:
                return None
            return inputs.owner.mail_host if number is None else _label(inputs.owner.mail_host, number)
        case "M":
            return _hidden(_char(inputs.owner.uid, number))
        case "I":
            return _hidden(inputs.owner.hosted_domain)
        case "S":
            return _hidden(inputs.subaddress)
        case "A":
            return inputs.address if number is None else _char(inputs.address, number)
        case "D":
            return inputs.domain
        case "U":
            return _hidden(_char(inputs.mailbox, number))
        case "L":
            return inputs.local
        case "H":
            return _label(inputs.domain, number or 0)
        case "J":
            return _label(inputs.owner.hosted_domain, number or 0)
        case "O":
            return inputs.route
        case "P":
            return _hidden(inputs.owner.program) or None
        case "F":
            return _hidden(inputs.owner.delivery_file) or None
        case "K":
            return inputs.owner.filter
        case _:
            return _hidden(inputs.owner.spare.get(number or {"E": 1, "G": 2}[letter], "")) or None


def _char(text: str, number: int | None) -> str:
    if number is None:
        return text
    return text[number : number + 1]


def _label(text: str, number: int) -> str:
    labels = text.split(".") if text else []
    return labels[number] if number < len(labels) else ""
