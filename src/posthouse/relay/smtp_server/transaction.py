"""One mail transaction as the session sees it, from MAIL to the final dot."""

from dataclasses import dataclass, field

from posthouse.journal.body_file import BodyFile
from posthouse.relay.routing.result import Target


@dataclass(frozen=True, slots=True)
class TakenRecipient:
    """A recipient that was answered 250: what was typed, and where it leads."""

    original: str
    targets: tuple[Target, ...]
    hold: bool


@dataclass(slots=True)
class Transaction:
    """What was accepted so far."""

    sender: str
    size: int | None
    """octets announced by SIZE="""
    eight_bit: bool
    utf8: bool
    hold: bool = False
    """FROM_ACCESS wants the message held"""
    recipients: list[TakenRecipient] = field(default_factory=list)
    message_id: str = ""
    """our id, given when the body begins"""
    received: bytes = b""
    start: bytes = b""
    """a streamed body's first octets, for its header"""
    body_file: BodyFile | None = None
    """where a streamed body goes"""
    failed: OSError | None = None
    """a streamed body could not be written: the rest is read and thrown away"""
    rest: bytes = b""
    """last two octets of a streamed body so far"""

    def abandon(self) -> None:
        """Forget a body that will not be accepted."""
        if self.body_file is not None:
            self.body_file.abandon()
            self.body_file = None
