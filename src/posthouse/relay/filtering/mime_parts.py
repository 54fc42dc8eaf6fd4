"""A message's body as the leaves of its MIME tree (RFC 2045, RFC 2046), for the test `body`.

Bounded: parts, nesting and octets are (limits.py); what is beyond is not looked at. Broken MIME is no fault: a part without its
boundary goes on to the end, octets that are not what their encoding says stay as they are, a part of an
unknown encoding is passed over.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.header_text import decode
from posthouse.relay.filtering.message import Message

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))')
_TYPE = re.compile(r"\s*([^\s/;]+)\s*/\s*([^\s/;]+)\s*(?:;|\Z)")
_ENCODINGS = frozenset({"", "7bit", "8bit", "binary", "quoted-printable", "base64"})
_MOST_ENTITIES = 10 * limits.BODY_PARTS
"""empty ones and multiparts among them"""
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


class Part(NamedTuple):
    """One part, its transfer encoding undone."""

    type: str
    """in lower case, e.g. text/plain"""
    charset: str
    octets: bytes

    @property
    def text(self) -> str:
        """What it says."""
        return decode(self.octets, self.charset or "utf-8")


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type field; no type for what is none."""
    match = _TYPE.match(value)
    if match is None:
        return "", {}
    parameters = {name.lower(): (quoted or plain) for name, quoted, plain in _PARAMETER.findall(value)}
    return f"{match[1]}/{match[2]}".lower(), parameters


def parts(message: Message) -> list[Part]:
    """The leaves, and of multiparts what stands before and behind their parts, in their order."""
    whole = Message(message.octets[: message.end + limits.BODY_OCTETS], message.size, message.end)
    return list(islice(_Walk().entity(whole, 0), limits.BODY_PARTS))


class _Walk:
    """Through one message: its parts are counted whatever is in them."""

    def __init__(self) -> None:
        self._left = _MOST_ENTITIES

    def entity(self, entity: Message, depth: int) -> Iterator[Part]:
        """One entity and what is in it."""
        self._left -= 1
        if self._left < 0:
            return
        given = entity.raws("content-type")
        kind, parameters = content_type(given[0]) if given else ("text/plain", {})
        encoding = (entity.raws("content-transfer-encoding") or [""])[0].strip().lower()
        if kind.startswith("multipart/") and depth < limits.BODY_NESTING and parameters.get("boundary"):
            yield from self._multipart(kind, entity.body, parameters["boundary"], depth)
        elif kind == "message/rfc822" and depth < limits.BODY_NESTING and encoding not in {"base64", "quoted-printable"}:
            inner = Message(entity.body, len(entity.body))
            header = inner.octets[: inner.end]
            yield Part(kind, "utf-8", header[:-2] if header.endswith(b"\r\n\r\n") else header)
            yield from self.entity(inner, depth + 1)
        elif encoding in _ENCODINGS and entity.has_body:
            yield Part(kind, parameters.get("charset", ""), undone(entity.body, encoding))

    def _multipart(self, kind: str, body: bytes, boundary: str, depth: int) -> Iterator[Part]:
        mark = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode("utf-8", "replace")) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
        before, at, closed = True, 0, False
        for match in mark.finditer(body):
            if self._left <= 0:
                return
            piece = body[at : match.start()]
            if before:
                if piece.strip():
                    yield Part(kind, "", piece)
            else:
                yield from self.entity(Message(piece, len(piece)), depth + 1)
            at, before = match.end(), False
            at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
            if match[1]:
                closed = True
                break
        rest = body[at:]
        if before or closed:
            if rest.strip():
                yield Part(kind, "", rest)
        else:
            yield from self.entity(Message(rest, len(rest)), depth + 1)


def undone(octets: bytes, encoding: str) -> bytes:
    """The octets without their transfer encoding."""
    try:
        if encoding == "quoted-printable":
            return a2b_qp(octets)
        if encoding == "base64":
            plain = _NOT_BASE64.sub(b"", octets.partition(b"=")[0] if b"=" in octets else octets)
            return a2b_base64(plain[: len(plain) - (len(plain) % 4 == 1)] + b"===")
    except Error:
        return octets
    return octets
