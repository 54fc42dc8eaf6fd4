"""An LMTP server in any Python program (RFC 2033; docs/library.md): the store's sessions before a coroutine of the program's own.

    async def deliver(sender: str, recipient: str, message: bytes) -> Status: ...

    await LmtpServer(deliver, port=2400).serve_forever()

It is called once for each recipient of each message; what it returns is that recipient's reply (`calls`). The message has LF line
ends, dots removed, and no Return-Path. The server runs in the loop it is started in, asyncio's or uvloop's, and takes nothing of
an instance: no configuration, no journal. Speaks: PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, CHUNKING.
No TLS and no AUTH: listen where only those can connect whom you trust (the loopback, or a Unix socket in a folder of your own).
"""

import asyncio
import logging
import socket
from dataclasses import dataclass, replace
from typing import cast

from posthouse.dialogue.policy import ESMTP_RCPT, Policy, lmtp_policy
from posthouse.dispatcher.embedded import EmbeddedServer, Endpoint
from posthouse.dispatcher.handoff import Connection
from posthouse.mail.status import Status
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.calls import Calls, Deliver, Gathering, Limits
from posthouse.store.lmtp_server.session import LmtpSession
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import Target

_EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8")
_UNKNOWN = Connection("", "", ("", 0), ("", 0), "", tls=False, serial=0)
_NOBODY = Target("")
"""whom an address names is the program's business"""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the sessions ask for."""

    policy: Policy
    lenient: bool
    command_seconds: float
    data_seconds: float

    @property
    def secured(self) -> Policy:
        """How it would speak under TLS."""
        return self.policy


class LmtpServer(EmbeddedServer[LmtpSession]):
    """An LMTP server. Give it a coroutine, or override `deliver` in a subclass.

    Use it as `async with server:`, or `start` and `stop` it, or `serve_forever`.

    Args:
        deliver: called once for each recipient of each message.
        host: the address to listen on.
        port: the port; 0 for any, `address` then says which.
        path: listen on a Unix socket instead.
        hostname: this server's name in its greeting; the system's by default.
        limits: sizes, times and numbers.

    Raises:
        TypeError: there is nothing to call.
    """

    def __init__(
        self,
        deliver: Deliver | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        hostname: str = "",
        limits: Limits | None = None,
    ) -> None:
        if deliver is None and type(self).deliver is LmtpServer.deliver:
            raise TypeError("LmtpServer wants a coroutine to call, or a subclass with `async def deliver`")
        self._deliver = deliver
        limits = self._limits = limits or Limits()
        super().__init__(Endpoint(host, port, path), limits, logging.getLogger("posthouse.lmtp"))
        size = min(limits.message_size, limits.memory)  # a larger one would never find room
        policy = lmtp_policy(hostname or socket.gethostname(), (*_EXTENSIONS, f"SIZE {size}", "CHUNKING"))
        policy = replace(policy, max_size=size, max_recipients=limits.recipients, known_rcpt_params=ESMTP_RCPT)
        # what a session asks of its host (`host.SessionHost`)
        self.settings = _Settings(policy, True, limits.command_seconds, limits.data_seconds)
        self.delivery: Calls

    async def deliver(self, sender: str, recipient: str, message: bytes) -> Status:
        """Deliver a message to one recipient; called by the server.

        Args:
            sender: the envelope's, without brackets; empty for the null sender. Octets that are no UTF-8 by surrogateescape.
            recipient: as on the RCPT line, without brackets.
            message: LF line ends, dots removed.

        Returns:
            The recipient's reply: 2yz once the message is safe, 4yz to have it sent again, 5yz to have it returned.
        """
        assert self._deliver is not None
        return await self._deliver(sender, recipient, message)

    def _begin(self) -> None:
        """Make what sessions share."""
        self.delivery = Calls(self.deliver, self._limits, self._finished, self.log)
        self.program_calls = self.delivery.running

    def _new_session(self) -> asyncio.Protocol:
        """The protocol object of a new connection."""
        return _Session(self)

    def _is_late(self, session: LmtpSession, now: float) -> bool:
        """Whether a client's deadline has passed."""
        return session.deadline < now

    # --- what a session asks of its host ---------------------------------------------------------------------------

    @staticmethod
    def tls() -> None:
        """It has no certificate: STARTTLS is not offered."""

    def target(self, token: bytes) -> Target | MailboxError:  # noqa: ARG002 - what a session asks of its host
        """Every address is the program's to judge."""
        return _NOBODY

    def large(self, transaction: Transaction, /) -> Gathering:
        """A message that streams."""
        return Gathering(self.delivery.room, transaction.sender)

    def _finished(self, transaction: Transaction, statuses: list[Status]) -> None:
        session = cast("LmtpSession", transaction.session)
        session.finish(statuses)
        self.round.send_all()


class _Session(LmtpSession):
    """A connection that the loop accepted, not the Dispatcher."""

    def __init__(self, server: LmtpServer) -> None:
        super().__init__(server, _UNKNOWN, server.left)
        self._host = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if there is room."""
        if self._host.admit(transport):
            super().connection_made(transport)
