"""MAIL and RCPT as one connection hears them: who decides, who is asked, what is answered (smtp-relay.md 1).

`mail.py` and `rcpt.py` decide; here decisions wait, while the worker serves others: for the directory, the DNS, a delay that an
access table wants. A decision that fails is 451. The answer to a connection that is gone is dropped.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

from posthouse.dialogue.event import Mail, Rcpt
from posthouse.dispatcher.worker import Connection
from posthouse.mail.status import Status
from posthouse.relay.directory.drive import Finished, advance
from posthouse.relay.directory.question import Answer, NeedEntry, Question, Unknown
from posthouse.relay.routing.access import Verdict
from posthouse.relay.routing.result import Accepted, Rejected, Routed
from posthouse.relay.routing.reversal import reversed_sender
from posthouse.relay.routing.usual import Usual, usual_recipient, usual_result
from posthouse.relay.smtp_server import log, mail, rcpt
from posthouse.relay.smtp_server.line import Line
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.sender_domain import SenderDomains
from posthouse.relay.smtp_server.transaction import Transaction
from posthouse.trace.record import Record

if TYPE_CHECKING:
    import asyncio

R = TypeVar("R")
TOO_LARGE = Status(552, "5.3.4", "message size exceeds the limit")
_LONGEST_DELAY = 60.0
_FAULT = Status(451, "4.3.0", "internal error; try again later")
_NOT_BUILT = Status(450, "4.3.5", "FROM_ACCESS asks for the missing channel bitbucket")
_TOO_MANY = Status(452, "4.5.3", "Too many messages in one connection")


class EnvelopeSession(Line):
    """A connection up to the transaction: who speaks, from whom, to whom.

    Args:
        relay: what all sessions of this worker share.
        connection: the hand-off's facts.
        channel: the source channel of what comes in here.
        closed: to be called once the connection is gone.
    """

    relay: Relay

    def __init__(self, relay: Relay, connection: Connection, channel: str, closed: Callable[[], None]) -> None:
        self.way_in = way_in = relay.way_in(channel, connection.peer[0], secured=connection.tls)
        """the source channel, as it is now"""
        super().__init__(relay, connection, closed, way_in.secured if connection.tls else way_in.policy)
        self.client = mail.Client(way_in.name, connection.port_probe, "", esmtp=False)
        """who speaks, as far as it said"""
        self.source = f"[{connection.peer[0]}]"
        """the client's name for itself and its address"""
        local, peer = connection.local, connection.peer
        self.transport_name = f"TCP|{local[0]}|{local[1]}|{peer[0]}|{peer[1]}"
        self._transaction: Transaction | None = None
        self._asking: object = None
        """the question the directory has been asked, while a decision waits for it"""
        self._verifying: asyncio.Task[None] | None = None
        self._accepted = self._rejected = self._refusals = self._refused = self._offered = 0
        self._idle = 0.0

    # --- MAIL ----------------------------------------------------------------------------------------------------

    def _mail(self, event: Mail) -> None:
        relay = self.relay
        begun = mail.begin(event, relay.rules)
        limits = self.way_in.limits
        if limits.transactions and self._accepted >= limits.transactions:
            self.server.answer(_TOO_MANY)
        elif isinstance(begun, Status):
            self.server.answer(begun)
        elif self.way_in.domains is not None and begun.sender:
            self._verifying = relay.loop.create_task(self._verify(self.way_in.domains, begun))
        else:
            self._ask_about_sender(begun)

    async def _verify(self, domains: SenderDomains, begun: Transaction) -> None:
        try:
            status = await domains.refusal(begun.sender)
        except Exception:
            self.relay.report("a sender's domain could not be judged")
            status = _FAULT
        self._verifying = None
        self.go_on(self._verified, begun, status)

    def _verified(self, begun: Transaction, status: Status | None) -> None:
        if status is None:
            self._ask_about_sender(begun)
            return
        self._note_refusal(log.rejected(self, begun, "", status, "mailfromdnsverify"))
        self.server.answer(status)

    def _ask_about_sender(self, begun: Transaction) -> None:
        relay, rules = self.relay, begun.rules
        if rules.reversal is not None and rules.reversal.envelope and begun.sender and not begun.reversed:
            self._ask(reversed_sender(rules, begun.sender, utf8=begun.utf8), lambda sender: self._reverse(begun, sender))
        elif mail.is_checked(rules):
            self._ask(mail.asking(self.client, begun, relay.now()), lambda verdict: self._judge(begun, verdict))
        else:
            self._begin(begun)

    def _reverse(self, begun: Transaction, sender: str | None) -> None:
        given, begun.sender = begun.sender, sender or begun.sender
        begun.reversed = {given: begun.sender}
        begun.given_sender = given if given != begun.sender else ""
        self._ask_about_sender(begun)

    def _judge(self, begun: Transaction, verdict: Verdict | None) -> None:
        if verdict is not None and verdict.delay > 0:
            self.relay.loop.call_later(min(verdict.delay, _LONGEST_DELAY), self.go_on, self._decide_sender, begun, verdict)
        else:
            self._decide_sender(begun, verdict)

    def _decide_sender(self, begun: Transaction, verdict: Verdict | None) -> None:
        status = _FAULT if verdict is None else verdict.rejected
        if verdict is not None and verdict.bitbucket and "bitbucket" not in begun.rules.imta.channels:
            status = _NOT_BUILT
        if status is not None:
            self._note_refusal(log.rejected(self, begun, "", status, verdict.log if verdict is not None else ""))
            self.server.answer(status)
            return
        assert verdict is not None
        begun.hold, begun.bitbucket = verdict.hold, verdict.bitbucket
        if verdict.sender is not None:
            begun.sender, begun.given_sender = verdict.sender, ""
        rcpt.add_lines(begun, verdict.header.splitlines())
        self._note_access(verdict.log)
        begun.sender_field, begun.largest = verdict.header_sender, verdict.size
        if begun.largest and begun.size is not None and begun.size > begun.largest:
            self._note_refusal(log.rejected(self, begun, "", TOO_LARGE, verdict.log))
            self.server.answer(TOO_LARGE)
            return
        self._begin(begun)

    def _begin(self, begun: Transaction) -> None:
        self._transaction = begun
        self.relay.gather.coming += 1
        self.transaction_ends = self.relay.loop.time() + self.relay.limits.transaction_seconds
        self.server.accept()

    # --- RCPT ----------------------------------------------------------------------------------------------------

    def _rcpt(self, event: Rcpt) -> None:
        transaction, relay = self._transaction, self.relay
        assert transaction is not None
        recipient = rcpt.recipient_of(event)
        if isinstance(recipient, Status):
            self._refuse(event.recipient.decode("utf-8", "replace"), recipient, "not UTF-8")
            return
        transaction.wishes = event.params
        self._offered += 1
        early = rcpt.early_refusal(transaction, self._rejected, self.way_in.limits)
        if early is not None:
            self._refuse(recipient, early, "limit")
            return
        usual = usual_recipient(transaction.rules, self.client.channel, transaction.sender, recipient, relay.directory.cached)
        if usual is None:
            self._go_all_the_way(recipient)
            return
        answer = relay.directory.cached(usual.question)
        if answer is not None:
            self._decide_usual(recipient, usual, answer)
        else:
            self._ask_directory(usual.question, lambda answer: self.go_on(self._decide_usual, recipient, usual, answer))

    def _decide_usual(self, recipient: str, usual: Usual, answer: Answer) -> None:
        """The short way, as far as it goes."""
        transaction = self._transaction
        assert transaction is not None
        routed = usual_result(transaction.rules, usual, transaction.size, answer, self.relay.directory.cached)
        if routed is not None:
            self._decide(recipient, routed)
        else:
            self._go_all_the_way(recipient, (usual.question, answer))

    def _go_all_the_way(self, recipient: str, answered: tuple[NeedEntry, Answer] | None = None) -> None:
        transaction, relay = self._transaction, self.relay
        assert transaction is not None
        questions = rcpt.asking(self.client, transaction, recipient, relay.now(), relay.unique(), answered)
        self._ask(questions, lambda routed: self._route(recipient, routed or Rejected(_FAULT, "routing failed")))

    def _route(self, recipient: str, routed: Routed) -> None:
        """Answer, after the delay an access table wants (`$D`); the client waits, the worker does not."""
        if routed.delay > 0:
            self.relay.loop.call_later(min(routed.delay, _LONGEST_DELAY), self.go_on, self._decide, recipient, routed)
        else:
            self._decide(recipient, routed)

    def _decide(self, recipient: str, routed: Routed) -> None:
        assert self._transaction is not None
        status = rcpt.verdict(routed, recipient, self._transaction)
        if isinstance(routed, Accepted) and routed.noted is not None:
            self._note_access(*routed.noted.log)
        if status.is_success:
            self.server.answer(status)
            if self._offered >= self.way_in.limits.last_recipient:
                self._disconnect("recipients")
            return
        self._rejected += status.is_permanent
        self._refuse(recipient, status, routed.reason if isinstance(routed, Rejected) else "")

    def _refuse(self, recipient: str, status: Status, reason: str) -> None:
        self._note_refusal(log.rejected(self, self._transaction, recipient, status, reason))
        self.server.answer(status)
        self._refused += 1
        limits = self.way_in.limits
        if self._refused >= limits.last_rejection or self._offered >= limits.last_recipient:
            self._disconnect("recipients")

    # --- decisions that ask the directory -----------------------------------------------------------------------

    def _ask(self, questions: Generator[Question, Answer, R], then: Callable[[R | None], None]) -> None:
        """Run a decision: at once when the cache has every answer, else as the directory answers. None: it failed."""
        finished = self._decided(questions, then, None)
        if finished is not None:
            then(finished.value)

    def _decided(
        self, questions: Generator[Question, Answer, R], then: Callable[[R | None], None], answer: Answer | None
    ) -> Finished[R | None] | None:
        """Run it as far as it goes; None: the directory is asked, and `go_on` tells `then` what comes of it."""
        try:
            step = advance(questions, self.relay.directory, answer)
        except Exception:
            self.relay.report("a decision failed")
            return Finished(None)
        if isinstance(step, Finished):
            return Finished(step.value)

        def heard(answer: Answer) -> None:
            finished = self._decided(questions, then, answer)
            if finished is not None:
                self.go_on(then, finished.value)

        self._ask_directory(step, heard)
        return None

    def _ask_directory(self, question: Question, heard: Callable[[Answer], None]) -> None:
        """The cache has no answer. A reload may close the directory meanwhile: then the new one is asked."""
        directory, asked = self.relay.directory, object()

        def answered(answer: Answer) -> None:
            if self._asking is not asked:  # the client is gone
                return
            self._asking = None
            if isinstance(answer, Unknown) and self.relay.directory is not directory:
                self._ask_directory(question, heard)
                return
            heard(answer)

        self._asking = asked
        directory.ask(question, answered)

    # --- how a transaction ends ----------------------------------------------------------------------------------

    def over(self) -> None:
        """Forget the transaction; a message whose answer is owed stays accepted once it is durable."""
        self._asking = None
        self._drop(aborted=True)

    def _note_access(self, *texts: str) -> None:
        """Log texts of access tables that let something pass (`$<`); what a client has typed stays on one line."""
        for text in filter(None, texts):
            self.relay.process_log.info("access table: %s", "".join(c if c.isprintable() else "?" for c in text))

    def _disconnect(self, what: str) -> None:
        """The client has used up what the channel lets it have: behind the reply that is due comes the last one."""
        self._drop(aborted=True)
        self.server.hang_up(Status(421, "4.7.0", f"Too many {what} in one connection"))

    def _note_refusal(self, *records: Record) -> None:
        room = self.relay.limits.rejection_records - self._refusals
        self._refusals += len(records)
        if room > 0:
            self.relay.note(*records[:room])

    def _drop(self, *, aborted: bool = False, refused: Status | None = None, message_id: str = "") -> None:
        """The transaction ends without a message: forgotten, aborted by the client, or refused with this reply."""
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        self.relay.gather.coming -= 1
        if transaction.early:  # the directory is being asked about its header
            self._asking, transaction.early = None, []
            self.unstall()
        transaction.abandon()
        self._end_transaction()
        if refused is not None:
            self._note_refusal(*log.refused(self, transaction, refused, message_id))
        elif aborted and transaction.recipients:
            self.relay.note(*log.aborted(self, transaction))

    def _end_transaction(self) -> None:
        self._idle = self.relay.loop.time()
        self.transaction_ends = float("inf")
        self.hold(0)
