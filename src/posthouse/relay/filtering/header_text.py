"""A header field's octets as text: unfolded, trimmed, encoded words decoded (RFC 5228 2.4.2.2, 2.7.2; RFC 2047).

Raw octets above 127 are read as UTF-8, and as U+FFFD where they are none. An unknown or unfit charset is read as UTF-8 too,
so that what can be read can be filtered; words that are no encoded words stay as they are.
"""

import codecs
import re
from binascii import Error, a2b_base64, a2b_qp
from functools import lru_cache

_FOLD = re.compile(rb"\r?\n[ \t]?")
_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(?==\?[^?\s]+\?[bBqQ]\?[^?]*\?=)")


def header_text(raw: bytes) -> str:
    """The value of one field, without its name."""
    value = unfolded(raw).decode("utf-8", "replace")
    if "=?" not in value:
        return value
    return _WORD.sub(_decoded, _BETWEEN.sub(r"\1", value)).strip()


def unfolded(raw: bytes) -> bytes:
    """The value on one line, trimmed; a fold is one blank."""
    if b"\n" in raw:
        raw = _FOLD.sub(b" ", raw)
    return raw.strip(b" \t\r\n")


def _decoded(match: re.Match[str]) -> str:
    charset, encoding, text = match[1], match[2], match[3]
    octets = text.encode("utf-8", "surrogateescape")
    try:
        plain = a2b_base64(octets + b"===") if encoding in "bB" else a2b_qp(octets.replace(b" ", b"_"), header=True)
    except Error:
        return match[0]
    return decode(plain, charset)


def decode(octets: bytes, charset: str) -> str:
    """Text of octets in a charset somebody named."""
    name = text_codec(charset.lower())
    try:
        return octets.decode(name, "replace")
    except (LookupError, UnicodeError, ValueError):
        return octets.decode("utf-8", "replace")


@lru_cache(256)
def text_codec(charset: str) -> str:
    """A codec that makes text of octets; codecs of other kinds (zip, hex...) are never used for mail."""
    try:
        found = codecs.lookup(charset)
    except (LookupError, ValueError):
        return "utf-8"
    is_text = getattr(found, "_is_text_encoding", False)
    return found.name if is_text and not found.name.startswith(("idna", "punycode", "raw_", "unicode_", "undefined")) else "utf-8"
