r"""One message as it is appended to a mailbox file (message-store 7). Pure.

    From sender@example.com  Mon Nov 23 10:00:00 2026    sender, MAILER-DAEMON for the null sender; the date as ctime has it
    Return-Path: <sender@example.com>
    header, blank line, body                             LF line ends; lines that look like the first are quoted
                                                         always one blank line at the end

Quoting: `mboxrd` puts a `>` before every line that matches `^>*From `, which a reader can undo; `mboxo` before `^From ` only;
`none` leaves the octets as they are; `length` says how many they are (`content_length`). Blanks and control characters of the
sender are shown as `?`, so that nothing a sender writes can end the line.
"""

import io
import re
import time
from enum import Enum

from posthouse.store.native.content_length import put_entry

_UNFIT = re.compile(rb"[\x00-\x20\x7f]")
_PART = re.compile(rb"(>*)((?:F(?:r(?:o(?:m)?)?)?)?)\Z")


class Quoting(Enum):
    """Which lines of a message get a `>` in front."""

    MBOXRD = "mboxrd"
    MBOXO = "mboxo"
    NONE = "none"
    LENGTH = "length"
    """none in the body: a Content-length says where it ends"""


_LINES = {
    Quoting.MBOXRD: (re.compile(rb"\A(>*From )"), re.compile(rb"\n(>*From )")),
    Quoting.MBOXO: (re.compile(rb"\A(From )"), re.compile(rb"\n(From )")),
}


def from_line(sender: bytes, now: float) -> bytes:
    """The first line, its date in local time."""
    shown = _UNFIT.sub(b"?", sender) or b"MAILER-DAEMON"
    return b"From %b  %b\n" % (shown, time.asctime(time.localtime(now)).encode())


class Quoter:
    """Quotes a stream with LF line ends. At most four octets wait for what follows."""

    def __init__(self, quoting: Quoting) -> None:
        self._lines = _LINES.get(quoting)
        self._deep = quoting is Quoting.MBOXRD
        self._held = b""
        self._at_start = True
        """everything of the current line that has been given out is `>`"""
        self._ends = b"\n"
        self._any = False

    def convert(self, data: bytes) -> bytes:
        """The quoted octets of the next part."""
        if not data:
            return b""
        self._any = True
        if self._lines is None:
            self._ends = data[-1:]
            return data
        first, others = self._lines
        data = self._held + data
        self._held = b""
        if self._at_start:
            data = first.sub(rb">\1", data)
        if b"From " in data:
            data = others.sub(rb"\n>\1", data)
        start = data.rfind(b"\n") + 1
        self._ends = data[-1:]
        if start or self._at_start:
            found = _PART.fullmatch(data, start)
            self._at_start = found is not None and (self._deep or not found[1])
            if self._at_start and found is not None and found[2]:
                self._held, data = found[2], data[: found.start(2)]
        return data

    def end(self) -> bytes:
        """What was held back, a line end where the last line has none, and the blank line."""
        held, self._held = self._held, b""
        return held + (b"\n" if self._ends == b"\n" else b"\n\n")


def entry_of(sender: bytes, stored: bytes, quoting: Quoting, now: float) -> bytes:
    """The whole entry of a message in memory."""
    if quoting is Quoting.LENGTH:
        parts: list[bytes] = []
        put_entry(from_line(sender, now), io.BytesIO(stored), parts.append)
        return b"".join(parts)
    quoter = Quoter(quoting)
    return b"".join((from_line(sender, now), quoter.convert(stored), quoter.end()))
