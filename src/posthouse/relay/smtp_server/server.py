"""An SMTP server in any Python program (RFC 5321; docs/library.md): the relay's connections before the program's own coroutine.

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status: ...

    await SmtpServer(deliver, port=2525).serve_forever()

It is called once for each message; what it returns is the reply to the final dot (`program_calls`). `recipient`, overridden in
a subclass, is asked about each RCPT before. The message has LF line ends, dots removed; `Arrival.received` makes the trace field
that whoever passes a message on has to add. The server runs in the loop it is started in, asyncio's or uvloop's, and takes
nothing of an instance: no configuration, no journal. Speaks: PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, CHUNKING,
and STARTTLS where it is given a certificate. No AUTH. Refused: a CR or LF alone in a body (550 5.6.11), a NUL (554 5.6.0),
anything behind STARTTLS.
"""

import asyncio
import logging
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial
from typing import TypeAlias

import posthouse
from posthouse.dialogue.event import (
    BodyPart,
    Event,
    Fault,
    Hello,
    Mail,
    Message,
    MessageEnd,
    MessageRefused,
    Oversize,
    Quit,
    Rcpt,
    Reset,
    StartTls,
)
from posthouse.dialogue.policy import smtp_policy
from posthouse.dispatcher.embedded import Bounds, EmbeddedServer, Endpoint
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.program_calls import ProgramCalls
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.smtp_server.host import hang_up_oldest
from posthouse.relay.smtp_server.line import Line
from posthouse.relay.smtp_server.memory import Memory
from posthouse.relay.smtp_server.received import Hop, received_line

_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8")
_MAIL_PARAMS = frozenset({"SIZE", "BODY", "SMTPUTF8"})
_UNKNOWN = Connection("", "", ("", 0), ("", 0), "", tls=False, serial=0)
_OK = Status(250, "2.1.5", "OK")
_NUL = Status(554, "5.6.0", "message contains null")
_FAILED = Status(451, "4.3.0", "delivery failed; try again later")
_LONGEST_HELO = 255


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server allows. Beyond a limit a client hears a refusal, or waits: never that its mail is lost."""

    message_size: int = 52_428_800
    """octets of one message, told in SIZE; larger is 552 5.3.4"""
    memory: int = 268_435_456
    """octets of all messages that are held at the same time; beyond it bodies are not read for a while"""
    recipients: int = 1000
    """of one message; the next is told 452 4.5.3"""
    connections: int = 100
    """beyond it the one idle longest is told 421 4.3.2, or the new one when all are busy"""
    calls: int = 32
    """of the program's coroutines at the same time"""
    deliver_seconds: float = 300.0
    """for one call, waiting for its turn not counted"""
    command_seconds: float = 300.0
    """a client may think before a command (RFC 5321 4.5.3.2.7)"""
    data_seconds: float = 180.0
    """it may be silent within a message"""
    reply_seconds: float = 300.0
    """it may leave our replies unread"""
    drain_seconds: float = 30.0
    """calls may go on after `stop`"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message comes in."""

    id: str
    """ours, never the same twice"""
    host: str
    """our name"""
    address: str
    """the client's IP address, empty over a Unix socket"""
    port: int
    helo: str
    """what the client calls itself; octets that are no ASCII are replaced"""
    protocol: str
    """SMTP, ESMTP, ESMTPS, UTF8SMTP or UTF8SMTPS (RFC 3848, RFC 6531 4.3)"""

    def received(self, recipient: str = "") -> bytes:
        """The trace field to put in front of the message (RFC 5321 4.4), with LF line ends.

        Args:
            recipient: shown after `for`; give it only where the message has no other.
        """
        hop = Hop(self.helo, self.address or "127.0.0.1", self.host, self.protocol, f"Posthouse {posthouse.__version__}")
        return received_line(hop, self.id, recipient, formatdate(time.time(), localtime=True)).replace(b"\r\n", b"\n")


Deliver: TypeAlias = Callable[[str, Sequence[str], bytes, Arrival], Awaitable[Status]]
"""sender, recipients, message, how it came to the reply to the final dot"""


