"""A queued message on its way into a mailbox: what is wrong with it by the store's rules, and its octets with LF line ends.

The queue holds what was accepted, CRLF line ends and dots removed. A message that stands whole in a record is looked at as a
whole; a larger one goes by in parts, cut so that no part ends in a CR whose LF is in the next.
"""

from collections.abc import Iterator

from posthouse.dialogue.body import check_line_ends
from posthouse.dialogue.event import NO_FAULTS, Fault
from posthouse.dialogue.header import HeaderCheck, check_header
from posthouse.store.delivery.stored_form import return_path, to_lf
from posthouse.store.delivery.transaction import Message


def whole(sender: bytes, data: bytes) -> tuple[Message, frozenset[Fault]]:
    """A message in memory, and its faults."""
    faults, lf = check_line_ends(data)
    fault, _ = check_header(data)
    head = return_path(sender)
    stored = head + (lf if lf is not None else to_lf(data))
    return Message(stored, len(stored), len(head) + 1 + len(data)), faults | {fault} if fault else faults


class Streamed:
    """Looks at a message while its parts go by."""

    def __init__(self) -> None:
        self._header = HeaderCheck()
        self._faults = NO_FAULTS

    def blocks(self, parts: Iterator[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """The parts cut anew, each with its octets with LF line ends where those are known."""
        held = b""
        for part in parts:
            block = held + part
            held = b"\r" if block.endswith(b"\r") else b""
            if block := block[: len(block) - len(held)]:
                yield block, self._look(block)
        if held:
            yield held, self._look(held)

    def _look(self, block: bytes) -> bytes | None:
        faults, lf = check_line_ends(block)
        self._faults |= faults
        self._header.feed(block)
        return lf

    @property
    def faults(self) -> frozenset[Fault]:
        """Of the whole message, when all has gone by."""
        self._header.finish()
        return self._faults | {self._header.fault} if self._header.fault else self._faults
