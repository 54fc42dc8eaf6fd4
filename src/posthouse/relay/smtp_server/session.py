"""One SMTP client: what its commands mean, and what they are answered (smtp-relay.md 1). MAIL and RCPT are in `envelope.py`.

Promise: 250 for a message is written, and its E records are, only after the journal's sync that covers it (DURABILITY 4.1).
Replies come in the order of the commands: nothing is obeyed while an answer is owed. What fails in here costs this
connection, never another.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from posthouse.dialogue.event import (
    BadCommand,
    BodyPart,
    DataStart,
    Event,
    Hello,
    Login,
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
from posthouse.dialogue.header import check_header
from posthouse.dispatcher.worker import Connection
from posthouse.mail.status import Status
from posthouse.relay.smtp_server import backward, data, guessing, line_ends, log, login, submission
from posthouse.relay.smtp_server.envelope import TOO_LARGE, EnvelopeSession
from posthouse.relay.smtp_server.received import helo_name
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.transaction import Transaction
from posthouse.trace.record import Action

if TYPE_CHECKING:
    import asyncio


class SmtpSession(EnvelopeSession):
    """The protocol object of one connection; its arguments are those of `EnvelopeSession`."""

    def __init__(self, relay: Relay, connection: Connection, channel: str, closed: Callable[[], None]) -> None:
        super().__init__(relay, connection, channel, closed)
        self._login: asyncio.Task[None] | None = None
        self._bad_logins = self._bad_commands = 0

    # --- the connection -----------------------------------------------------------------------------------------

    def begun(self) -> None:
        """Note who came."""
        self._idle = self.relay.loop.time()
        if self.secured:
            self.client = replace(self.client, tls=self._cipher())
        self.relay.note(log.connection(self, Action.OPENED))

    def begun_tls(self) -> None:
        """What the client said in clear is forgotten (RFC 3207 4.2)."""
        self._become(self.way_in.after_tls)
        self.client = replace(self.client, helo="", esmtp=False, tls=self._cipher(), user="", addresses=frozenset())
        self.source = f"[{self.connection.peer[0]}]"
        self.server.tls_started(self.way_in.secured)

    def _cipher(self) -> str:
        assert self.transport is not None
        cipher = self.transport.get_extra_info("cipher")
        return f"{cipher[1]}-{cipher[0]}" if cipher is not None else "TLS"

    def _become(self, channel: str) -> None:
        """Mail is accounted to this channel from now on, where there is one."""
        found = self.relay.sources.get(channel)
        if found is not None:
            self.way_in = found
            self.client = replace(self.client, channel=found.name)

    def lost(self) -> None:
        """Note that it is gone."""
        self.relay.note(log.connection(self, Action.CLOSED))

    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open."""
        return None if self._transaction is not None or self.server.in_transaction else self._idle

    # --- what the client says -----------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Obey one event of the dialogue."""
        match event:
            case Rcpt():
                self._rcpt(event)
            case Mail():
                self._mail(event)
            case DataStart():
                if self._transaction is not None:
                    self._transaction.message_id = self.relay.ids.next()
            case Message():
                self.relay.loop.call_soon(self._take, event)  # when all clients that said something are heard (decision 148)
            case BodyPart():
                self._part(event.data)
            case MessageEnd():
                self._message(None, event)
            case Hello():
                self._drop()
                self._hello(event)
            case Reset():
                self._drop()
            case Oversize():
                self._drop(refused=TOO_LARGE)
            case MessageRefused():
                self._drop(refused=event.reply)
            case BadCommand():
                self._bad_commands += 1
                if self._bad_commands <= self.relay.limits.bad_command_records:
                    self.relay.note(log.bad_command(self, event.line, event.reply))
                if self._bad_commands >= self.way_in.limits.last_bad_command:
                    self._disconnect("bad commands")
            case Quit():
                self.abrupt = True
            case StartTls():
                context = self.relay.tls()
                assert context is not None  # else it would not have been offered
                self.start_tls(context)
            case Login():
                self._login = self.relay.loop.create_task(self._log_in(event))

    def _hello(self, event: Hello) -> None:
        helo = helo_name(event.name)
        self.client = replace(self.client, helo=helo, esmtp=event.verb != "HELO")
        self.source = f"{helo} [{self.connection.peer[0]}]"

    # --- logins -------------------------------------------------------------------------------------------------

    async def _log_in(self, event: Login) -> None:
        outcome = await login.judge(self.relay, self.connection.peer[0], event, self._bad_logins)
        self._login = None
        self.relay.note(log.logged_in(self, outcome))  # whether or not the client is still there
        self.go_on(self._logged_in, outcome)

    def _logged_in(self, outcome: login.Outcome) -> None:
        if outcome.user:
            self.client = replace(self.client, user=outcome.user, addresses=outcome.addresses)
            self._become(self.way_in.after_login)
        self.server.answer_login(outcome.status)
        if outcome.status.is_permanent:
            self._bad_logins += 1
            if self._bad_logins >= self.way_in.bad_logins:
                self.abrupt = True
                self.server.shed(guessing.LAST_ONE)

    # --- the message --------------------------------------------------------------------------------------------

    def _part(self, octets: bytes) -> None:
        transaction = self._transaction
        if transaction is None:
            return
        self.hold(len(transaction.start))
        if transaction.failed is not None:
            return
        if self.way_in.bare is not None:
            octets = line_ends.good_part(self.way_in.bare, transaction, octets)
        if transaction.body_file is None:
            if transaction.early:
                transaction.early.append(octets)
                self._wait_for_directory(transaction)
                return
            if self.way_in.submits or transaction.sender_field:
                octets = submission.begin(self, transaction, octets)
            if transaction.rules.reversal is not None and backward.is_wanted(transaction):
                transaction.early = [octets]
                header = octets[: check_header(octets)[1]]
                self._ask_about_header(transaction, header, lambda found: self._begin_body(transaction, found))
                self._wait_for_directory(transaction)
                return
        self._keep(transaction, octets)

    def _wait_for_directory(self, transaction: Transaction) -> None:
        """It is being asked about the header: no more of the body is read before it has answered."""
        if transaction.early:
            self.hold(sum(map(len, transaction.early)))
            self.stall()

    def _ask_about_header(self, transaction: Transaction, header: bytes, then: Callable[[Sequence[backward.Edit]], None]) -> None:
        """Have `then` called with what is to change in the header."""
        clock, ends = self.relay.loop.time, self.relay.loop.time() + backward.SECONDS
        questions = backward.edits(transaction.rules, header, transaction.reversed, lambda: clock() > ends, utf8=transaction.utf8)
        self._ask(questions, lambda found: then(found or ()))

    def _begin_body(self, transaction: Transaction, found: Sequence[backward.Edit]) -> None:
        """The directory has answered: on with the body, which may be at its end already."""
        (first, *others), transaction.early = transaction.early, []
        if self._stalled:
            self.unstall()
        octets = backward.apply(found, first)
        transaction.removed += len(first) - len(octets)
        for part in (octets, *others):
            self._keep(transaction, part)
        if transaction.end is not None:
            self._message(None, transaction.end)

    def _keep(self, transaction: Transaction, octets: bytes) -> None:
        """Write a block to the transaction's body file."""
        if transaction.failed is not None:
            return
        try:
            if transaction.body_file is None:
                transaction.start = octets
                transaction.received = data.received(self.relay, self, transaction)
                transaction.body_file = self.relay.new_body_file(transaction.message_id)
                transaction.body_file.write(transaction.received)
            transaction.body_file.write(octets)
            if transaction.rules.line_limits:
                transaction.lines += octets.count(b"\n")
            transaction.rest = (transaction.rest + octets[-2:])[-2:]
            transaction.eight_bit = transaction.eight_bit or not octets.isascii()
        except OSError as error:
            transaction.abandon()
            transaction.failed = error

    def _take(self, event: Message) -> None:
        """A whole message: its transaction is still there unless the connection ended meanwhile."""
        if self._transaction is None:
            return
        try:
            self._message(event.data, event)
        except Exception:
            self._fail()
        if not self.server.awaiting:
            self.pump()

    def _message(self, whole: bytes | None, event: Message | MessageEnd) -> None:
        transaction = self._transaction
        assert transaction is not None
        if transaction.early and isinstance(event, MessageEnd):
            transaction.end = event
            return
        if self.way_in.bare is not None:
            event = line_ends.good(self.way_in.bare, transaction, event)
            whole = event.data if isinstance(event, Message) else None
        if self.way_in.submits or transaction.sender_field or transaction.removed:
            event = submission.mended(self, transaction, event)
            whole = event.data if isinstance(event, Message) else None
        if transaction.rules.reversal is not None and isinstance(event, Message) and backward.is_wanted(transaction):
            self._reverse_whole(transaction, event)
        else:
            self._accept(transaction, whole, event)

    def _reverse_whole(self, transaction: Transaction, event: Message) -> None:
        def reverse(found: Sequence[backward.Edit]) -> None:
            mended = backward.edited(found, event)
            transaction.removed += len(event.data) - len(mended.data)
            self._accept(transaction, mended.data, mended)

        self._ask_about_header(transaction, event.data[: event.header_end], reverse)

    def _accept(self, transaction: Transaction, whole: bytes | None, event: Message | MessageEnd) -> None:
        taken = data.accept(self.relay, self, transaction, whole, event)
        if isinstance(taken, Status):
            self._drop(refused=taken, message_id=data.message_id_of(transaction, event))
            self.server.answer_data([taken])
            return

        def done(error: OSError | None) -> None:
            self._answered(transaction, taken, error)

        if whole is not None:
            self.hold(len(whole))
        self._transaction = None
        self.relay.gather.coming -= 1
        self.relay.enqueue(taken.envelope, taken.parts, transaction.body_file, done)

    def _answered(self, transaction: Transaction, taken: data.Taken, error: OSError | None) -> None:
        """The journal has spoken: durable, or refused by the disk."""
        reply = data.reply(taken.envelope, error)
        if error is None:
            self._accepted += 1
            self.relay.note(*log.enqueued(self, taken.envelope, taken.doubles))
        else:
            self.relay.troubles.refused(error, reply)
            self.relay.report(f"message {taken.envelope.id} was not accepted: {error}")
            self._note_refusal(*log.refused(self, transaction, reply, taken.envelope.message_id))
        self._end_transaction()
        self.go_on(self._answer_message, reply)

    def _answer_message(self, reply: Status) -> None:
        self.server.answer_data([reply])
        if self._accepted >= self.way_in.limits.last_message:
            self._disconnect("messages")
