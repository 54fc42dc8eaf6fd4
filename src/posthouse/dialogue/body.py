r"""One body on its way in: by DATA, ended by CRLF.CRLF and by nothing else, or by BDAT, counted (RFC 5321 4.5.2, 3030).

Work on octets is by `find`, `count` and `replace` over whole buffers, never line by line. A body of at most `spill`
octets on the wire comes out as one `Message`, a larger one as `BodyPart`s and a `MessageEnd`; which of them depends on the
body alone, not on how the input was cut. Never more than `spill` plus what one `feed` brought is held.

Blocks are cut so that no CR stands at their end and no `CRLF.` across it, therefore counts over blocks add up.

Size: `Allowance.limit` octets, counted on the wire (the chapter: "exactly as it appears in the protocol") or without the
doubled dots (RFC 1870 3). Beyond it the body is `exceeded`: no further parts, octets only pass by until the end is found.
"""

from typing import NamedTuple

from posthouse.dialogue.event import NO_FAULTS, BodyPart, Fault, Message, MessageEnd
from posthouse.dialogue.header import HeaderCheck, check_header

END = b"\r\n.\r\n"
_DOT = b"\r\n."
_PERIOD = 0x2E
_FEW_DOTS = 32
_SMALL = 8192
_BLOCK = 65_536
"""a streamed body is handed over in blocks of at least so many octets"""


class Allowance(NamedTuple):
    """How much one body may have."""

    limit: int
    """octets beyond which the body is exceeded; 0 for none"""
    on_wire: bool
    """whether stuffed dots count"""
    keep: int
    """octets beyond which a body within the limit is cut and named TOO_LARGE; 0 for none"""


def check_line_ends(data: bytes) -> tuple[frozenset[Fault], bytes | None]:
    """NUL, bare LF and bare CR in a block that neither begins nor ends inside a CRLF; without them its octets with LF line ends.

    A good block is what its octets without CR become when each LF is made CRLF. Octets are searched for one at a time
    that way, which is several times as quick as counting the pairs.
    """
    lf = data.replace(b"\r", b"")
    if b"\0" not in data and lf.replace(b"\n", b"\r\n") == data:
        return NO_FAULTS, lf
    return _count_faults(data), None


def first_dot(data: bytes | bytearray, start: int) -> int:
    """Where `CRLF.` begins first, or -1.

    In a small body one search is quick enough. In a larger one dots are looked for by one octet, a hundred times as quick as
    `find` of all three, as long as they are few. In text with many of them `rfind` is three times as quick as `find`.
    """
    if len(data) - start <= _SMALL:
        return data.find(_DOT, start)
    dot = data.find(b".", start)
    for _ in range(_FEW_DOTS):
        if dot < 0:
            return -1
        if dot >= start + 2 and data.startswith(b"\r\n", dot - 2):
            return dot - 2
        dot = data.find(b".", dot + 1)
    if dot < 0:
        return -1
    start = max(start, dot - 2)
    last = data.rfind(_DOT, start)
    if last < 0 or data.rfind(_DOT, start, last) < 0:
        return last
    return data.find(_DOT, start)


def _count_faults(data: bytes) -> frozenset[Fault]:
    pairs = data.count(b"\r\n")
    faults = set()
    if b"\0" in data:
        faults.add(Fault.NUL)
    if data.count(b"\n") != pairs:
        faults.add(Fault.BARE_LF)
    if data.count(b"\r") != pairs:
        faults.add(Fault.BARE_CR)
    return frozenset(faults)


def _suffix(held: bytes | bytearray) -> int:
    """How many octets at the end could begin `CRLF.CRLF`: they wait for what follows."""
    for length in (4, 3, 2, 1):
        if held.endswith(END[:length]):
            return length
    return 0