class SmtpServer(EmbeddedServer[Line]):
    """An SMTP server. Give it a coroutine, or override `deliver` in a subclass; override `recipient` to judge each RCPT.

    Use it as `async with server:`, or `start` and `stop` it, or `serve_forever`.

    Args:
        deliver: called once for each message.
        host: the address to listen on.
        port: the port; 0 for any, `address` then says which.
        path: listen on a Unix socket instead.
        hostname: this server's name in its greeting; the system's by default.
        tls: the certificate; STARTTLS is offered where it is given.
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
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        if deliver is None and type(self).deliver is SmtpServer.deliver:
            raise TypeError("SmtpServer wants a coroutine to call, or a subclass with `async def deliver`")
        self._deliver = deliver
        self.judges = type(self).recipient is not SmtpServer.recipient
        """whether a recipient has to be asked about"""
        self.tls = tls
        self.hostname = hostname or socket.gethostname()
        # what a line asks of its host (`host.LineHost`)
        limits = self.limits = limits or Limits()
        self.memory = Memory(limits.memory)
        self.process_log = logging.getLogger("posthouse.smtp")
        look = min(limits.command_seconds, limits.data_seconds)
        super().__init__(Endpoint(host, port, path), Bounds(limits.connections, look, limits.drain_seconds), self.process_log)
        size = limits.message_size
        policy = smtp_policy(self.hostname, (*_EXTENSIONS, f"SIZE {size}", "CHUNKING", "ENHANCEDSTATUSCODES"))
        self.secured = replace(
            policy, max_size=size, max_recipients=limits.recipients, known_mail_params=_MAIL_PARAMS, known_rcpt_params=frozenset()
        )
        self.policy = self.secured
        if tls is not None:
            self.policy = replace(self.secured, starttls=True, extensions=(*policy.extensions, "STARTTLS"))
        self.ids = MessageIds(time.time, secrets.randbits)

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        """Take a message; called by the server.

        Args:
            sender: the envelope's, without brackets; empty for the null sender.
            recipients: those that were accepted, in their order.
            message: LF line ends, dots removed.
            arrival: how it came.

        Returns:
            The reply: 2yz once the message is safe for all recipients, 4yz to have it sent again, 5yz to have it returned.
        """
        assert self._deliver is not None
        return await self._deliver(sender, recipients, message, arrival)

    async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:  # noqa: ARG002 - for subclasses
        """Judge one RCPT; called by the server where a subclass overrides it. Otherwise all are accepted.

        Args:
            sender: as for `deliver`.
            recipient: as on the RCPT line, without brackets.
            arrival: how the message comes.

        Returns:
            The reply: 2yz accepts.
        """
        return _OK

    def _begin(self) -> None:
        """Make what sessions share."""
        self.program_calls = ProgramCalls(self.limits.calls, self.limits.deliver_seconds, _FAILED, self.log)

    def _new_session(self) -> asyncio.Protocol:
        """The protocol object of a new connection."""
        return _Session(self)

    def _is_late(self, session: Line, now: float) -> bool:
        """Whether a client's deadline has passed."""
        return session.look(now)

    def look(self, now: float) -> None:
        """End sessions that are too slow; where bodies that do not end hold all memory, the oldest of them.

        What calls hold comes back with their end.
        """
        super().look(now)
        self.memory.resume()
        if self.memory.is_most(sum(line.held for line in self.sessions)):
            hang_up_oldest(self.sessions, self.memory)

    def report(self, text: str) -> None:
        """A line in the log, with the traceback."""
        self.log.error(text, exc_info=sys.exc_info()[0] is not None)


