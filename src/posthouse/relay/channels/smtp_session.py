"""One kept SMTP connection to a next system: takes copies from its host and settles recipients by the replies that are theirs.

* A copy with more recipients than a transaction may have goes in several transactions on the connection, one after the other.
  Recipients put off with 452 while others were taken are in the next of them (RFC 5321 4.5.3.1.10).
* 552 to RCPT means too many recipients and is taken as 452; after the body it is final (RFC 5321 4.5.3.1.9).
* An address outside ASCII is not sent to a server without SMTPUTF8: 5.6.7. What is larger than the server's SIZE: 5.3.4, unsent.
* NOTIFY=SUCCESS at a server without DSN: the sender is told by us that the message was relayed (RFC 3461 5.2.2).
* A kept connection found closed before the body was sent has cost nothing: the copy goes over another one.
* Deadlines are looked at by the program once a second; a transaction has an hour in all, whatever the server dribbles.
"""

import asyncio
import logging
import ssl
from collections import deque
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
from posthouse.dialogue.smtp_client import Opening, SmtpClient
from posthouse.dialogue.stuffing import Stuffer, on_wire, wire_size
from posthouse.dialogue.transaction import ClientPhase, Transaction
from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.esmtp import limit, mail_parameters, most_octets, most_recipients, rcpt_argument
from posthouse.relay.queue.open_copy import OpenCopy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from posthouse.mail.envelope import Recipient
    from posthouse.relay.channels.lmtp_host import Waiting
    from posthouse.relay.channels.smtp_host import Hop, SmtpHost

_log = logging.getLogger("posthouse")
IDLE_SECONDS = 15.0
LEAVING_SECONDS = 10.0
TRANSACTION_SECONDS = 3600.0
HANDSHAKE_SECONDS = 60.0
_LOST = Status(451, "4.4.2", "connection lost before the server was ready")
_CUT_OFF = Status(451, "4.4.2", "connection lost before this recipient's turn")
_NEEDS_UTF8 = Status(550, "5.6.7", "the next system does not take internationalized addresses")