class Body:
    """Collects one body.

    Args:
        spill: octets on the wire up to which it is handed over whole.
        allowance: its size limits.
        dotted: DATA (true) or BDAT.
    """

    # _dotty: a line may begin with a dot. _dots, _dots_from: dots seen in what is held, for the limit
    __slots__ = (
        "_allowance",
        "_dots",
        "_dots_from",
        "_dotted",
        "_dotty",
        "_faults",
        "_growth",
        "_header",
        "_held",
        "_parts",
        "_size",
        "_spill",
        "_wire",
        "exceeded",
        "reported",
        "result",
        "swallowed",
    )

    def __init__(self, spill: int, allowance: Allowance, *, dotted: bool) -> None:
        self._spill = spill
        self._allowance = allowance
        self._dotted = dotted
        self._dotty = not dotted
        self._held: bytearray | None = None
        self._header: HeaderCheck | None = None
        self._parts: list[BodyPart] = []
        self._faults = NO_FAULTS
        self._size = self._growth = self._wire = 0
        self._dots = self._dots_from = 0
        self.exceeded = False
        self.reported = False
        """whether the session was told that it is exceeded"""
        self.swallowed = 0
        """octets dropped after the limit was passed"""
        self.result: Message | MessageEnd | None = None

    def take_parts(self) -> list[BodyPart]:
        """The parts ready by now, once."""
        parts, self._parts = self._parts, []
        return parts

    def take(self, buffer: bytes, position: int) -> tuple[int, bool]:
        """Read DATA from the buffer: where reading stopped, and whether the end was found."""
        held = self._held
        if held is None:
            plain = buffer[position] != _PERIOD
            dot = first_dot(buffer, position)
            if dot >= 0 and plain and buffer.startswith(b"\r\n", dot + 3):
                self._finish(buffer[position : dot + 2])  # the first dot that begins a line is the end
                return dot + 5, True
            if buffer.startswith(b".\r\n", position):
                self._finish(b"")
                return position + 3, True
            end = buffer.find(END, dot) if dot >= 0 else -1
            if end >= 0:
                self._dotty = True
                self._finish(buffer[position : end + 2])
                return end + 5, True
            held = self._held = bytearray(b"\r\n")  # the line end of DATA: the first line is searched like the others
            held += memoryview(buffer)[position:]
            start = max(0, len(held) - 4) if plain and dot < 0 else 0
        elif self._header is not None and len(held) < len(END) and len(buffer) - position >= _BLOCK:
            return self._take_block(bytes(held) + memoryview(buffer)[position:], len(buffer))
        else:
            start = max(0, len(held) - 4)
            held += memoryview(buffer)[position:]
        end = self._find_end(held, start)
        if end < 0:
            self._flush(held)
            return len(buffer), False
        stopped = len(buffer) - (len(held) - end - 5)
        del held[end + 2 :]
        self._finish(bytes(held) if self._header or self.exceeded else bytes(held[2:]))
        return stopped, True

    def _take_block(self, block: bytes, taken: int) -> tuple[int, bool]:
        """`take` for a block of a streamed body that needs not be gathered; the buffer's last `taken` octets are its end."""
        end = self._find_end(block, 0)
        if end >= 0:
            self._finish(block[: end + 2])
            return taken - (len(block) - end - 5), True
        keep = _suffix(block)
        surely = block[: len(block) - keep]
        self._held = bytearray(block[len(surely) :])
        if self.exceeded or self._passes_limit(block, keep):
            self.exceeded = True
            self.swallowed += len(surely)
        else:
            self._cut(surely)
            self._dots = self._dots_from = 0
        return taken, False

    def _find_end(self, held: bytes | bytearray, start: int) -> int:
        """Where `CRLF.CRLF` begins, or -1. As long as no line begins with a dot one search answers for both."""
        if not self._dotty:
            dot = first_dot(held, start)
            after = held[dot + 3 : dot + 5] if dot >= 0 else b""
            if after == b"\r\n":
                return dot
            if not after or after == b"\r":
                return -1
            self._dotty = True
            start = dot
        return held.find(END, start)

    def take_chunk(self, buffer: bytes, position: int, stop: int) -> None:
        """Read octets of BDAT from the buffer, up to `stop`."""
        if self._held is None:
            self._held = bytearray()
        self._held += memoryview(buffer)[position:stop]
        self._flush(self._held)

    def finish_chunks(self, rest: bytes) -> None:
        """The last chunk is complete with these octets; of a message that came at once they are all."""
        self._finish(bytes(self._held + rest) if self._held else rest)

    def _flush(self, held: bytearray) -> None:
        """Hand over what cannot be the end, once the body is known to be larger than `spill`."""
        keep = _suffix(held)
        if self.exceeded or self._passes_limit(held, keep):
            self.exceeded = True
            self.swallowed += len(held) - keep
            del held[: len(held) - keep]
            return
        if len(held) < (_BLOCK if self._header else self._spill + 6):
            return
        start = 2 if self._dotted and self._header is None else 0
        self._cut(bytes(memoryview(held)[start : len(held) - keep]))
        del held[: len(held) - keep]
        self._dots = self._dots_from = 0

    def _passes_limit(self, held: bytes | bytearray, keep: int) -> bool:
        """Whether the octets that surely belong to the body are already too many."""
        limit = self._allowance.limit
        if not limit:
            return False
        start = 2 if self._dotted and self._header is None else 0
        sure = len(held) - start - max(0, keep - 2 if self._dotted else 0)
        if self._allowance.on_wire or not self._dotted:
            return self._wire + sure > limit
        if self._size + sure <= limit:
            return False
        self._dots += held.count(_DOT, self._dots_from)
        self._dots_from = max(0, len(held) - 2)
        return self._size + sure - self._dots > limit

    def _cut(self, block: bytes) -> None:
        """Hand over one block of a streamed body."""
        first = self._header is None
        header = self._header or HeaderCheck()
        self._header = header
        self._wire += len(block)
        block, growth = self._unstuffed(block, first=first)
        self._growth += growth
        faults, lf = check_line_ends(block)
        self._faults |= faults
        header.feed(block)
        room = self._allowance.keep - self._size if self._allowance.keep else len(block)
        self._size += len(block)
        if room >= len(block):
            self._parts.append(BodyPart(block, lf))
        elif room > 0:
            self._parts.append(BodyPart(block[:room]))

    def _unstuffed(self, block: bytes, *, first: bool) -> tuple[bytes, int]:
        """The block without doubled dots, and how many octets stuffing adds to it."""
        if not self._dotty or (first_dot(block, 0) < 0 and not (first and block.startswith(b"."))):
            return block, 0
        growth = block.count(_DOT)
        if growth and self._dotted:
            block = block.replace(_DOT, b"\r\n")
        if first and block.startswith(b"."):
            growth += 1
            if self._dotted:
                block = block[1:]
        return block, growth

    def _finish(self, block: bytes) -> None:
        """The end was found behind this last block."""
        if self.exceeded:
            return
        if self._header is None and len(block) <= self._spill:
            self._finish_whole(block)
            return
        self._cut(block)
        assert self._header is not None
        if self._over(self._wire, self._size):
            self.exceeded = True
            return
        self._header.finish()
        faults = self._faults
        if self._header.fault:
            faults |= {self._header.fault}
        if 0 < self._allowance.keep < self._size:
            faults |= {Fault.TOO_LARGE}
        self.result = MessageEnd(self._size, self._growth, faults, self._header.end)

    def _finish_whole(self, block: bytes) -> None:
        data, growth = self._unstuffed(block, first=True)
        if self._over(len(block), len(data)):
            self.exceeded = True
            return
        faults, lf = check_line_ends(data)
        header_fault, header_end = check_header(data)
        if header_fault:
            faults |= {header_fault}
        if 0 < self._allowance.keep < len(data):
            faults |= {Fault.TOO_LARGE}
        self.result = Message(data, growth, faults, header_end, lf)

    def _over(self, wire: int, size: int) -> bool:
        limit = self._allowance.limit
        return 0 < limit < (wire if self._allowance.on_wire else size)
