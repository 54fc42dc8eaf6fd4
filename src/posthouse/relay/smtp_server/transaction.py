"""One mail transaction as the session sees it, from MAIL to the final dot."""

import contextlib
from collections.abc import Mapping

import msgspec

from posthouse.dialogue.event import MessageEnd
from posthouse.journal.body_file import BodyFile
from posthouse.mail.status import Status
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rules import Rules
from posthouse.relay.smtp_server.line_ends import GoodParts


class TakenRecipient(msgspec.Struct, frozen=True):
    """A recipient that was answered 250: what was typed, and where it leads."""

    original: str
    targets: tuple[Target, ...]
    hold: bool
    notify: str = ""
    """NOTIFY, in capitals (RFC 3461 4.1)"""
    orcpt: str = ""
    """ORCPT as given, in xtext"""


class Transaction(msgspec.Struct):
    """What was accepted so far."""

    sender: str
    size: int | None
    """octets announced by SIZE="""
    eight_bit: bool
    utf8: bool
    rules: Rules
    """those it began with: a reload is for the next one"""
    given_sender: str = ""
    """MAIL FROM as it was given, where `sender` is another address of the same user (reversal)"""
    reversed: dict[str, str] = {}
    """what the directory made of MAIL FROM, for the header"""
    hold: bool = False
    """FROM_ACCESS wants the message held"""
    bitbucket: bool = False
    """FROM_ACCESS wants it swallowed"""
    offered: int = 0
    """recipients named, taken or not"""
    refused: Status | None = None
    """the transaction is refused whole, with this reply"""
    recipients: list[TakenRecipient] = []
    envid: str = ""
    """ENVID as given, in xtext (RFC 3461 4.4)"""
    ret: str = ""
    """RET: FULL or HDRS"""
    wishes: Mapping[str, bytes | None] | None = None
    """parameters of the RCPT that is being decided"""
    message_id: str = ""
    """our id, given when the body begins"""
    good_parts: GoodParts | None = None
    """of a streamed body whose line ends are made good"""
    added: bytes = b""
    """header fields of ours behind the Received field: FROM_ACCESS, submission"""
    sender_field: str = ""
    """FROM_ACCESS: the address the Sender: field is to have"""
    largest: int = 0
    """FROM_ACCESS: octets the message may have, 0 for no limit of its own"""
    removed: int = 0
    """octets taken out of the header: submission; below 0 those that were put into it: reversal"""
    given_id: str = ""
    """the Message-ID we have added, or empty"""
    received: bytes = b""
    early: list[bytes] = []
    """a streamed body's first octets, while the directory is asked about its header"""
    end: MessageEnd | None = None
    """it has been heard meanwhile"""
    start: bytes = b""
    """a streamed body's first octets, for its header"""
    body_file: BodyFile | None = None
    """where a streamed body goes"""
    failed: OSError | None = None
    """a streamed body could not be written: the rest is read and thrown away"""
    lines: int = 0
    """of a streamed body so far, where a channel limits them"""
    rest: bytes = b""
    """last two octets of a streamed body so far"""

    def abandon(self) -> None:
        """Forget a body that will not be accepted."""
        if self.body_file is not None:
            abandon(self.body_file)
            self.body_file = None


def abandon(body: BodyFile) -> None:
    """Remove a body's file; one that cannot be removed now is removed by a later start."""
    with contextlib.suppress(OSError):
        body.abandon()
