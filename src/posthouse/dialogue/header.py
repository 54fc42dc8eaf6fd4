r"""The header check, equal to the store's refusals "bad header" and "no blank line" (LMTP reference 5).

    header = *( field | fold | "From " text ) ; each to its LF
    field  = 1*( octet above 0x20 but ":" ) ":" text

Lines are taken up to the first empty one. A line that is none of the three, or that does not end before the message
does, or is longer than 1 MiB: bad header. Lines but no empty line after them: no blank line. A message without any line,
or one that begins with the empty line, is good.

One compiled regex walks all lines that are there, many at a time; what it leaves is an empty line, an unfinished one, or a
fault.
"""

import re

from posthouse.dialogue.event import Fault

MAX_LINE = 1 << 20
_SLICE = 1 << 18
_LINES = re.compile(rb"(?:(?:[^\x00-\x20:]+:|[ \t]|From )[^\n]*\n){1,256}")
"""some lines: a match keeps a note of each. Possessive repeats would need none, but Python before 3.11.5 matches them wrongly"""


def _good_lines(data: bytes) -> int:
    """Octets of the whole lines at the beginning that are a header's."""
    end = 0
    while (match := _LINES.match(data, end)) is not None:
        end = match.end()
    return end


class HeaderCheck:
    """Checks a header that comes in parts. `end` is the number of octets of its lines, the empty one not counted."""

    __slots__ = ("_carried", "_ended", "_seen", "fault")

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self._carried = b""
        self._ended = False
        self._seen = 0

    @property
    def end(self) -> int:
        """Octets of the lines found good so far."""
        return self._seen

    def feed(self, data: bytes) -> None:
        """Take the next octets of the message."""
        for start in range(0, len(data), _SLICE):
            if self._ended:
                return
            self._take(data[start : start + _SLICE] if len(data) > _SLICE else data)

    def _take(self, data: bytes) -> None:
        """Take at most one slice: only a line carried over from the one before can be too long in it."""
        if self._carried:
            data = self._carried + data
            self._carried = b""
        if data.find(b"\n", 0, MAX_LINE + 1) < 0 < len(data) - MAX_LINE:
            self._ended = True
            self.fault = Fault.BAD_HEADER
            return
        end = _good_lines(data)
        self._seen += end
        if end == len(data):
            return
        if data.startswith((b"\r\n", b"\n"), end):
            self._ended = True
        elif data.find(b"\n", end) >= 0:
            self._ended = True
            self.fault = Fault.BAD_HEADER
        else:
            self._carried = data[end:]

    def finish(self) -> None:
        """The message is over."""
        if self._ended:
            return
        self._ended = True
        if self._carried:
            self.fault = Fault.BAD_HEADER
        elif self._seen:
            self.fault = Fault.NO_BLANK_LINE


def check_header(data: bytes) -> tuple[Fault | None, int]:
    """The fault of a whole message's header, if any, and the octets of its good lines."""
    end = _good_lines(data)
    if data.startswith((b"\r\n", b"\n"), end):
        return None, end
    if end < len(data):
        return Fault.BAD_HEADER, end
    return (Fault.NO_BLANK_LINE if end else None), end