class _Session(Line):
    """One connection: its commands become calls."""

    def __init__(self, server: SmtpServer) -> None:
        super().__init__(server, _UNKNOWN, server.left, server.policy)
        self._host = server
        self._helo, self._esmtp = "", False
        self._sender = ""
        self._recipients: list[str] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._arrival: Arrival | None = None
        self._idle = 0.0

    # --- what the loop and the server ask ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if there is room."""
        if not self._host.admit(transport):
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.connection = replace(_UNKNOWN, peer=(peer[0], peer[1]))
        super().connection_made(transport)

    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open; None for one that is to go already."""
        return None if self.server.in_transaction or self.server.closing else self._idle

    def begun(self) -> None:
        """From now on it may be idle."""
        self._idle = self._host.loop.time()

    def begun_tls(self) -> None:
        """What the client said in clear is forgotten (RFC 3207 4.2)."""
        self._helo = ""
        self.server.tls_started(self._host.secured)

    def over(self) -> None:
        """Forget the transaction; a call that is under way goes on."""
        self._forget()

    def lost(self) -> None:
        """Nothing more to say."""

    # --- what the client says ---------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Obey one event of the dialogue."""
        match event:
            case Rcpt():
                self._rcpt(_text(event.recipient))
            case Mail():
                self._mail(event)
            case Message():
                self._message(event.lf, event.faults)
            case BodyPart():
                octets = event.data if event.lf is None else event.lf  # without: it will be refused
                self._parts.append(octets)
                self._size += len(octets)
                self.hold(self._size)
            case MessageEnd():
                data = b"".join(self._parts)
                self._parts.clear()
                self._message(data, event.faults)
            case Hello():
                self._forget()
                self._helo = event.name[:_LONGEST_HELO].decode("ascii", "replace")
                self._esmtp = event.verb != "HELO"
            case Reset() | Oversize() | MessageRefused():
                self._forget()
            case Quit():
                self.abrupt = True
            case StartTls():
                assert self._host.tls is not None  # else it would not have been offered
                self.start_tls(self._host.tls)

    def _mail(self, event: Mail) -> None:
        host, limits = self._host, self._host.limits
        protocol = ("UTF8SMTP" if "SMTPUTF8" in event.params else "ESMTP") if self._esmtp else "SMTP"
        address, port = self.connection.peer
        protocol += "S" * (self._esmtp and self.secured)
        self._arrival = Arrival(host.ids.next(), host.hostname, address, port, self._helo, protocol)
        self._sender = _text(event.sender)
        self.transaction_ends = host.loop.time() + 12 * max(limits.command_seconds, limits.data_seconds)
        self.server.accept()

    def _rcpt(self, recipient: str) -> None:
        host, arrival = self._host, self._arrival
        assert arrival is not None
        if host.judges:
            host.program_calls.use(self._ask(recipient, arrival))
            return
        self._recipients.append(recipient)
        self.server.accept()

    async def _ask(self, recipient: str, arrival: Arrival) -> None:
        host = self._host
        judge = partial(host.recipient, self._sender, recipient, arrival)
        status = await host.program_calls.status(f"recipient {recipient}", judge)
        self.go_on(self._judged, recipient, arrival, status)

    def _judged(self, recipient: str, arrival: Arrival, status: Status) -> None:
        if arrival is not self._arrival:  # it was hung up meanwhile
            return
        if status.is_success:
            self._recipients.append(recipient)
        self.server.answer(status)

    def _message(self, data: bytes | None, faults: frozenset[Fault]) -> None:
        if data is None or Fault.NUL in faults:  # bare line ends the dialogue has refused
            self._forget()
            self.server.answer_data([_NUL])
            return
        host, arrival = self._host, self._arrival
        assert arrival is not None
        host.memory.change(len(data))  # the call's now, however long the connection lives
        self.hold(0)
        host.program_calls.use(self._deliver(self._sender, tuple(self._recipients), data, arrival))

    async def _deliver(self, sender: str, recipients: tuple[str, ...], message: bytes, arrival: Arrival) -> None:
        host = self._host
        try:
            deliver = partial(host.deliver, sender, recipients, message, arrival)
            status = await host.program_calls.status(f"deliver {arrival.id}", deliver)
        finally:
            host.memory.change(-len(message))
        if arrival is self._arrival:
            self._forget()
            self.go_on(self.server.answer_data, [status])

    def _forget(self) -> None:
        self._arrival = None
        self._recipients = []
        self._parts.clear()
        self._size = 0
        self._idle = self._host.loop.time()
        self.transaction_ends = float("inf")
        self.hold(0)


def _text(address: bytes) -> str:
    return address.decode("utf-8", "surrogateescape")
