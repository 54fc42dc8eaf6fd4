"""What a group changes in a message: header fields taken out and added, text around the first text part (directory.md 8). Pure.

    edit_header(edit, header)  -> the header       a message of any size: its body is not looked at
    edit_whole(edit, message)  -> the message      where text is added

Text goes into the message itself when that is text/plain, else into the first text/plain part of a multipart. Its transfer
encoding is kept (7bit, 8bit, quoted-printable, base64); text outside ASCII goes only where the charset is UTF-8, elsewhere its
characters that ASCII does not have become `?`. A signed or encrypted message, one without a text/plain part, and one whose
structure is not understood keep their body as it is: better no text than a broken signature.
"""

import base64
import binascii
import quopri
import re
from typing import NamedTuple

from posthouse.relay.routing.list_edit import ListEdit

_NEXT_FIELD = re.compile(rb"(?<=\r\n)(?![ \t])")
_BOUNDARY = re.compile(rb'boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_CHARSET = re.compile(rb'charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
_UNTOUCHABLE = (b"multipart/signed", b"multipart/encrypted", b"application/")
_DEEPEST = 10
_UNFOLD = re.compile(rb"\r\n(?=[ \t])")


class _Span(NamedTuple):
    """One entity inside the message: where its header and its body stand."""

    header: int
    body: int
    end: int


def edit_header(edit: ListEdit, header: bytes) -> bytes:
    """The header with its empty line: fields taken out, others added at its end.

    Of one that is cut off, having no empty line, the last field may go on: it stays, and others are added before it.
    """
    fields = _fields(header)
    end = fields.pop() if fields else b""
    removed = {name.encode() for name in edit.remove}
    kept = [field for field in fields if field.partition(b":")[0].strip().lower() not in removed]
    added = [_one_line(line) + b"\r\n" for line in edit.add]
    return b"".join((*kept, *added, end))


def _fields(header: bytes) -> list[bytes]:
    """Its fields with their line ends; the empty line is the last of them. In linear time, however long a line is."""
    return [field for field in _NEXT_FIELD.split(header) if field]


def edit_whole(edit: ListEdit, message: bytes) -> bytes:
    """The message with header and text edited."""
    end = message.find(b"\r\n\r\n")
    header, body = (message + b"\r\n", b"") if end < 0 else (message[: end + 4], message[end + 4 :])
    if message.startswith(b"\r\n"):
        header, body = b"\r\n", message[2:]
    if edit.prefix or edit.suffix:
        body = _add_text(edit, header, body)
    return edit_header(edit, header) + body


def _one_line(line: str) -> bytes:
    return " ".join(line.split()).encode("utf-8", "replace")


def _value(header: bytes, name: bytes) -> bytes:
    for field in _fields(header):
        found, colon, value = field.partition(b":")
        if colon and found.strip().lower() == name:
            return _UNFOLD.sub(b"", value).strip()
    return b""


def _add_text(edit: ListEdit, header: bytes, body: bytes) -> bytes:
    whole = header + body
    span = _first_text(whole, _Span(0, len(header), len(whole)), 0)
    if span is None:
        return body
    part = _edited(edit, whole[span.header : span.body], whole[span.body : span.end])
    if part is None:
        return body
    return (whole[: span.body] + part + whole[span.end :])[len(header) :]


def _first_text(whole: bytes, span: _Span, depth: int) -> _Span | None:
    """The first text/plain part, or None when there is none that may be changed."""
    header = whole[span.header : span.body]
    kind = _value(header, b"content-type")
    name = kind.partition(b";")[0].strip().lower() or b"text/plain"
    if name == b"text/plain":
        return span if b"attachment" not in _value(header, b"content-disposition").lower() else None
    if not name.startswith(b"multipart/") or name.startswith(_UNTOUCHABLE) or depth >= _DEEPEST:
        return None
    found = _BOUNDARY.search(kind)
    if found is None:
        return None
    line = b"--" + re.sub(rb"\\(.)", rb"\1", found[1] if found[1] is not None else found[2])
    for part in _parts(whole, span, line):
        inner = _first_text(whole, part, depth + 1)
        if inner is not None or _is_untouchable(whole[part.header : part.body]):
            return inner
    return None


def _is_untouchable(header: bytes) -> bool:
    return _value(header, b"content-type").lower().startswith(_UNTOUCHABLE[:2])


def _parts(whole: bytes, span: _Span, line: bytes) -> list[_Span]:
    """The parts between the boundary lines, those that have an end."""
    found: list[_Span] = []
    pattern = re.compile(rb"(?:^|(?<=\r\n))" + re.escape(line) + rb"(--)?[ \t]*(?:\r\n|\Z)")
    begin = -1
    for match in pattern.finditer(whole, span.body, span.end):
        if begin >= 0:
            end = max(begin, match.start() - 2)
            head = whole.find(b"\r\n\r\n", begin, end)
            if whole.startswith(b"\r\n", begin):
                found.append(_Span(begin, begin + 2, max(end, begin + 2)))
            elif head >= 0:
                found.append(_Span(begin, head + 4, end))
        begin = -1 if match[1] else match.end()
    return found


def _edited(edit: ListEdit, header: bytes, body: bytes) -> bytes | None:
    """The text part's body with the texts; None when it is not understood."""
    kind = _value(header, b"content-type")
    charset = _CHARSET.search(kind)
    name = charset[1].lower() if charset else b""
    if name.startswith((b"utf-16", b"utf-32")):
        return None
    coding = _value(header, b"content-transfer-encoding").lower() or b"7bit"
    wide = name == b"utf-8" and coding in {b"8bit", b"binary", b"base64", b"quoted-printable"}
    prefix, suffix = _octets(edit.prefix, wide=wide), _octets(edit.suffix, wide=wide)
    if coding in {b"7bit", b"8bit", b"binary"}:
        return _around(prefix, body, suffix)
    try:
        if coding == b"quoted-printable":
            text = _around(prefix, quopri.decodestring(body.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n"), suffix)
            return quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        if coding == b"base64":
            text = _around(prefix, base64.b64decode(body), suffix)
            return base64.encodebytes(text).replace(b"\n", b"\r\n")
    except (binascii.Error, ValueError):
        return None
    return None


def _around(prefix: bytes, text: bytes, suffix: bytes) -> bytes:
    if suffix and text and not text.endswith(b"\n"):
        text += b"\r\n"
    return prefix + text + suffix


def _octets(text: str, *, wide: bool) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8" if wide else "ascii", "replace")
