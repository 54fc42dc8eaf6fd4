"""A message for a system without 8BITMIME or SMTPUTF8 (RFC 6152 3, RFC 2045 6, RFC 2046 5). Pure; the message comes in blocks.

    survey(parts) -> Survey            what is outside ASCII, and where
    convert(parts, survey, body=...)   the same message, with it encoded

* Leaves with octets above 127 become quoted-printable (text with little of it) or base64; their Content-Transfer-Encoding says
  so. Multiparts and message/rfc822 around them become 7bit. A message without MIME fields gets them. Everything else stays octet
  for octet: what is ASCII is never touched.
* Header fields by `ascii_header`. Octets in what no reader shows, between the parts, become `?`.
* Not to be converted: what is inside multipart/signed, message/partial or message/external-body; a leaf that says it is encoded
  and is not; a multipart whose parts cannot be told, as its boundary is missing or never comes. Limits: 256 KiB of header in one
  part, 4 KiB of a field that says what it is, 64 nested multiparts, 10,000 parts; what is beyond them is not converted.
"""

import binascii
import codecs
import email
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from posthouse.relay.channels.ascii_header import ascii_field

MAX_HEADER = 256 << 10
MAX_NESTING = 64
MAX_PARTS = 10_000
MAX_LINE = 64 << 10
MAX_FIELD = 4096
_BASE64_LINE = 57
_ENCODED = frozenset({"quoted-printable", "base64"})
_WIDE = frozenset({"8bit", "binary"})
_RIGID = frozenset({"message/partial", "message/external-body"})
_TELLING = (b"content-type:", b"content-transfer-encoding:", b"mime-version:")
_COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*"?)|\([^()]*\)')
_FIELD = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n)*|[^\n]+\Z")


class Encoding(Enum):
    """What becomes of a leaf."""

    KEEP = ""
    QUOTED_PRINTABLE = "quoted-printable"
    BASE64 = "base64"


@dataclass(slots=True)
class Leaf:
    """One leaf, in the order they come."""

    is_text: bool
    octets: int = 0
    high: int = 0
    """octets above 127"""
    is_utf8: bool = True

    @property
    def encoding(self) -> Encoding:
        """How its octets become ASCII."""
        if not self.high:
            return Encoding.KEEP
        return Encoding.QUOTED_PRINTABLE if self.is_text and self.high * 4 < self.octets else Encoding.BASE64


@dataclass(slots=True)
class Survey:
    """What a message has outside ASCII."""

    leaves: list[Leaf]
    header: bool = False
    """in a header, also of a part"""
    speechless: bool = False
    """a header field has no form in ASCII"""
    fixed: bool = False
    """in a place that must not be changed"""
    between: bool = False
    """between the parts"""

    @property
    def body(self) -> bool:
        """In a leaf, or between them."""
        return self.between or any(leaf.high for leaf in self.leaves)


def survey(parts: Iterable[bytes]) -> Survey:
    """Look through a message."""
    surveyor = _Surveyor()
    for part in parts:
        surveyor.feed(part)
    surveyor.finish()
    return surveyor.found


def convert(parts: Iterable[bytes], found: Survey, *, body: bool) -> Iterator[bytes]:
    """The message in ASCII.

    Args:
        parts: of the message that was surveyed.
        found: what was found in it; nothing `speechless` nor, with `body`, `fixed`.
        body: leaves too; else only headers.
    """
    converter = _Converter(found, body=body)
    for part in parts:
        converter.feed(part)
        yield converter.take()
    converter.finish()
    yield converter.take()


@dataclass(slots=True)
class _Multipart:
    """One that is open."""

    boundary: bytes
    kind: str
    has_parts: bool = False


