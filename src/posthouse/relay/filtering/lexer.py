r"""Tokens of a script (RFC 5228 2.3, 2.4, 8.1).

    identifier   :tag   1234  12K 3M 1G   "quoted \" string"   text: (a dot alone ends it)   { } [ ] ( ) ; ,
    # comment to the line's end     /* comment, not nested */

Lines may end in CRLF or LF; in strings both become CRLF. In a quoted string a backslash makes the next character itself.
In `text:` a line that begins with two dots loses one. Refused with its line: NUL, a bare CR, an unfinished string or
comment, a string that is too long. A number above 2^64-1 or with letters behind it and an unknown character are a token
of their own, BAD: what is behind them can be read.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.fault import SyntaxFault


class Kind(StrEnum):
    """Kinds of tokens; marks are their own character."""

    IDENTIFIER = "an identifier"
    TAG = "a tag"
    NUMBER = "a number"
    STRING = "a string"
    MARK = "a mark"
    BAD = "no token"
    END = "the end of the script"


class Token(NamedTuple):
    """One token; the text of a number is its value in digits, that of a bad one what is wrong with it."""

    kind: Kind
    text: str
    line: int

    @property
    def shown(self) -> str:
        """How a fault names it."""
        match self.kind:
            case Kind.END | Kind.STRING | Kind.BAD:
                return self.kind.value
            case Kind.TAG:
                return f"tag :{self.text}"
            case Kind.NUMBER:
                return f"number {self.text}"
            case Kind.MARK:
                return f"'{self.text}'"
            case Kind.IDENTIFIER:
                return f"'{self.text}'"


_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    | (?P<hash>\#[^\n]*)
    | (?P<comment>/\*)
    | (?P<text>text:(?=[ \t]*(?:\#[^\n]*)?\n))
    | (?P<identifier>[A-Za-z_][A-Za-z0-9_]*)
    | :(?P<tag>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9]+)(?P<unit>[A-Za-z_]\w*)?
    | (?P<quote>")
    | (?P<mark>[{}\[\]();,])""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_QUOTED = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TEXT_END = re.compile(r"^\.(?:\n|\Z)", re.MULTILINE)
_UNKNOWN = re.compile(r"[^\s\w\"#{}\[\]();,]+|.", re.ASCII)
_STUFFED = re.compile(r"^\.\.", re.MULTILINE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def tokens(script: str) -> Iterator[Token]:
    """All tokens and, at last, END.

    Raises:
        SyntaxFault: at the first place that is no Sieve.
    """
    text, line, at = script.replace("\r\n", "\n"), 1, 0
    for found, reason in (("\0", "NUL character"), ("\r", "stray carriage return")):
        if found in text:
            raise SyntaxFault(text.count("\n", 0, text.index(found)) + 1, reason)
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            yield Token(Kind.BAD, f"unexpected character {text[at]!r}", line)
            unknown = _UNKNOWN.match(text, at)
            at = unknown.end() if unknown is not None else at + 1
            continue
        kind, begin, first = match.lastgroup, at, line
        at = match.end()
        match kind:
            case "comment":
                at = _comment_end(text, at, first)
            case "quote":
                value, at = _quoted(text, at, first)
                yield Token(Kind.STRING, value, first)
            case "text":
                value, at = _multi_line(text, at, first)
                yield Token(Kind.STRING, value, first)
            case "number" | "unit":
                yield _number(match, first)
            case "identifier":
                yield Token(Kind.IDENTIFIER, match[0], first)
            case "tag":
                yield Token(Kind.TAG, match["tag"], first)
            case "mark":
                yield Token(Kind.MARK, match[0], first)
        line += text.count("\n", begin, at)
    yield Token(Kind.END, "", line)


def _comment_end(text: str, at: int, line: int) -> int:
    end = text.find("*/", at)
    if end < 0:
        raise SyntaxFault(line, "a comment that begins here does not end")
    return end + 2


def _quoted(text: str, at: int, line: int) -> tuple[str, int]:
    match = _QUOTED.match(text, at)
    if match is None:
        raise SyntaxFault(line, "a quoted string that begins here does not end")
    return _checked(_ESCAPE.sub(r"\1", match[0][:-1]), line), match.end()


def _multi_line(text: str, at: int, line: int) -> tuple[str, int]:
    begin = text.index("\n", at) + 1
    match = _TEXT_END.search(text, begin)
    if match is None:
        raise SyntaxFault(line, "a multi-line string that begins here does not end with a dot alone")
    return _checked(_STUFFED.sub(".", text[begin : match.start()]), line), match.end()


def _checked(value: str, line: int) -> str:
    value = value.replace("\n", "\r\n")
    if len(value) > limits.STRING_OCTETS:
        raise SyntaxFault(line, f"the string is longer than {limits.STRING_OCTETS} characters")
    return value


def _number(match: re.Match[str], line: int) -> Token:
    unit = (match["unit"] or "").lower()
    if unit not in _UNITS:
        return Token(Kind.BAD, f"{match[0][:40]!r} is no number: only K, M and G may follow", line)
    if len(match["number"]) > 20 or (value := int(match["number"]) * _UNITS[unit]) > limits.NUMBER:
        return Token(Kind.BAD, f"the number {match[0][:40]} is too large", line)
    return Token(Kind.NUMBER, str(value), line)
