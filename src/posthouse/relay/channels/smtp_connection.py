"""An SMTP connection to a next system, until it is ready and when it ends; `smtp_session` carries the mail over it.

Greeting, EHLO or HELO, STARTTLS with the handshake, AUTH. `opened` tells the host what came of it. A peer that is a listening
port of this very system is a loop: 5.4.6. Deadlines are looked at by the program once a second; they move only when the server
has said a whole reply, and a transaction has an hour in all, whatever is dribbled.
"""

import asyncio
import logging
import ssl
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

from posthouse.dialogue.client_event import (
    Bye,
    Greeting,
    ProtocolError,
    Ready,
    RecipientResult,
    Refused,
    TransactionDone,
    WantBody,
    WantTls,
)
from posthouse.dialogue.exchange import CUT_OFF, TIMED_OUT
from posthouse.dialogue.smtp_client import Opening, SmtpClient
from posthouse.dialogue.transaction import ClientPhase
from posthouse.mail.status import Status
from posthouse.relay.channels.next_system import NextSystem

if TYPE_CHECKING:
    from posthouse.relay.channels.lmtp_host import Waiting
    from posthouse.relay.channels.smtp_host import Hop, SmtpHost

_log = logging.getLogger("posthouse")
IDLE_SECONDS = 15.0
LEAVING_SECONDS = 10.0
_OF_TRANSACTION = (RecipientResult, WantBody, TransactionDone)
HANDSHAKE_SECONDS = 60.0
_LOST = Status(451, "4.4.2", "connection lost before the server was ready")


