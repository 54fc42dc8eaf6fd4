r"""The right side of a rewrite rule, parsed: parts, substitutions, conditions (imta-cnf 2.2 - 2.4).

    A%B          user A, host B, start again           A@B          = A%B@B
    A%B@C        host B, channel tag C                 A@B@C        = A@B@C@C
    A@B@C@D      host B, source route C, tag D         A%B@C@D      the same

Substitutions: $U $0U $1U $D $nD $H $nH $L $W $$ $% $@ $\ $^ $_ $&n $!n $*n $#n $(key) ${map,text} $]url[ $[routine].
Conditions: $E $B $F $R $A $P $S $X, $M $N $Q $C $V $Z $T with an argument, $?text and $nnnnnnn?text. An argument runs up
to an unescaped `@` or `%` or the next of these. Letters are case-blind.
Refused, with a TemplateError: unknown codes, unfinished brackets, a number of parts not listed above.
"""

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import quote as percent_encoded

from posthouse.relay.directory.dn import escape_value as escape_in_name
from posthouse.relay.directory.filter import escape as escape_in_filter
from posthouse.relay.routing.host_pattern import HostMatch

_SIMPLE = "EBFRAPSX"
_WITH_ARGUMENT = "MNQCVZT"
_ENHANCED_DIGITS = 7
_FILTER_PART = 3


class TemplateError(ValueError):
    """The template cannot be understood; the message says where."""


class Code(IntEnum):
    """What one piece of a template inserts."""

    TEXT = 0
    USER = 1
    MATCHED = 2
    UNMATCHED = 3
    LITERAL = 4
    UNIQUE = 5
    CASE = 6
    UNMATCHED_LABEL = 7
    MATCHED_LABEL = 8
    MAPPING = 9
    URL = 10
    ROUTINE = 11


class Piece(NamedTuple):
    """One instruction: a code with its number or text, and for look-ups the pieces of their argument."""

    code: Code
    number: int = 0
    text: str = ""
    inner: tuple["Piece", ...] = ()


Pieces = tuple[Piece, ...]


