r"""Line ends of a body where a channel's keyword takes more than CRLF (imta-cnf 3.2, lmtp.md 5).

    smtp, smtp_crlf   CRLF only: anything else is 550 5.6.11 and the end of the connection
    smtp_lf           an LF alone becomes CRLF
    smtp_cr           a CR alone becomes CRLF
    smtp_crorlf       both

Only inside the text: what ends the data is CRLF.CRLF whatever the keyword says, and a `LF . LF` becomes a line with a dot, which
is doubled on the way on. What the keyword does not name is refused as without it, only that the connection stays. Blocks of a
streamed body never end inside a CRLF (dialogue.body), so each can be made good by itself.
"""

import re
from dataclasses import dataclass
from typing import Protocol

import msgspec

from posthouse.config.channel import Channel
from posthouse.dialogue.body import check_line_ends
from posthouse.dialogue.event import Fault, Message, MessageEnd
from posthouse.dialogue.header import check_header
from posthouse.dialogue.stuffing import count_growth

_PATTERNS = {
    "smtp_lf": re.compile(rb"(?<!\r)\n"),
    "smtp_cr": re.compile(rb"\r(?!\n)"),
    "smtp_crorlf": re.compile(rb"(?<!\r)\n|\r(?!\n)"),
}
_HEADER_FAULTS = frozenset({Fault.BAD_HEADER, Fault.NO_BLANK_LINE})
_BARE = frozenset({Fault.BARE_LF, Fault.BARE_CR})


def pattern_of(channel: Channel) -> re.Pattern[bytes] | None:
    """What becomes CRLF on this channel, None: nothing."""
    return next((pattern for keyword, pattern in _PATTERNS.items() if channel.has(keyword)), None)


def good_block(pattern: re.Pattern[bytes], octets: bytes) -> bytes:
    """A block with its line ends made good."""
    return pattern.sub(b"\r\n", octets)


def good_message(pattern: re.Pattern[bytes], event: Message) -> Message:
    """A whole body with its line ends made good, looked at anew; as it is where nothing is wrong."""
    if event.lf is not None:
        return event
    octets = good_block(pattern, event.data)
    faults, lf = check_line_ends(octets)
    fault, end = check_header(octets)
    kept = event.faults - _BARE - _HEADER_FAULTS - {Fault.NUL}
    return Message(octets, count_growth(octets), kept | faults | ({fault} if fault else set()), end, lf)


@dataclass(slots=True)
class GoodParts:
    """A body that streams: what is counted of it once its line ends are good."""

    pattern: re.Pattern[bytes]
    size: int = 0
    growth: int = 0
    faults: frozenset[Fault] = frozenset()
    start: bytes = b""
    """the first block, made good"""
    _at_line: bool = True

    def part(self, octets: bytes) -> bytes:
        """The next block, made good."""
        good = good_block(self.pattern, octets)
        self.start = self.start if self.size else good
        self.size += len(good)
        self.growth += good.count(b"\r\n.") + (self._at_line and good.startswith(b"."))
        self._at_line = good.endswith(b"\r\n") if good else self._at_line
        self.faults |= check_line_ends(good)[0]
        return good

    def end(self, event: MessageEnd) -> MessageEnd:
        """The end of it, as the dialogue found the body that came."""
        fault, header_end = check_header(self.start)
        faults = (event.faults - _BARE - _HEADER_FAULTS - {Fault.NUL}) | self.faults
        return msgspec.structs.replace(
            event, size=self.size, growth=self.growth, faults=faults | ({fault} if fault else set()), header_end=header_end
        )


class Streamed(Protocol):
    """A transaction whose body may stream."""

    good_parts: GoodParts | None


def good_part(pattern: re.Pattern[bytes], transaction: Streamed, octets: bytes) -> bytes:
    """The next block of a transaction's body."""
    if transaction.good_parts is None:
        transaction.good_parts = GoodParts(pattern)
    return transaction.good_parts.part(octets)


def good(pattern: re.Pattern[bytes], transaction: Streamed, event: Message | MessageEnd) -> Message | MessageEnd:
    """A transaction's body, whole or at its end."""
    if isinstance(event, Message):
        return good_message(pattern, event)
    return transaction.good_parts.end(event) if transaction.good_parts is not None else event
