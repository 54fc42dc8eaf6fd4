"""Header fields in ASCII, for systems without SMTPUTF8 (RFC 6532 the other way; RFC 2047, RFC 2231). Pure.

    From: Zoë <zoe@a.test>               ->  From: =?utf-8?q?Zo=C3=AB?= <zoe@a.test>
    Content-Disposition: ...; filename="ü"  ->  ...; filename*=utf-8''%C3%BC
    Subject and every other field        ->  encoded words

An address outside ASCII has no other form: None, the message cannot be sent so. Octets that are no UTF-8 are `unknown-8bit`
(RFC 1428). Fields in ASCII stay as they are, octet for octet. Others are at most 32 KiB long.
"""

import re
from email.header import Header
from email.utils import formataddr, getaddresses
from urllib.parse import quote

_ADDRESSES = re.compile(
    rb"(?:resent-)?(?:from|sender|to|cc|bcc|reply-to)|return-path|errors-to|disposition-notification-to", re.IGNORECASE
)
_WITH_PARAMETERS = frozenset({"content-type", "content-disposition"})
_EMPTY_GROUP = re.compile(r'([^"(),.:;<>@\[\\\]]+):\s*;\s*')
_PARAMETER = re.compile(r";(\s*)([^\s=;*]+)=(\"(?:[^\"\\]|\\.)*\"|[^;]*)")
_WIDTH = 76
_LONG = 500
"""octets of a parameter that can stand on a line, whatever its field has besides"""
MAX_FIELD = 32 << 10


def ascii_field(field: bytes) -> bytes | None:
    """One field with its folded lines and its line end, in ASCII; None when it has no such form."""
    if field.isascii():
        return field
    if len(field) > MAX_FIELD:
        return None
    name, colon, rest = field.partition(b":")
    if not colon or not name.isascii():
        return b""  # no field at all: nothing that may be lost
    text = b" ".join(line.strip() for line in rest.splitlines())
    key = name.decode().strip()
    if _ADDRESSES.fullmatch(name.strip()):
        value = _addresses(text)
    elif key.lower() in _WITH_PARAMETERS:
        value = _parameters(text)
    else:
        value = _words(text, key)
    return None if value is None else f"{key}: {value}\r\n".encode("ascii", "replace")


def _text(octets: bytes) -> tuple[str, str]:
    """The text and its charset."""
    try:
        return octets.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return octets.decode("latin-1"), "unknown-8bit"


def _words(octets: bytes, name: str) -> str:
    text, charset = _text(octets)
    if charset == "utf-8":
        return Header(text, "utf-8", _WIDTH, name).encode(linesep="\r\n")
    escaped = "".join(f"={octet:02X}" if octet > 126 or octet in b"=?_" or octet < 33 else chr(octet) for octet in octets)
    cuts = re.findall(r"(?:=[0-9A-F]{2}|[^=]){1,16}", escaped)
    return "\r\n ".join(f"=?unknown-8bit?q?{cut}?=" for cut in cuts)


def _addresses(octets: bytes) -> str | None:
    text, charset = _text(octets)
    if group := _EMPTY_GROUP.fullmatch(text):
        return f"{_words(group[1].encode(), 'To')}:;"
    try:
        pairs = [pair for pair in getaddresses([text.strip(", ")]) if pair != ("", "")]
    except RecursionError:  # comments in comments
        return None
    if charset != "utf-8" or not pairs or not all(address.isascii() and address for _, address in pairs):
        return None
    return ",\r\n ".join(formataddr(p) if p[0].isascii() else f"{_words(p[0].encode(), 'To')} <{p[1]}>" for p in pairs)


def _parameters(octets: bytes) -> str:
    text, charset = _text(octets)

    def encoded(match: re.Match[str]) -> str:
        blank, name, value = match.groups()
        if value.isascii():
            return match[0]
        bare = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.strip()
        quoted = quote(bare.encode(charset if charset == "utf-8" else "latin-1"), safe="")
        if len(quoted) <= _LONG:
            return f";{blank}{name}*={charset}''{quoted}"
        cuts = re.findall(r"(?:%..|[^%]){1,20}", f"{charset}''{quoted}")  # RFC 2231 3
        return "".join(f";\r\n {name}*{number}*={cut}" for number, cut in enumerate(cuts))

    return _PARAMETER.sub(encoded, text)
