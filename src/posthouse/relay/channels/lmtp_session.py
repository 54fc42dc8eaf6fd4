"""One kept LMTP connection: takes copies from its host, one transaction each, and settles recipients by their own replies.

* MAIL with SIZE, BODY=8BITMIME and SMTPUTF8 where listed; RCPT with XQUOTA and XDFLG where listed or after the chapter's
  bare `250 OK`; IGNOREQUOTA for value 2 where that is listed (LMTP reference 2, 4). XQID=<envelope id>.<recipient id> where that
  is listed: the same at every try, so that a store can tell a repeat (message-store 5). XFLAGS where a script has set flags.
* The quota is told once: at a retry the store may have heard a newer one from a later message, which ours must not undo.
* An address outside ASCII is not sent to a server without SMTPUTF8: 5.6.7 for its recipients.
* `500 message too big`: SIZE is counted again over the octets and the copy is sent once more at once; then it is 5.3.4. A copy
  that has had its immediate retry is counted from the start.
* A kept connection that turns out to be closed before the body was sent has cost nothing: the copy goes over another one.
* STARTTLS where the channel's keywords want it (`tls_out.py`); a handshake that fails is the host's trouble, 4.7.5.
* Deadlines are looked at by the program once a second; there is no timer and no task for each message.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from posthouse.dialogue.client import ClientPhase, LmtpClient, LmtpTlsClient, Transaction
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
from posthouse.dialogue.stuffing import Stuffer, on_wire, wire_size
from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.envelope import Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.tls_out import HANDSHAKE_SECONDS, shake_hands
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.open_copy import OpenCopy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from posthouse.relay.channels.lmtp_host import LmtpHost, Waiting

IDLE_SECONDS = 60.0
LEAVING_SECONDS = 10.0
OVER_QUOTA_FLAG = 2
_TOO_BIG = Status(552, "5.3.4", "message too big for the next system")
_COUNT_AGAIN = Status(452, "4.3.4", "message too big for the size announced; it is counted again")
_NEEDS_UTF8 = Status(550, "5.6.7", "the next system does not take internationalized addresses")


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
        self._where = ""
        self._banner = ""
        self._extensions: frozenset[str] = frozenset()
        self._bare = False
        self._job: Waiting | None = None
        self._attempt: Attempt | None = None
        self._opened: OpenCopy | None = None
        self._recipients: list[Recipient] = []
        self._lost: list[tuple[Recipient, Status]] = []
        self._oversize: list[Recipient] = []
        self._body_sent = False
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
        if self._gone:  # a handshake that fails says so, too
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
        return self._client.phase is ClientPhase.IDLE and not self._closing

    @property
    def connected(self) -> bool:
        """Whether the server has greeted."""
        return self._ready

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return self._job is not None

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
        if self._client.phase is ClientPhase.IDLE and self._job is None and self._transport is not None:
            self._client.quit()
            self._transport.write(self._client.to_send())
            self._wait(LEAVING_SECONDS)
            self.host.not_idle(self)
        elif not self._ready and self._transport is not None:
            self._transport.abort()

    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""
        opened = self.host.open(job)
        if opened is None:
            return False
        self._opened, self._job, self._body_sent = opened, job, False
        self._lost, self._oversize = [], []
        self._attempt = attempt = Attempt(self.host.shop, job.lease, opened, fast=self.host.settings.fast_retry)
        attempt.reached(self.host.connect_name, self._where, self._banner, self._mode)
        attempt.success = Kind.DELIVERED
        transaction = self._transaction(job, opened, attempt)
        if transaction is None:
            self._conclude()
            return False
        try:
            self._client.begin(transaction)
        except ValueError as error:  # an operator's edit of the queue file: it must neither bounce nor stop the others
            for recipient in self._recipients:
                attempt.refuse(recipient, Status(451, "4.1.3", f"cannot be sent: {error}"))
            self._conclude()
            return False
        self._flush()
        self._wait(max(self.host.settings.mail_wait, self.host.settings.rcpt_wait, self.host.settings.data_wait))
        return True

    # the dialogue

    def _transaction(self, job: "Waiting", opened: OpenCopy, attempt: Attempt) -> Transaction | None:
        host, envelope, listed = self.host, opened.envelope, self._extensions
        wide = "SMTPUTF8" in listed
        xqid = f" XQID={envelope.id}." if "XQID" in listed else ""
        self._recipients, arguments = [], []
        for recipient in opened.recipients:
            wire = host.wire(recipient.address)
            if not wide and not (wire.isascii() and envelope.sender.isascii()):
                attempt.refuse(recipient, _NEEDS_UTF8)
                continue
            self._recipients.append(recipient)
            parameters = self._rcpt_parameters(recipient) + (f"{xqid}{recipient.id}" if xqid else "")
            arguments.append(f"<{wire}>{parameters}".encode("utf-8", "surrogateescape"))
        if not arguments:
            return None
        growth = self._exact_growth(opened) if job.exact else envelope.wire_growth
        params = [b"BODY=8BITMIME"] if envelope.eight_bit and "8BITMIME" in listed else []
        if envelope.utf8 and wide:
            params.append(b"SMTPUTF8")
        sender = envelope.sender.encode("utf-8", "surrogateescape")
        return Transaction(sender, wire_size(envelope.size, growth), tuple(arguments), b" ".join(params))

    def _rcpt_parameters(self, recipient: Recipient) -> str:
        if not self.host.settings.sends_flags:
            return ""
        listed, bare, flags, out = self._extensions, self._bare, recipient.flags, ""
        told = self._job is not None and self._job.lease.told
        if recipient.quota and not told and (bare or "XQUOTA" in listed):
            out = f" XQUOTA={recipient.quota}"
        if flags & OVER_QUOTA_FLAG and "IGNOREQUOTA" in listed:
            flags &= ~OVER_QUOTA_FLAG
            out += " IGNOREQUOTA"
        if bare or "XDFLG" in listed:
            out += f" XDFLG={flags}"
        if recipient.imap_flags and "XFLAGS" in listed:
            out += f" XFLAGS={recipient.imap_flags}"
        return out

    @staticmethod
    def _exact_growth(opened: OpenCopy) -> int:
        stuffer = Stuffer()
        return sum(len(stuffer.feed(part)) - len(part) for part in opened.parts())

    def _run(self) -> None:
        client = self._client
        while (event := client.next_event()) is not None:
            kind = type(event)
            if kind is RecipientResult:
                assert isinstance(event, RecipientResult)
                self._hear(event)
            elif kind is WantBody:
                self._send_body()
            elif kind is TransactionDone:
                self._conclude()
                self.host.finished(self)
            elif isinstance(event, Ready):
                self._extensions, self._bare, self._ready = frozenset(event.extensions), event.bare, True
                self._wait(IDLE_SECONDS)
                self.host.ready(self, self._where)
            elif isinstance(event, Greeting):
                self._banner = event.status.text
            elif isinstance(event, Refused):
                self.host.refused(self, self._tls_failure or event.status, self._where)
            elif isinstance(event, ProtocolError):
                self.host.shop.alarm(f"{self.host.connect_name}: protocol error: {event.text}")
                if not self._ready:  # no copy has been begun that could tell of it: the host is down
                    self.host.refused(self, Status(451, "4.5.0", f"protocol error: {event.text}"), self._where)
            elif isinstance(event, WantTls):
                self._handshake = self._loop.create_task(self._start_tls())
            elif isinstance(event, Bye):
                self.host.not_idle(self)
        self._flush()
        if client.closed and self._transport is not None:
            self.host.shop.round.send_all()
            self._transport.close()

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

    def _hear(self, event: RecipientResult) -> None:
        assert self._attempt is not None
        recipient, status = self._recipients[event.index], event.status
        if not event.final:
            self._lost.append((recipient, status))
        elif status.code == 500 and not status.enhanced and status.text.strip().lower() == "message too big":
            self._oversize.append(recipient)
        else:
            if status.code == 552 and not self._body_sent and status.enhanced != "5.3.4":
                status = Status(452, "4" + status.enhanced[1:] if status.enhanced else "", status.text)  # RFC 5321 4.5.3.1.10
            if status.enhanced == "5.1.1":
                self.host.shop.alarm(f"{self.host.connect_name} has no mailbox for {recipient.original}; its mail is sent there")
            self._attempt.result(recipient, status, after_data=self._body_sent)
            self._wait(self.host.settings.final_wait(len(self._recipients), 0))

    def _send_body(self) -> None:
        opened, transport = self._opened, self._transport
        assert opened is not None
        assert transport is not None
        self._body_sent = True
        if self._attempt is not None:
            self._attempt.body_sent = True
        if opened.envelope.size <= INLINE_LIMIT:
            self.host.shop.round.send(transport, on_wire(b"".join(opened.parts())))
            self._body_done()
            return
        self.host.shop.round.send_all()
        self._body, self._stuffer = opened.parts(), Stuffer()
        self._send_more()

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
                self._body = None
                self._body_done()
                return
            self._transport.write(self._stuffer.feed(part))

    def _body_done(self) -> None:
        assert self._opened is not None
        self._client.body_sent()
        self._wait(self.host.settings.final_wait(len(self._recipients), self._opened.envelope.size))
        if self._body is None and self._stuffer is not None:
            self._stuffer = None
            self._run()

    def _conclude(self) -> None:
        """The transaction is over: settle what is left of it."""
        job, attempt, opened = self._job, self._attempt, self._opened
        assert job is not None
        assert attempt is not None
        assert opened is not None
        self._job = self._attempt = self._opened = self._body = None
        untouched = len(self._recipients)
        stale = not self._body_sent and self.served > 0 and len(self._lost) == untouched and untouched > 0
        if stale and not job.stale and attempt.untouched:
            opened.close()
            self.host.again(job, stale=True)
        elif self._oversize and len(self._oversize) == untouched and not job.exact and attempt.untouched:
            opened.close()
            self.host.again(job, exact=True)
        else:
            for recipient, status in self._lost:
                attempt.result(recipient, status)
            self._settle_oversize(job, attempt)
            attempt.end()
        self.served += 1

    def _settle_oversize(self, job: "Waiting", attempt: Attempt) -> None:
        """Others of the copy have their result already: an immediate retry counts SIZE; after that it is final."""
        if self._oversize and not job.exact:
            attempt.verdict = Verdict.PARTLY
        for recipient in self._oversize:
            attempt.result(recipient, _TOO_BIG if job.exact else _COUNT_AGAIN)

    def rest(self) -> None:
        """Nothing to do: wait for the next copy, not for ever."""
        self._wait(IDLE_SECONDS)

    @property
    def worn_out(self) -> bool:
        """Whether it has lived or served long enough."""
        settings = self.host.settings
        limit = min(settings.transactions_per_session or settings.max_life_conns, settings.max_life_conns)
        return self.served >= limit or self._loop.time() - self._born >= settings.max_life_age

    def _wait(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds
