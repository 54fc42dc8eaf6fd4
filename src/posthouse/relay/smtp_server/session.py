"""One SMTP connection: socket octets into the dialogue, its events to the decisions, its output back.

Promise: 250 for a message is written only after the journal's sync that covers it (DURABILITY 4.1); while an answer is owed
nothing more is read than one buffer; a client that is silent or too slow is closed with 421 at its deadline.
"""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeVar, cast

from posthouse.dialogue.event import (
    BadCommand,
    BodyPart,
    DataStart,
    Event,
    Hello,
    Mail,
    Message,
    MessageEnd,
    MessageRefused,
    Oversize,
    Rcpt,
    Reset,
)
from posthouse.dialogue.server import Phase, Server
from posthouse.dispatcher.worker import Connection
from posthouse.mail.envelope import Envelope
from posthouse.mail.status import Status
from posthouse.relay.directory.drive import Finished, advance
from posthouse.relay.directory.question import Answer, Question
from posthouse.relay.routing.access import Verdict
from posthouse.relay.routing.result import Rejected, Routed
from posthouse.relay.smtp_server import data, log, mail, rcpt
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.transaction import Transaction
from posthouse.trace.record import Action

R = TypeVar("R")
_READ_AHEAD = 65536
_LONGEST_DELAY = 60.0
_BUFFER = bytearray(65536)
_VIEW = memoryview(_BUFFER)
_SILENT = Status(421, "4.4.2", "connection timed out")
_DRAINING = Status(421, "4.3.2", "service is shutting down or busy; try again")
_FAULT = Status(451, "4.3.0", "internal error; try again later")