class _Walker:
    """Tells headers, leaves and what lies between them."""

    def __init__(self) -> None:
        self._carry = b""
        self._inside_line = False
        self.stack: list[_Multipart] = []
        self._header: list[bytes] | None = []
        self._header_size = 0
        self._in_leaf = False
        self._of_message = True
        self._parts = 0
        self._beyond = False
        self.fixed = False

    def feed(self, block: bytes) -> None:
        data = self._carry + block
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._line(data[start : end + 1], ended=True)
            start = end + 1
        self._carry = data[start:]
        while len(self._carry) > MAX_LINE:
            self._line(self._carry[:MAX_LINE], ended=False)
            self._carry = self._carry[MAX_LINE:]

    def finish(self) -> None:
        if self._carry:
            self._line(self._carry, ended=True)
            self._carry = b""
        if self._header is not None:
            self._end_header(b"")
        if self._in_leaf:
            self.end_leaf(enclosed=False)

    def _line(self, line: bytes, *, ended: bool) -> None:
        begins, self._inside_line = not self._inside_line, not ended
        if begins and line.startswith(b"--") and self.stack and not self._beyond and self._delimiter(line):
            return
        if self._header is not None:
            if begins and line in {b"\r\n", b"\n"}:
                self._end_header(line)
                return
            self._header.append(line)
            self._header_size += len(line)
            if self._header_size > MAX_HEADER:
                self.fixed = self._beyond = True
                self._end_header(b"")
        elif self._in_leaf:
            self.leaf(line, ended=ended)
        else:
            self.between(line)

    def _delimiter(self, line: bytes) -> bool:
        bare = line.rstrip()
        for depth in range(len(self.stack) - 1, -1, -1):
            boundary = self.stack[depth].boundary
            if bare in {boundary, boundary + b"--"}:
                if self._header is not None:
                    self._end_header(b"")
                if self._in_leaf:
                    self._in_leaf = False
                    self.end_leaf(enclosed=True)
                closing = bare != boundary
                self.stack[depth].has_parts |= not closing
                del self.stack[depth if closing else depth + 1 :]
                self._parts += not closing
                self._beyond = self._parts > MAX_PARTS
                self._see_signed()
                if not closing:
                    self._header, self._header_size, self._of_message = [], 0, False
                self.delimiter(line)
                return True
        return False

    def _see_signed(self) -> None:
        self.fixed = self._beyond or any(each.has_parts and each.kind == "multipart/signed" for each in self.stack)

    def _end_header(self, blank: bytes) -> None:
        octets = b"".join(self._header or ())
        self._header = None
        fields = _FIELD.findall(octets)
        telling = [field for field in fields if field.lower().startswith(_TELLING)]
        told = [_COMMENT.sub(rb"\1", field) for field in telling if len(field) <= MAX_FIELD]
        about = email.message_from_bytes(b"".join(told))
        if not self._of_message and self.stack[-1].kind == "multipart/digest":
            about.set_default_type("message/rfc822")  # RFC 2046 5.1.5
        kind, is_multipart = about.get_content_type(), about.get_content_maintype() == "multipart"
        boundary = (about.get_boundary() or "").encode("utf-8", "surrogateescape").rstrip()
        encoding = str(about.get("Content-Transfer-Encoding", "7bit")).strip().lower()
        if is_multipart and boundary and len(self.stack) < MAX_NESTING:
            self.container(octets, blank, encoding)
            self.stack.append(_Multipart(b"--" + boundary, kind))
        elif kind == "message/rfc822" and encoding not in _ENCODED and blank:
            self.container(octets, blank, encoding)
            self._header, self._header_size, self._of_message = [], 0, True
        else:
            self._in_leaf = True
            rigid = encoding in _ENCODED or is_multipart or kind in _RIGID or len(told) < len(telling)
            rigid |= any(b":" not in field for field in fields)  # where readers see the text begin
            bare = self._of_message and not ("Content-Type" in about or "MIME-Version" in about)
            self.begin_leaf(octets, blank, is_text=about.get_content_maintype() == "text", rigid=rigid, bare=bare)

    # what is told; nothing by default

    def container(self, header: bytes, blank: bytes, encoding: str) -> None: ...

    def begin_leaf(self, header: bytes, blank: bytes, *, is_text: bool, rigid: bool, bare: bool) -> None: ...

    def leaf(self, line: bytes, *, ended: bool) -> None: ...

    def end_leaf(self, *, enclosed: bool) -> None: ...

    def between(self, line: bytes) -> None: ...

    def delimiter(self, line: bytes) -> None: ...


class _Surveyor(_Walker):
    def __init__(self) -> None:
        super().__init__()
        self.found = Survey([])
        self._rigid = False
        self._partless: dict[int, _Multipart] = {}
        """with something outside ASCII and no part, as far as they came"""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def _look(self, header: bytes) -> None:
        if header.isascii():
            return
        self.found.header = True
        wide = [field for field in _FIELD.findall(header) if not field.isascii()]
        self.found.fixed |= self.fixed or any(b":" not in field for field in wide)  # text where fields should stand
        self.found.speechless |= any(ascii_field(field) is None for field in wide)

    def container(self, header: bytes, blank: bytes, encoding: str) -> None:
        del blank, encoding
        self._look(header)

    def begin_leaf(self, header: bytes, blank: bytes, *, is_text: bool, rigid: bool, bare: bool) -> None:
        del blank, bare
        self._look(header)
        self._rigid = rigid
        self._decoder.reset()
        self.found.leaves.append(Leaf(is_text))

    def leaf(self, line: bytes, *, ended: bool) -> None:
        del ended
        leaf = self.found.leaves[-1]
        leaf.octets += len(line)
        if not line.isascii():
            leaf.high += len(line) - len(line.decode("ascii", "ignore"))
            self.found.fixed |= self._rigid or self.fixed
        if leaf.is_utf8:
            try:
                self._decoder.decode(line)
            except UnicodeDecodeError:
                leaf.is_utf8 = False

    def between(self, line: bytes) -> None:
        if line.isascii():
            return
        self.found.between = True
        self.found.fixed |= self.fixed
        if self.stack and not self.stack[-1].has_parts:
            self._partless[id(self.stack[-1])] = self.stack[-1]

    def delimiter(self, line: bytes) -> None:
        self.found.between |= not line.isascii()
        self.found.fixed |= not line.isascii()

    def finish(self) -> None:
        super().finish()
        self.found.fixed |= not all(multipart.has_parts for multipart in self._partless.values())


class _Converter(_Walker):
    def __init__(self, found: Survey, *, body: bool) -> None:
        super().__init__()
        self._leaves = iter(found.leaves)
        self._body = body
        self._wide_inside = found.body and body
        self._encoding = Encoding.KEEP
        self._pending = b""
        self._line_end = b""
        self._out: list[bytes] = []

    def take(self) -> bytes:
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    def _say_header(self, header: bytes, blank: bytes, encoding: str, more: str = "") -> None:
        fields = [field if field.isascii() else ascii_field(field) or b"" for field in _FIELD.findall(header)]
        if encoding:
            fields = [field for field in fields if not field.lower().startswith(b"content-transfer-encoding:")]
            fields.append(f"{more}Content-Transfer-Encoding: {encoding}\r\n".encode())
        self._out += [*fields, blank]

    def container(self, header: bytes, blank: bytes, encoding: str) -> None:
        self._say_header(header, blank, "7bit" if encoding in _WIDE and self._wide_inside and not self.fixed else "")

    def begin_leaf(self, header: bytes, blank: bytes, *, is_text: bool, rigid: bool, bare: bool) -> None:
        del is_text, rigid
        leaf = next(self._leaves)
        self._encoding = leaf.encoding if self._body else Encoding.KEEP
        charset = "utf-8" if leaf.is_utf8 else "unknown-8bit"
        more = f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n" if bare else ""
        self._say_header(header, blank, self._encoding.value, more)

    def leaf(self, line: bytes, *, ended: bool) -> None:
        if self._encoding is Encoding.KEEP:
            self._out.append(line)
            return
        content = line.removesuffix(b"\n").removesuffix(b"\r") if ended else line
        line_end = b"\r\n" if len(content) < len(line) else b""
        if self._encoding is Encoding.QUOTED_PRINTABLE:
            encoded = binascii.b2a_qp(content, istext=False).replace(b"=\n", b"=\r\n")
            self._out.append(encoded + (line_end if ended else b"=\r\n"))
            return
        self._pending += self._line_end + content
        self._line_end = line_end
        whole = len(self._pending) - len(self._pending) % _BASE64_LINE
        self._base64(self._pending[:whole])
        self._pending = self._pending[whole:]

    def _base64(self, octets: bytes) -> None:
        lines = (octets[start : start + _BASE64_LINE] for start in range(0, len(octets), _BASE64_LINE))
        self._out += [binascii.b2a_base64(line, newline=False) + b"\r\n" for line in lines]

    def end_leaf(self, *, enclosed: bool) -> None:
        if self._encoding is Encoding.BASE64:
            self._base64(self._pending + (b"" if enclosed else self._line_end))  # the last line end is the delimiter's
        self._pending, self._line_end = b"", b""

    def between(self, line: bytes) -> None:
        keep = line.isascii() or not self._body
        self._out.append(line if keep else bytes(octet if octet < 128 else 63 for octet in line))

    def delimiter(self, line: bytes) -> None:
        self._out.append(line)
