"""Text as a header field takes it: one line, encoded words outside ASCII (RFC 2047), phrases quoted. Pure."""

import contextlib
import re
from email.header import Header, decode_header, make_header

_LONGEST_LINE = 900
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")


def one_line(text: str) -> str:
    """The text without line ends, control characters and octets that were no UTF-8."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def decoded(text: str) -> str:
    """The text with its encoded words (RFC 2047) read, as far as they can be."""
    with contextlib.suppress(LookupError, ValueError):  # an unknown charset, a broken encoded word: as it stands
        return str(make_header(decode_header(text)))
    return text


def words(text: str, field: str) -> str:
    """A text in the field of this name."""
    text = one_line(text)
    if text.isascii() and len(text) <= _LONGEST_LINE:
        return text
    return Header(text, "utf-8", header_name=field).encode(linesep="\r\n")


def phrase(text: str) -> str:
    """A name in front of an address in From: (RFC 5322 3.2.5)."""
    text = one_line(text)
    if not text.isascii():
        return words(text, "From")
    return text if _ATOMS.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
