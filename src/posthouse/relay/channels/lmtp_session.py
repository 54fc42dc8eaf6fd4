"""One kept LMTP connection: takes copies from its host, one transaction each (`lmtp_transaction.py`).

* STARTTLS where the channel's keywords want it (`tls_out.py`); a handshake that fails is the host's trouble, 4.7.5.
* Deadlines are looked at by the program once a second; there is no timer and no task for each message.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from posthouse.dialogue.client import ClientPhase, LmtpClient, LmtpTlsClient
from posthouse.dialogue.client_event import (
    BodySent,
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
from posthouse.dialogue.stuffing import Stuffer, on_wire
from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.status import Status
from posthouse.relay.channels.lmtp_transaction import LmtpTransaction, Offers
from posthouse.relay.channels.tls_out import HANDSHAKE_SECONDS, shake_hands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from posthouse.relay.channels.lmtp_host import LmtpHost, Waiting

_IDLE = ClientPhase.IDLE
IDLE_SECONDS = 60.0
LEAVING_SECONDS = 10.0


class LmtpSession(asyncio.Protocol):
    """A session of one host."""

    def __init__(self, host: "LmtpHost") -> None:
        self.host = host
        self.deadline = 0.0
        self.served = 0
        self._loop = host.shop.loop
        secure = host.settings.tls
        self._client = LmtpClient(host.shop.host) if secure is None else LmtpTlsClient(host.shop.host, secure.tls)
        self._mode = "L"
        """modifiers of its records"""
        self._handshake: asyncio.Task[None] | None = None
        self._tls_failure: Status | None = None
        self._transport: asyncio.Transport | None = None
        self._born = self._loop.time()
        limits = (host.settings.transactions_per_session, host.settings.max_life_conns)
        self._most = min(each for each in limits if each)
        self._where = ""
        self._banner = ""
        self._offers = self._once_sure = Offers()
        settings = host.settings
        self._envelope_wait = max(settings.mail_wait, settings.rcpt_wait, settings.data_wait)
        self._now: LmtpTransaction | None = None
        self._body: Iterator[bytes] | None = None
        self._stuffer: Stuffer | None = None
        self._paused = False
        self._closing = False
        self._ready = False
        self._gone = False

    # the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has accepted the connection; now it has to greet."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own
        local, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._where = f"TCP|{local[0]}|{local[1]}|{peer[0]}|{peer[1]}" if local and peer else "TCP"
        self._wait(self.host.settings.reply_wait)
        self.host.connected(self)

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
        if self._gone or self._transport is None:  # a handshake that fails says so, too, and an opening that is called off
            return
        self._gone = True
        self._client.eof()
        self._run()
        self.host.gone(self, self._where)

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
        return self._client.phase is _IDLE and not self._closing

    @property
    def connected(self) -> bool:
        """Whether the server has greeted."""
        return self._ready

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return self._now is not None

    def expire(self) -> None:
        """Its deadline has passed."""
        if self._client.phase is ClientPhase.IDLE:
            self.leave()
            return
        self._client.eof(TIMED_OUT if self._loop.time() >= self.deadline else CUT_OFF)
        self._run()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """End politely, after the transaction under way."""
        self._closing = True
        if self._client.phase is ClientPhase.IDLE and self._now is None and self._transport is not None:
            self._client.quit()
            self._transport.write(self._client.to_send())
            self._wait(LEAVING_SECONDS)
            self.host.not_idle(self)
        elif not self._ready and self._transport is not None:
            self._transport.abort()

    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""
        self._now = self._begin(job)
        if self._now is None:
            return False
        self._flush()
        settings = self.host.settings
        self._wait(settings.final_wait(1, self._now.opened.envelope.size) if self._now.chunked else self._envelope_wait)
        return True

    def _begin(self, job: "Waiting") -> LmtpTransaction | None:
        opened = self.host.open(job)
        if opened is None:
            return None
        transaction = LmtpTransaction(self.host, job, opened)
        transaction.attempt.reached(self.host.connect_name, self._where, self._banner, self._mode)
        try:
            command = transaction.command(self._offers)
            if command is not None:
                self._client.begin(command)
                return transaction
        except (OSError, ValueError) as error:
            transaction.cannot_be_sent(error)
        transaction.conclude(kept=False)
        return None

    # the dialogue

    def _run(self) -> None:
        client = self._client
        heard: list[RecipientResult] = []
        while (event := client.next_event()) is not None:
            if isinstance(event, RecipientResult):
                heard.append(event)
                continue
            if heard:
                self._hear(heard)
                heard = []
            kind = type(event)
            if kind is WantBody:
                self._send_body()
            elif kind is BodySent:
                assert self._now is not None
                self._now.sends_body()
            elif kind is TransactionDone:
                self._conclude()
                self._loop.call_soon(self.host.finished, self)  # first all replies that came are heard (decision 148)
            elif isinstance(event, Ready):
                self._ready = True
                self._once_sure = Offers.of(event.extensions, bare=event.bare, settings=self.host.settings)
                self._offers = self._once_sure._replace(chunks=False)
                self._wait(IDLE_SECONDS)
                self.host.ready(self, self._where)
            elif isinstance(event, Greeting):
                self._banner = event.status.text
            elif isinstance(event, Refused):
                self.host.refused(self, self._tls_failure or event.status, self._where)
            elif isinstance(event, ProtocolError):
                self.host.shop.alarm(f"{self.host.connect_name}: protocol error: {event.text}")
                self.host.takes_chunks = False  # by DATA a reply too many is found out before it is taken for the message's
                if not self._ready:  # no copy has been begun that could tell of it: the host is down
                    self.host.refused(self, Status(451, "4.5.0", f"protocol error: {event.text}"), self._where)
            elif isinstance(event, WantTls):
                self._handshake = self._loop.create_task(self._start_tls())
            elif isinstance(event, Bye):
                self.host.not_idle(self)
        if heard:
            self._hear(heard)
        self._flush()
        if client.closed and self._transport is not None:
            self.host.shop.round.send_all()
            self._transport.close()

    def _hear(self, results: list[RecipientResult]) -> None:
        assert self._now is not None
        self._now.hear(results)
        self._wait(self.host.settings.final_wait(len(self._now.recipients), 0))

    async def _start_tls(self) -> None:
        transport, client, secure = self._transport, self._client, self.host.settings.tls
        assert transport is not None
        assert secure is not None
        assert secure.context is not None
        assert isinstance(client, LmtpTlsClient)
        self._wait(HANDSHAKE_SECONDS)
        secured = await shake_hands(transport, self, secure.context, self.host.connect_name)
        if isinstance(secured, str):
            self._tls_failure = Status(451, "4.7.5", f"TLS could not be started: {secured}")
            self.connection_lost(None)
            return
        self._transport, self._mode = secured, "LS"
        if client.phase is ClientPhase.HANDSHAKE:
            client.tls_started()
            self._run()

    def _flush(self) -> None:
        octets = self._client.to_send()
        if octets and self._transport is not None and not self._transport.is_closing():
            self.host.shop.round.send(self._transport, octets)

    def _send_body(self) -> None:
        now, transport = self._now, self._transport
        assert now is not None
        assert transport is not None
        self._offers = self._once_sure  # a 354 in its place: this server's replies can be counted
        now.sends_body()
        if now.opened.envelope.size > INLINE_LIMIT:
            self.host.shop.round.send_all()
            self._body, self._stuffer = now.opened.parts(), Stuffer()
            self._send_more()
            return
        self.host.shop.round.send(transport, on_wire(b"".join(now.opened.parts())))
        self._body_done()

    def _send_more(self) -> None:
        """A streamed body: as much as the kernel takes without our keeping it."""
        assert self._body is not None
        assert self._stuffer is not None
        assert self._transport is not None
        while not self._paused and not self._transport.is_closing():
            self._wait(self.host.settings.send_wait)
            part = next(self._body, None)
            if part is None:
                self._transport.write(self._stuffer.finish())
                self._body = self._stuffer = None
                self._body_done()
                self._run()
                return
            self._transport.write(self._stuffer.feed(part))

    def _body_done(self) -> None:
        assert self._now is not None
        self._client.body_sent()
        self._wait(self.host.settings.final_wait(len(self._now.recipients), self._now.opened.envelope.size))

    def _conclude(self) -> None:
        """The transaction is over."""
        over, self._now, self._body = self._now, None, None
        assert over is not None
        if self._client.refuses_chunks:
            over.refuses_chunks()
        over.conclude(kept=self.served > 0)
        self.served += 1

    def rest(self) -> None:
        """Nothing to do: wait for the next copy, not for ever."""
        self._wait(IDLE_SECONDS)

    @property
    def worn_out(self) -> bool:
        """Whether it has lived or served long enough."""
        return self.served >= self._most or self._loop.time() - self._born >= self.host.settings.max_life_age

    def _wait(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds
