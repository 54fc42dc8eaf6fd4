"""Replies on the wire (RFC 5321 4.2).

    reply = *( code "-" text CRLF ) code [ SP text ] CRLF

Rendering: a text with line ends becomes several lines, the enhanced code repeated on each (RFC 2034 4); CR and NUL
never leave us, so no text can forge a second reply. Texts carry octets by surrogateescape and go out unchanged.

Reading: a line ends at LF, a CR before it belongs to the line end; of a line 4096 octets are kept, for its code says all that
counts; a line is at most 512 KiB and a reply at most 128 lines; lines of one reply must bear one code. Anything else is a
`MalformedReplyError`.
"""

import re
from typing import TypeAlias

from posthouse.mail.status import Status

Reply: TypeAlias = tuple[Status, list[bytes]]
KEPT_OF_LINE = 4096
MAX_LINE = 1 << 19
MAX_LINES = 128
REMEMBERED = 256
REMEMBERED_LENGTH = 128
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_FORBIDDEN = str.maketrans({"\r": " ", "\0": " "})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|\Z)")


class MalformedReplyError(ValueError):
    """What came is no reply; the text says why."""


def render(status: Status) -> bytes:
    """The status as reply lines, CRLF included."""
    text = status.text
    if "\r" in text or "\n" in text or "\0" in text:
        return render_lines(status.code, status.enhanced, text.replace("\r\n", "\n").translate(_FORBIDDEN).split("\n"))
    if status.enhanced:
        line = f"{status.code} {status.enhanced} {text}\r\n" if text else f"{status.code} {status.enhanced}\r\n"
    else:
        line = f"{status.code} {text}\r\n" if text else f"{status.code}\r\n"
    return line.encode("utf-8", "surrogateescape")


def render_lines(code: int, enhanced: str, lines: list[str]) -> bytes:
    """One reply of several lines; no text may contain a line end."""
    prefix = f"{enhanced} " if enhanced else ""
    last = len(lines) - 1
    out = "".join(f"{code}{' ' if place == last else '-'}{prefix}{line}\r\n" for place, line in enumerate(lines))
    return out.encode("utf-8", "surrogateescape")


_known: dict[bytes, Reply] = {}
"""replies of one line as they came: servers say the same few again and again"""


class ReplyReader:
    """Cuts a stream of octets into replies; each is its status and the list of its texts, which is not to be changed."""

    __slots__ = ("_code", "_lines", "_position", "_rest", "empty")

    def __init__(self) -> None:
        self._rest = b""
        self._position = 0
        self._lines: list[bytes] = []
        self._code = b""
        self.empty = True
        """whether nothing was fed that has not been looked at: there is no reply to be had"""

    @property
    def pending(self) -> bool:
        """Whether octets are left over, or a reply has begun."""
        return self._position < len(self._rest) or bool(self._lines)

    def begins(self, code: bytes) -> bool:
        """Whether what is left over begins with these octets, or may turn out to."""
        return code.startswith(self._rest[self._position :][: len(code)])

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more octets."""
        self._rest = self._rest[self._position :] + data
        self._position = 0
        self.empty = False

    def next_known(self) -> list[Reply]:
        """All that was fed last, taken at once where it is nothing but replies of one line heard before; else none of it."""
        if self._position or self._lines:
            return []
        try:
            replies = [_known[line] for line in self._rest.splitlines(keepends=True)]
        except KeyError:
            return []
        self._position = len(self._rest)
        self.empty = True
        return replies

    def put_back(self) -> None:
        """What `next_known` gave is to be taken one by one."""
        self._position = 0
        self.empty = False

    def next_reply(self) -> Reply | None:
        """The next whole reply, or None.

        Raises:
            MalformedReplyError: the octets are no reply.
        """
        rest = self._rest
        while (end := rest.find(b"\n", self._position)) >= 0:
            whole = rest[self._position : end + 1]
            self._position = end + 1
            if not self._lines and (known := _known.get(whole)) is not None:
                return known
            if self._take(whole[: -2 if whole.endswith(b"\r\n") else -1]):
                lines, self._lines = self._lines, []
                reply = status_of(int(self._code), lines), lines
                if len(lines) == 1 and len(whole) <= REMEMBERED_LENGTH:
                    _remember(whole, reply)
                return reply
        if (waiting := len(rest) - self._position) > KEPT_OF_LINE:
            if waiting > MAX_LINE:
                raise MalformedReplyError("reply line is too long")
            self._matched(rest[self._position : self._position + KEPT_OF_LINE])
        self.empty = True
        return None

    def _take(self, line: bytes) -> bool:
        """Add one line; true when it ends its reply."""
        code, dash, text = self._matched(line[:KEPT_OF_LINE]).groups()
        if self._lines and code != self._code:
            raise MalformedReplyError(f"reply changes its code from {self._code.decode()} to {code.decode()}")
        self._code = code
        self._lines.append(text or b"")
        if len(self._lines) > MAX_LINES:
            raise MalformedReplyError("reply has too many lines")
        return dash != b"-"

    @staticmethod
    def _matched(line: bytes) -> re.Match[bytes]:
        if (match := _LINE.fullmatch(line)) is None:
            raise MalformedReplyError(f"no reply line: {line[:80]!r}")
        return match


def _remember(line: bytes, reply: Reply) -> None:
    if len(_known) >= REMEMBERED:
        _known.clear()
    _known[line] = reply


def _readable(octets: bytes) -> str:
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else _CONTROL.sub("\ufffd", text)


def status_of(code: int, texts: list[bytes]) -> Status:
    """The reply as a status: the enhanced code of the first line, the texts joined by line ends.

    An enhanced code is taken only where its class is the reply's (RFC 2034 4), and then removed from every line. Octets that
    are no UTF-8, and controls, become U+FFFD: a reply is logged, filed and put into notices, and none of them takes such octets.
    """
    lines = [_readable(text) for text in texts]
    match = _ENHANCED.match(lines[0])
    if match is None or int(match[1][0]) != code // 100:
        return Status(code, "", "\n".join(lines))
    enhanced = match[1]
    if len(lines) == 1:
        return Status(code, enhanced, lines[0][match.end() :])
    rest = (line[len(enhanced) :].lstrip() if line.startswith(enhanced) else line for line in lines)
    return Status(code, enhanced, "\n".join(rest))


def extensions_of(texts: list[bytes]) -> dict[str, str]:
    """What an answer to EHLO or LHLO lists: keyword in capitals to its parameters."""
    lines = (text.decode("utf-8", "surrogateescape").strip().partition(" ") for text in texts[1:])
    return {keyword.upper(): rest.strip() for keyword, _, rest in lines}