class SmtpConnection(asyncio.Protocol, ABC):
    """A connection of one host.

    Args:
        host: whose.
        hop: where it goes.
        opening: TLS and credentials.
    """

    def __init__(self, host: "SmtpHost", hop: "Hop", opening: Opening) -> None:
        self.host = host
        self.hop = hop
        self.deadline = 0.0
        self.served = 0
        self.where = ""
        self.tls_failed = ""
        """why the handshake failed"""
        self._loop = host.shop.loop
        self.opened: asyncio.Future[Status | None] = self._loop.create_future()
        """None when transactions may begin, else why they never will"""
        self._client = SmtpClient(host.hello, opening)
        self._transport: asyncio.Transport | None = None
        self._born = self._loop.time()
        self._banner = ""
        self._system = NextSystem()
        self._handshake: asyncio.Task[None] | None = None
        self._until = 0.0
        self._paused = False
        self._closing = False
        self._ready = False
        self._gone = False

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a copy is under way."""

    @abstractmethod
    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""

    @abstractmethod
    def _go_on(self, event: RecipientResult | WantBody | TransactionDone) -> None:
        """Something has happened in a transaction."""

    @abstractmethod
    def _send_more(self) -> None:
        """There is room for more of a body, if one is under way."""

    # the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has accepted the connection; now it has to greet."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own
        local, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.where = f"TCP|{local[0]}|{local[1]}|{peer[0]}|{peer[1]}" if local and peer else "TCP"
        self._wait(self.host.settings.reply_wait)
        self.host.connected(self)
        if local and peer and local[0] == peer[0] and self.host.program.is_ours(peer[0], peer[1]):
            self._open_ended(Status(554, "5.4.6", f"{self.hop.host} is this system: mail would come back"))
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Replies."""
        self._client.feed(data)
        self._run()

    def eof_received(self) -> None:
        """The server has nothing more to say."""
        self._client.eof()
        self._run()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: what has no reply of its own is not settled."""
        del exc
        if self._gone or self._transport is None:  # an opening that is called off says so, too
            return
        self._gone = True
        self._client.eof()
        self._run()
        self._open_ended(_LOST)
        self.host.gone(self, self.where)

    def pause_writing(self) -> None:
        """The kernel's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        self._send_more()

    # what the host asks of it

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin on it."""
        return self._client.phase is ClientPhase.IDLE and not self._closing

    @property
    def connected(self) -> bool:
        """Whether it is ready, or was."""
        return self._ready

    @property
    def worn_out(self) -> bool:
        """Whether it has lived or served long enough."""
        settings = self.host.settings
        limits = (settings.transactions_per_session, settings.max_life_conns, self._system.most_messages)
        most = min(each for each in limits if each)
        return self.served >= most or self._loop.time() - self._born >= settings.max_life_age

    def expire(self) -> None:
        """Its deadline has passed."""
        if self._client.phase is ClientPhase.IDLE and not self.busy:
            self.leave()
            return
        self._client.eof(TIMED_OUT if self._loop.time() >= self.deadline else CUT_OFF)
        self._run()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """End politely, after the transaction under way."""
        self._closing = True
        if self._transport is None:
            return
        if self._client.phase is ClientPhase.IDLE and not self.busy:
            self._client.quit()
            self._transport.write(self._client.to_send())
            self._wait(LEAVING_SECONDS)
            self.host.not_idle(self)
        elif not self._ready:
            self._transport.abort()

    def rest(self) -> None:
        """Nothing to do: wait for the next copy, not for ever."""
        self._wait(IDLE_SECONDS)

    def _modifiers(self) -> str:
        client = self._client
        return "".join(sign for sign, on in (("E", client.extended), ("S", client.secured), ("A", client.authenticated)) if on)

    # the dialogue

    def _run(self) -> None:
        client = self._client
        while (event := client.next_event()) is not None:
            if isinstance(event, _OF_TRANSACTION):
                self._go_on(event)
            elif isinstance(event, Ready):
                self._become_ready(event)
            elif isinstance(event, Greeting):
                self._banner = event.status.text
            elif isinstance(event, WantTls):
                self._handshake = self._loop.create_task(self._start_tls())
            elif isinstance(event, Refused):
                self._open_ended(event.status)
            elif isinstance(event, ProtocolError):
                self._open_ended(Status(451, "4.5.0", f"protocol error: {event.text}"))
                _log.warning("%s: protocol error: %s", self.hop.host, event.text)
            elif isinstance(event, Bye):
                self.host.not_idle(self)
        self._flush()
        if client.closed and self._transport is not None:
            self.host.shop.round.send_all()
            self._transport.close()

    def _flush(self) -> None:
        octets = self._client.to_send()
        if octets and self._transport is not None and not self._transport.is_closing():
            self.host.shop.round.send(self._transport, octets)
            if not self._ready:
                self._wait(self.host.settings.reply_wait)
            elif self._client.phase is ClientPhase.ENVELOPE:
                self._wait_for_command()

    def _wait_for_command(self) -> None:
        settings = self.host.settings
        self._wait(max(settings.mail_wait, settings.rcpt_wait, settings.data_wait))

    async def _start_tls(self) -> None:
        transport, secure = self._transport, self.host.smtp.tls
        assert transport is not None
        assert secure is not None
        context = secure.context
        assert context is not None
        self._wait(HANDSHAKE_SECONDS)
        name = self.hop.host if context.check_hostname or not self.hop.is_literal else None
        try:
            secured = await self._loop.start_tls(transport, self, context, server_hostname=name)
        except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
            text = f"certificate: {error.verify_message}" if isinstance(error, ssl.SSLCertVerificationError) else str(error)
            self.tls_failed = text or type(error).__name__
            self._open_ended(Status(451, "4.7.5", f"TLS could not be started: {self.tls_failed}"))
            transport.abort()
            self.connection_lost(error)  # nobody else says so of a connection that ends in the handshake
            return
        if secured is None:
            return
        self._transport = secured
        if self._client.phase is ClientPhase.HANDSHAKE:
            self._client.tls_started()
            self._run()

    def _become_ready(self, event: Ready) -> None:
        self._system, self._ready = NextSystem.of(self.hop.host, event.extensions), True
        self._wait(IDLE_SECONDS)
        if not self.opened.done():
            self.opened.set_result(None)
        self.host.ready(self, self.where)

    def _open_ended(self, status: Status) -> None:
        if not self.opened.done():
            self.opened.set_result(status)

    def _wait(self, seconds: float) -> None:
        now = self._loop.time()
        self.deadline = min(now + seconds, self._until) if self.busy else now + seconds