class Condition(NamedTuple):
    """One control sequence. letter is one of `EBFRAPSX`, `MNQCVZT` or `?`."""

    letter: str
    argument: Pieces = ()
    enhanced: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template without `$(`."""

    user: Pieces
    host: Pieces
    route: Pieces
    tag: Pieces
    restart: bool
    conditions: tuple[Condition, ...]
    error_only: bool = False
    """it is `$?text` alone: the rewrite ends here"""


@dataclass(frozen=True, slots=True)
class LookupTemplate:
    """A template with `$(key)`: text and keys alternate; it can be parsed when the keys are looked up."""

    parts: tuple[str | Pieces, ...]


@dataclass(slots=True)
class Inputs:
    """What the substitutions of one rule draw on."""

    rest: str
    match: HostMatch
    local: tuple[str, str] = ("", "")
    """local part without subaddress, subaddress"""
    unique: str = ""
    resolved: dict[Piece, str] = field(default_factory=dict)
    """answers to the look-ups among the pieces"""


_LOOKUP = re.compile(r"\$(?:\((?P<key>[^)]*)\)|.)|[^$]+|\$", re.DOTALL)


def parse_template(text: str) -> Template | LookupTemplate:
    """Parse a rule's template.

    Raises:
        TemplateError: it is not a template.
    """
    if "$(" not in text:
        return _Parser(text).parse()
    parts: list[str | Pieces] = []
    plain = ""
    for found in _LOOKUP.finditer(text):
        if found["key"] is None:
            plain += found[0]
            continue
        parts += [plain, parse_pieces(found["key"])]
        plain = ""
    if not parts:
        if text.count("$(") != text.count("$$("):
            raise TemplateError("$( is not finished by )")
        return _Parser(text).parse()
    return LookupTemplate((*parts, plain))


def parse_found(text: str) -> Template:
    """Parse what a template became after its general database look-ups; another `$(` is an error there.

    Raises:
        TemplateError: it is not a template.
    """
    return _Parser(text).parse()


def parse_pieces(text: str) -> Pieces:
    """Parse text with simple substitutions only, as in the argument of a look-up.

    Raises:
        TemplateError: unknown code, or a condition where none may stand.
    """
    parser = _Parser(text)
    parser.scan(plain=True)
    return parser.pieces(parser.parts[0])


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.parts: list[list[Piece]] = [[]]
        self.signs = ""
        self.conditions: list[tuple[str, list[Piece], str]] = []
        self.target = self.parts[0]

    @staticmethod
    def pieces(found: list[Piece]) -> Pieces:
        merged: list[Piece] = []
        for piece in found:
            if piece.code is Code.TEXT and merged and merged[-1].code is Code.TEXT:
                merged[-1] = Piece(Code.TEXT, text=merged[-1].text + piece.text)
            else:
                merged.append(piece)
        return tuple(merged)

    def parse(self) -> Template:
        self.scan(plain=False)
        conditions = tuple(Condition(letter, self.pieces(pieces), more) for letter, pieces, more in self.conditions)
        parts = [self.pieces(part) for part in self.parts]
        if len(parts) == 1 and not parts[0] and any(condition.letter == "?" for condition in conditions):
            return Template((), (), (), (), restart=False, conditions=conditions, error_only=True)
        if not all(parts):
            raise TemplateError("a part of the template is empty")
        user, host, *more = [*parts, (), ()][:4] if len(parts) < 4 else parts
        match self.signs:
            case "%":
                return Template(user, host, (), (), restart=True, conditions=conditions)
            case "@":
                return Template(user, host, (), host, restart=False, conditions=conditions)
            case "%@":
                return Template(user, host, (), more[0], restart=False, conditions=conditions)
            case "@@":
                return Template(user, host, more[0], more[0], restart=False, conditions=conditions)
            case "@@@" | "%@@":
                return Template(user, host, more[0], more[1], restart=False, conditions=conditions)
            case _:
                raise TemplateError("expected A%B, A@B, A%B@C, A@B@C or A@B@C@D")

    def scan(self, *, plain: bool) -> None:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            self.at += 1
            if char == "$":
                self._code(plain=plain)
            elif char in "%@" and not plain:
                self.signs += char
                self.parts.append([])
                self.target = self.parts[-1]
            else:
                self.target.append(Piece(Code.TEXT, text=char))

    def _number(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at].isdecimal():
            self.at += 1
        return self.text[start : self.at]

    def _code(self, *, plain: bool) -> None:
        digits = self._number()
        if self.at >= len(self.text):
            raise TemplateError("$ at the end")
        char = self.text[self.at].upper()
        self.at += 1
        if char in _SIMPLE + _WITH_ARGUMENT + "?" and not (plain or (digits and char != "?")):
            self._condition(char, digits)
        else:
            self.target.append(self._piece(char, digits))

    def _condition(self, letter: str, digits: str) -> None:
        if letter in _SIMPLE:
            self.conditions.append((letter, [], ""))
            self.target = self.parts[-1]
            return
        enhanced = ""
        if letter == "?" and digits:
            if len(digits) != _ENHANCED_DIGITS or digits[0] not in "45":
                raise TemplateError(f"${digits}?: the number must be 4yyyzzz or 5yyyzzz")
            enhanced = f"{digits[0]}.{int(digits[1:4])}.{int(digits[4:])}"
        argument: list[Piece] = []
        self.conditions.append((letter, argument, enhanced))
        self.target = argument

    def _piece(self, char: str, digits: str) -> Piece:
        number = int(digits or 0)
        match char:
            case "$" | "%" | "@" if not digits:
                return Piece(Code.TEXT, text=char)
            case "U" if not digits:
                return Piece(Code.USER, -1)
            case "U" if number <= 1:
                return Piece(Code.USER, number)
            case "D":
                return Piece(Code.MATCHED, number)
            case "H":
                return Piece(Code.UNMATCHED, number)
            case "L" if not digits:
                return Piece(Code.LITERAL)
            case "W" if not digits:
                return Piece(Code.UNIQUE)
            case "\\" | "^" | "_" if not digits:
                return Piece(Code.CASE, text=char)
            case "&" | "!" if not digits:
                return Piece(Code.UNMATCHED_LABEL, int(self._number() or 0), char)
            case "*" | "#" if not digits:
                return Piece(Code.MATCHED_LABEL, int(self._number() or 0), char)
            case "{" | "]" | "[" if not digits:
                return self._look_up(char)
            case _:
                raise TemplateError(f"unknown code ${digits}{char}")

    def _look_up(self, opening: str) -> Piece:
        closing = {"{": "}", "]": "[", "[": "]"}[opening]
        end = self.text.find(closing, self.at)
        if end < 0:
            raise TemplateError(f"${opening} is not finished by {closing}")
        body, self.at = self.text[self.at : end], end + 1
        if opening == "{":
            name, comma, argument = body.partition(",")
            if not comma or not name:
                raise TemplateError("${ needs a table name, a comma and a text")
            return Piece(Code.MAPPING, text=name, inner=parse_pieces(argument))
        if opening == "]":
            return Piece(Code.URL, inner=parse_pieces(body))
        return Piece(Code.ROUTINE, text=body)


def render(pieces: Pieces, inputs: Inputs, case: str = "_") -> tuple[str, str] | None:
    """The text of the pieces, and the case mode in force after them; None when a label or look-up is missing."""
    out: list[str] = []
    for piece in pieces:
        if piece.code is Code.CASE:
            case = piece.text
            continue
        text = _insert(piece, inputs)
        if text is None:
            return None
        out.append(text if case == "_" else text.lower() if case == "\\" else text.upper())
    return "".join(out), case


def render_url(pieces: Pieces, inputs: Inputs) -> str | None:
    """An LDAP URL; what is inserted is escaped as a value of a name or, after the third `?`, of a filter."""
    url = ""
    for piece in pieces:
        if piece.code is Code.CASE:
            continue
        text = _insert(piece, inputs)
        if text is None:
            return None
        if piece.code is not Code.TEXT:
            escape = escape_in_filter if url.count("?") >= _FILTER_PART else escape_in_name
            text = percent_encoded(escape(text), safe="")
        url += text
    return url


def _insert(piece: Piece, inputs: Inputs) -> str | None:
    match piece.code:
        case Code.TEXT:
            return piece.text
        case Code.USER:
            return inputs.rest if piece.number < 0 else inputs.local[piece.number]
        case Code.MATCHED:
            return _drop_labels(inputs.match.matched, piece.number)
        case Code.UNMATCHED:
            return _drop_labels(inputs.match.unmatched, piece.number)
        case Code.LITERAL:
            return inputs.match.literal
        case Code.UNIQUE:
            return inputs.unique
        case Code.UNMATCHED_LABEL:
            return _label(inputs.match.unmatched, piece.number, from_right=piece.text == "!")
        case Code.MATCHED_LABEL:
            return _label(inputs.match.matched, piece.number, from_right=piece.text == "#")
        case _:
            return inputs.resolved.get(piece)


def _drop_labels(text: str, count: int) -> str:
    if not count or not text:
        return text
    dot = "." if text.startswith(".") else ""
    labels = text.removeprefix(".").split(".")[count:]
    return dot + ".".join(labels) if labels else ""


def _label(text: str, number: int, *, from_right: bool) -> str | None:
    labels = [label for label in text.split(".") if label]
    if number >= len(labels):
        return None
    return labels[-1 - number] if from_right else labels[number]