class SmtpSession(asyncio.BufferedProtocol):
    """The protocol object of one connection.

    Args:
        relay: what all sessions of this worker share.
        connection: the hand-off's facts.
        channel: the source channel of what comes in here.
        closed: to be called once the connection is gone.
    """

    def __init__(self, relay: Relay, connection: Connection, channel: str, closed: Callable[[], None]) -> None:
        self.relay = relay
        self.connection = connection
        self._closed = closed
        self._server = Server(relay.policy)
        self._transport: asyncio.Transport | None = None
        self._transaction: Transaction | None = None
        self._client = mail.Client(channel, connection.port_probe, "", esmtp=False)
        self._asking: asyncio.Task[None] | None = None
        self._paused = False
        self._ahead = 0
        self._accepted = self._rejected = self._bad_commands = 0
        self.deadline = 0.0
        self._idle = 0.0

    # --- the connection -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self.relay.sessions.add(self)
        self._idle = self.relay.loop.time()
        self.relay.note(log.connection(self, Action.OPENED))
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- the loop's signature
        """One buffer for all sessions: it is emptied before the next read."""
        return _VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """Octets came; while an answer is owed they wait, and beyond one buffer the socket does."""
        self._server.feed(_VIEW[:nbytes])
        if not self._server.awaiting:
            self._pump()
            return
        self._ahead += nbytes
        if self._ahead > _READ_AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client has closed its side: nothing it would hear remains."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the loop's signature
        """Forget the transaction; a message whose answer is owed stays accepted once it is durable."""
        self.relay.sessions.discard(self)
        self._transport = None
        if self._asking is not None:
            self._asking.cancel()
        self._drop(aborted=True)
        self.relay.note(log.connection(self, Action.CLOSED))
        self._closed()

    # --- what the worker asks -----------------------------------------------------------------------------------

    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open."""
        return None if self._transaction is not None or self._server.in_transaction else self._idle

    def shed(self) -> None:
        """421 at the next quiet point."""
        self._server.shed(_DRAINING)
        self._pump()

    def expire(self) -> None:
        """The deadline has passed: 421 now, whatever is open."""
        if self._transport is not None and not self._server.awaiting:
            self._server.hang_up(_SILENT)
            self._pump()

    # --- the dialogue -------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle all events the input allows, write what is to be said, set the next deadline."""
        transport, server = self._transport, self._server
        if transport is None:
            return
        try:
            while (event := server.next_event()) is not None:
                self._handle(event)
        except Exception:
            self.relay.report("session failed")
            transport.write(f"421 {_FAULT.enhanced} {_FAULT.text}\r\n".encode())
            transport.close()
            return
        if out := server.to_send():
            transport.write(out)
        if server.closing:
            transport.close()
            return
        limits = self.relay.limits
        seconds = limits.data_seconds if server.phase is Phase.BODY else limits.command_seconds
        self.deadline = self.relay.loop.time() + seconds
        if not server.awaiting:
            self._ahead = 0
            if self._paused:
                self._paused = False
                transport.resume_reading()

    def _handle(self, event: Event) -> None:
        match event:
            case Rcpt():
                self._rcpt(event)
            case Mail():
                self._mail(event)
            case DataStart():
                if self._transaction is not None:
                    self._transaction.message_id = self.relay.ids.next()
            case Message():
                self._message(event.data, event)
            case BodyPart():
                self._part(event.data)
            case MessageEnd():
                self._message(None, event)
            case Hello():
                self._drop()
                helo = event.name.decode("ascii", "replace")
                self._client = mail.Client(self._client.channel, self._client.port_probe, helo, esmtp=event.verb != "HELO")
            case Reset() | Oversize() | MessageRefused():
                self._drop(aborted=not isinstance(event, Reset))
            case BadCommand():
                self._bad_commands += 1
                if self._bad_commands <= self.relay.limits.bad_command_records:
                    self.relay.note(log.bad_command(self, event.line, event.reply))
            case _:
                pass

    def _mail(self, event: Mail) -> None:
        limit = self.relay.limits.transactions
        if limit and self._accepted >= limit:
            self._server.answer(Status(452, "4.5.3", "Too many messages in one connection"))
            return
        begun = mail.begin(event)
        if isinstance(begun, Status):
            self._server.answer(begun)
            return
        relay = self.relay
        if not mail.is_checked(relay.rules):
            self._transaction = begun
            self._server.accept()
            return
        self._ask(mail.asking(relay.rules, self._client, begun, relay.now()), lambda verdict: self._begin(begun, verdict))

    def _begin(self, begun: Transaction, verdict: Verdict | None) -> None:
        if verdict is None or verdict.rejected is not None:
            self._server.answer(_FAULT if verdict is None or verdict.rejected is None else verdict.rejected)
            return
        begun.hold = verdict.hold
        self._transaction = begun
        self._server.accept()

    def _rcpt(self, event: Rcpt) -> None:
        transaction = self._transaction
        assert transaction is not None
        early = rcpt.early_refusal(event, transaction, self._rejected, self.relay.limits)
        if early is not None:
            self._refuse(event.recipient.decode("utf-8", "replace"), early, "limit")
            return
        recipient = event.recipient.decode()
        relay = self.relay
        questions = rcpt.asking(relay.rules, self._client, transaction, recipient, relay.now(), relay.unique())
        self._ask(questions, lambda routed: self._decide(recipient, routed or Rejected(_FAULT, "routing failed")))

    def _ask(self, questions: Generator[Question, Answer, R], then: Callable[[R | None], None]) -> None:
        """Run a decision: at once when the cache has every answer, else in a task. None: it failed."""
        try:
            step = advance(questions, self.relay.directory)
        except Exception:
            self.relay.report("a decision failed")
            then(None)
            return
        if isinstance(step, Finished):
            then(step.value)
        else:
            self._asking = self.relay.loop.create_task(self._ask_slowly(questions, step, then))

    async def _ask_slowly(
        self, questions: Generator[Question, Answer, R], step: Finished[R] | Question, then: Callable[[R | None], None]
    ) -> None:
        """The cache has no answer."""
        directory = self.relay.directory
        value: R | None = None
        try:
            while not isinstance(step, Finished):
                step = advance(questions, directory, await directory.answer(step))
            value = step.value
        except Exception:
            self.relay.report("a decision failed")
        self._asking = None
        then(value)
        self._pump()

    def _decide(self, recipient: str, routed: Routed) -> None:
        """Answer, after the delay an access table wants (`$D`); the client waits, the worker does not."""
        if routed.delay > 0:
            self.relay.loop.call_later(
                min(routed.delay, _LONGEST_DELAY), self._decide_late, recipient, replace(routed, delay=0.0)
            )
            return
        assert self._transaction is not None
        status = rcpt.verdict(routed, recipient, self._transaction)
        if status.is_success:
            self._server.answer(status)
        else:
            self._refuse(recipient, status, routed.reason if isinstance(routed, Rejected) else "")

    def _decide_late(self, recipient: str, routed: Routed) -> None:
        if self._transport is not None:
            self._decide(recipient, routed)
            self._pump()

    def _refuse(self, recipient: str, status: Status, reason: str) -> None:
        self._rejected += 1
        if self._rejected <= self.relay.limits.rejection_records:
            self.relay.note(log.rejected(self, self._transaction, recipient, status, reason))
        self._server.answer(status)

    def _part(self, octets: bytes) -> None:
        transaction = self._transaction
        if transaction is None or transaction.failed is not None:
            return
        try:
            if transaction.body_file is None:
                transaction.start = octets
                transaction.received = data.received(self.relay, self, transaction)
                transaction.body_file = self.relay.new_body_file(transaction.message_id)
                transaction.body_file.write(transaction.received)
            transaction.body_file.write(octets)
            transaction.rest = (transaction.rest + octets[-2:])[-2:]
        except OSError as error:
            transaction.abandon()
            transaction.failed = error

    def _message(self, whole: bytes | None, event: Message | MessageEnd) -> None:
        transaction = self._transaction
        assert transaction is not None
        self._transaction = None
        self._idle = self.relay.loop.time()
        accepted = data.accept(self.relay, self, transaction, whole, event)
        if isinstance(accepted, Status):
            transaction.abandon()
            self._server.answer_data([accepted])
            return
        envelope, parts = accepted

        def done(error: OSError | None) -> None:
            self._answered(envelope, error)

        self.relay.enqueue(envelope, parts, transaction.body_file, done)

    def _answered(self, envelope: Envelope, error: OSError | None) -> None:
        """The journal has spoken: durable, or refused by the disk."""
        if error is None:
            self._accepted += 1
            self._rejected = 0
            self.relay.note(*log.enqueued(self, envelope))
        if self._transport is not None:
            self._server.answer_data([data.reply(envelope, error)])
            self._pump()

    def _drop(self, *, aborted: bool = False) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        transaction.abandon()
        self._idle = self.relay.loop.time()
        if aborted and transaction.recipients:
            self.relay.note(*log.aborted(self, transaction))

    # --- facts for the log --------------------------------------------------------------------------------------

    @property
    def client(self) -> mail.Client:
        """Who speaks, as far as it said."""
        return self._client
