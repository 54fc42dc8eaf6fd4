"""What an LMTP session needs of the program it runs in: the seam between the dialogue and where mail is kept.

`lmtp_server.program` delivers into Maildirs, `native.program` into UNIX mailboxes; both are served by the same session.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from posthouse.dispatcher.sending_round import SendingRound
from posthouse.store.delivery.transaction import Message, Transaction
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import Target

if TYPE_CHECKING:
    import ssl

    from posthouse.dialogue.policy import Policy
    from posthouse.store.lmtp_server.session import LmtpSession


class Streaming(Protocol):
    """A message too large for memory, while it arrives. Ends with `end` or `abort`."""

    fault: MailboxError | None
    """what kept it from being written"""

    def write(self, data: bytes, lf: bytes | None = None, /) -> None:
        """The next octets as they came, dots removed; `lf` with LF line ends, if they are known."""
        ...

    def end(self) -> Message:
        """The whole message is here."""
        ...

    def abort(self) -> None:
        """It will not be delivered."""
        ...


class Deliverer(Protocol):
    """Takes whole transactions; their results come to the session's `finish`."""

    def expect(self) -> int:
        """A transaction has begun. Returns what `expect_no_more` wants to hear."""
        ...

    def expect_no_more(self, turn: int, /) -> None:
        """The transaction is here, or will not come."""
        ...

    def deliver(self, transaction: Transaction, message: Message, fault: MailboxError | None = None) -> None:
        """Deliver; the fault is that of the message itself."""
        ...


class SessionSettings(Protocol):
    """What a session is told to allow."""

    @property
    def policy(self) -> "Policy":
        """How it speaks."""
        ...

    @property
    def secured(self) -> "Policy":
        """How it speaks under TLS."""
        ...

    @property
    def lenient(self) -> bool:
        """Whether a header that is none is taken."""
        ...

    @property
    def command_seconds(self) -> float:
        """A client may think before a command."""
        ...

    @property
    def data_seconds(self) -> float:
        """It may be silent within a message."""
        ...


class SessionHost(Protocol):
    """What all sessions of a service share."""

    loop: asyncio.AbstractEventLoop
    round: SendingRound
    log: logging.Logger
    sessions: set["LmtpSession"]
    @property
    def settings(self) -> SessionSettings:
        """For new connections, and for the deadlines of all."""
        ...

    @property
    def target(self) -> Callable[[bytes], Target | MailboxError]:
        """Whom a RCPT address names."""
        ...

    @property
    def tls(self) -> "Callable[[], ssl.SSLContext | None]":
        """The service's certificate, where it has one."""
        ...

    @property
    def delivery(self) -> Deliverer:
        """Where transactions go."""
        ...

    def large(self, transaction: Transaction, /) -> Streaming:
        """A message that streams."""
        ...