class SmtpSession(asyncio.Protocol):
    """A session of one host.

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
        self._listed: Mapping[str, str] = {}
        self._handshake: asyncio.Task[None] | None = None
        self._job: Waiting | None = None
        self._attempt: Attempt | None = None
        self._opened: OpenCopy | None = None
        self._waiting: deque[Recipient] = deque()
        self._sent: list[Recipient] = []
        self._lost: list[tuple[Recipient, Status]] = []
        self._put_off: list[tuple[Recipient, Status]] = []
        self._taken = 0
        self._body_sent = False
        self._body: Iterator[bytes] | None = None
        self._stuffer = Stuffer()
        self._until = 0.0
        self._paused = False
        self._closing = False
        self._ready = False
        self._gone = False

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
        if self._gone:
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
        if self._body is not None:
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
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return self._job is not None

    @property
    def worn_out(self) -> bool:
        """Whether it has lived or served long enough."""
        settings = self.host.settings
        limits = (settings.transactions_per_session, settings.max_life_conns, limit(self._listed, "MAILMAX"))
        most = min(each for each in limits if each)
        return self.served >= most or self._loop.time() - self._born >= settings.max_life_age

    def expire(self) -> None:
        """Its deadline has passed."""
        if self._client.phase is ClientPhase.IDLE and self._job is None:
            self.leave()
            return
        self._client.eof()
        self._run()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """End politely, after the transaction under way."""
        self._closing = True
        if self._transport is None:
            return
        if self._client.phase is ClientPhase.IDLE and self._job is None:
            self._client.quit()
            self._transport.write(self._client.to_send())
            self._wait(LEAVING_SECONDS)
            self.host.not_idle(self)
        elif not self._ready:
            self._transport.abort()

    def rest(self) -> None:
        """Nothing to do: wait for the next copy, not for ever."""
        self._wait(IDLE_SECONDS)

    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""
        opened = self.host.open(job)
        if opened is None:
            return False
        self._opened, self._job, self._body_sent, self._taken = opened, job, False, 0
        self._lost, self._put_off, self._sent = [], [], []
        self._attempt = Attempt(self.host.shop, job.lease, opened)
        self._attempt.reached(self.hop.host, self.where, self._banner, self._modifiers())
        self._until = self._loop.time() + TRANSACTION_SECONDS
        self._waiting = deque(self._sendable(opened, self._attempt))
        if not self._begin():
            self._conclude()
            return False
        self._flush()
        return True

    # transactions

    def _modifiers(self) -> str:
        client = self._client
        return "".join(sign for sign, on in (("E", client.extended), ("S", client.secured), ("A", client.authenticated)) if on)

    def _sendable(self, opened: OpenCopy, attempt: Attempt) -> "Iterator[Recipient]":
        """The recipients this server can be told of; the others have their result."""
        envelope, largest = opened.envelope, most_octets(self._listed)
        wide = "SMTPUTF8" in self._listed
        refusal = None
        if largest and wire_size(envelope.size, envelope.wire_growth) > largest:
            text = f"a message of {envelope.size} octets is more than the {largest} that {self.hop.host} takes"
            refusal = Status(552, "5.3.4", text)
        elif not wide and not envelope.sender.isascii():
            refusal = _NEEDS_UTF8
        for recipient in opened.recipients:
            if refusal is not None:
                attempt.refuse(recipient, refusal)
            elif not wide and not self.host.wire(recipient.address).isascii():
                attempt.refuse(recipient, _NEEDS_UTF8)
            else:
                yield recipient

    def _begin(self) -> bool:
        """The next transaction of the copy, if there are recipients left that can be sent."""
        opened, attempt = self._opened, self._attempt
        assert opened is not None
        assert attempt is not None
        envelope = opened.envelope
        while self._waiting:
            most = min(most_recipients(self._listed), len(self._waiting))
            self._sent = [self._waiting.popleft() for _ in range(most)]
            arguments = tuple(rcpt_argument(self.host.wire(each.address), each, self._listed) for each in self._sent)
            sender = envelope.sender.encode("utf-8", "surrogateescape")
            parameters = mail_parameters(envelope, self._listed, eight_bit=envelope.eight_bit)
            size = wire_size(envelope.size, envelope.wire_growth)
            try:
                self._client.begin(Transaction(sender, size, arguments, parameters))
            except ValueError as error:  # an operator's edit of the queue file: it must neither bounce nor stop the others
                for recipient in self._sent:
                    attempt.refuse(recipient, Status(451, "4.1.3", f"cannot be sent: {error}"))
                continue
            self._taken, self._put_off = 0, []
            self._wait_for_command()
            return True
        self._sent = []
        return False

    def _wait_for_command(self) -> None:
        settings = self.host.settings
        self._wait(max(settings.mail_wait, settings.rcpt_wait, settings.data_wait))

    def _run(self) -> None:
        client = self._client
        while (event := client.next_event()) is not None:
            if isinstance(event, RecipientResult):
                self._hear(event)
            elif isinstance(event, WantBody):
                self._send_body()
            elif isinstance(event, TransactionDone):
                self._transaction_done()
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

    # opening

    async def _start_tls(self) -> None:
        transport, context = self._transport, self.host.smtp.context
        assert transport is not None
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
        self._listed, self._ready = event.extensions, True
        self._wait(IDLE_SECONDS)
        if not self.opened.done():
            self.opened.set_result(None)
        self.host.ready(self, self.where)

    def _open_ended(self, status: Status) -> None:
        if not self.opened.done():
            self.opened.set_result(status)

    # replies

    def _hear(self, event: RecipientResult) -> None:
        assert self._attempt is not None
        recipient, status = self._sent[event.index], event.status
        if not event.final:
            self._lost.append((recipient, status))
            return
        if status.code == 552 and not self._body_sent and not self._is_final_552(status):
            status = Status(452, f"4{status.enhanced[1:]}" if status.enhanced else "", status.text)
        if status.code == 452 and not self._body_sent:
            self._put_off.append((recipient, status))
            return
        self._taken += status.is_success
        self._attempt.result(recipient, status)
        self._wait_for_command()

    def _is_final_552(self, status: Status) -> bool:
        permanent = self.host.smtp.permanent_552
        return status.enhanced == "5.3.4" or bool(permanent and permanent in status.text.lower())

    def _send_body(self) -> None:
        assert self._opened is not None
        assert self._attempt is not None
        self._body_sent = self._attempt.body_sent = True
        going_out = self.host.shop.round
        if self._opened.envelope.size <= INLINE_LIMIT and self._transport is not None:
            going_out.send(self._transport, on_wire(b"".join(self._opened.parts())))
            self._body_done()
            return
        going_out.send_all()
        self._body, self._stuffer = self._opened.parts(), Stuffer()
        self._send_more()

    def _send_more(self) -> None:
        """As much of the body as the kernel takes without our keeping it."""
        assert self._transport is not None
        while self._body is not None and not self._paused and not self._transport.is_closing():
            self._wait(self.host.settings.send_wait)
            part = next(self._body, None)
            if part is not None:
                self._transport.write(self._stuffer.feed(part))
                continue
            self._transport.write(self._stuffer.finish())
            self._body = None
            self._body_done()

    def _body_done(self) -> None:
        assert self._opened is not None
        self._client.body_sent()
        self._wait(self.host.settings.final_wait(len(self._sent), self._opened.envelope.size))

    def _transaction_done(self) -> None:
        """One transaction of the copy is over: the next, or the end."""
        assert self._attempt is not None
        self.served += 1
        self._body = None
        if self._put_off and self._taken and self._client.phase is ClientPhase.IDLE:
            self._waiting.extendleft(recipient for recipient, _ in reversed(self._put_off))
        else:
            for recipient, status in self._put_off:
                self._attempt.result(recipient, status)
        self._put_off, self._body_sent = [], False
        if self._waiting and self._client.phase is ClientPhase.IDLE and not self._closing and self._begin():
            return
        self._conclude()
        self.host.finished(self)

    def _conclude(self) -> None:
        """The copy's turn on this connection is over: settle what is left of it."""
        job, attempt, opened = self._job, self._attempt, self._opened
        assert job is not None
        assert attempt is not None
        assert opened is not None
        self._job = self._attempt = self._opened = self._body = None
        stale = self.served > 1 and self._lost and not attempt.body_sent and attempt.untouched
        if stale and not job.stale:
            opened.close()
            self.host.again(job, stale=True)
            return
        if self._lost:
            self.host.turned_sour(self.hop)
        for recipient, status in self._lost:
            attempt.result(recipient, status)
        for recipient in self._waiting:
            attempt.result(recipient, self._lost[0][1] if self._lost else _CUT_OFF)
        self._waiting.clear()
        attempt.end()

    def _wait(self, seconds: float) -> None:
        now = self._loop.time()
        self.deadline = min(now + seconds, self._until) if self._job is not None else now + seconds
