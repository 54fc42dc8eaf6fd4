r"""message/partial: which part of what a message is, and the header of the whole (RFC 2046 5.2.2). Pure.

    Content-Type: message/partial; id="..."; number=2; total=3

`fragment_of` says None for everything else, also for a part whose parameters are missing, repeated, out of range or contradict
each other: such mail is delivered as it is. At most MAX_PARTS parts, and LONGEST octets of type and parameters.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_PARTS = 1000
FRAGMENT = b"message/partial"
"""in the header of every part, lower case"""
_TYPE = re.compile(rb"(?im)^content-type[ \t]*:((?:[^\r\n]|\r\n[ \t])*)")
LONGEST = 2000
_VALUE = re.compile(r'\s*message/partial\s*((?:;\s*[^\s=;"]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;"]+)\s*)+);?\s*', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_FIELD = re.compile(rb"(?m)^([!-9;-~]+)[ \t]*:(?:[^\r\n]|\r\n[ \t])*\r\n")
_INNER = frozenset({b"subject", b"message-id", b"encrypted", b"mime-version"})


class Fragment(NamedTuple):
    """One part. total is 0 where it does not say."""

    id: str
    number: int
    total: int


def fragment_of(header: bytes) -> Fragment | None:
    """Which part a message with this header is; None when it is none."""
    if FRAGMENT not in header.lower():
        return None
    types = _TYPE.findall(header)
    if len(types) != 1 or len(types[0]) > LONGEST:
        return None
    found = _VALUE.fullmatch(types[0].replace(b"\r\n", b"").decode("utf-8", "replace"))
    if found is None:
        return None
    given: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(found[1]):
        if name.lower() in given:
            return None
        given[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or plain
    number, total = _number(given.get("number", "")), _number(given.get("total", "0"))
    if not given.get("id") or not number or total is None or (total and number > total):
        return None
    return Fragment(given["id"], number, total)


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        return None
    return int(text) if int(text) <= MAX_PARTS else None


def whole_header(outer: bytes, inner: bytes) -> bytes:
    """The header of the whole message, without the empty line (RFC 2046 5.2.2.1).

    Of the first part's own header everything but Content-*, Subject, Message-ID, Encrypted and MIME-Version; these come from the
    header of the message it holds, of which everything else is passed over.

    Args:
        outer: header of the first part.
        inner: header of the message in its body.
    """
    kept = [field for name, field in _fields(outer) if not _of_the_whole(name)]
    return b"".join([*kept, *(field for name, field in _fields(inner) if _of_the_whole(name))])


def _of_the_whole(name: bytes) -> bool:
    return name.startswith(b"content-") or name in _INNER


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Lower-case name and octets of each field; what is no field is passed over."""
    return ((found[1].lower(), found[0]) for found in _FIELD.finditer(header))


def split(message: bytes) -> tuple[bytes, bytes]:
    """Header and body; the empty line belongs to neither. Everything is header where there is no empty line."""
    if message.startswith(b"\r\n"):
        return b"", message[2:]
    end = message.find(b"\r\n\r\n")
    return (message, b"") if end < 0 else (message[: end + 2], message[end + 4 :])


def joined(parts: list[bytes]) -> bytes:
    """The whole message of all its parts, in their order."""
    outer, body = split(parts[0])
    inner, start = split(body)
    return b"".join([whole_header(outer, inner), b"\r\n", start, *(split(part)[1] for part in parts[1:])])
