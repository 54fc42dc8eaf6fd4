"""One kept SMTP session with a next system: takes copies from its host and settles recipients by the replies that are theirs.

* A copy with more recipients than a transaction may have goes in several transactions on the connection, one after the other.
  Recipients put off with 452 while others were taken are in the next of them (RFC 5321 4.5.3.1.10).
* 552 to RCPT means too many recipients and is taken as 452; after the body it is final (RFC 5321 4.5.3.1.9).
* What the server does not take is converted or refused unsent (`next_system`); before that it is looked through in a thread.
* NOTIFY=SUCCESS at a server without DSN: the sender is told by us that the message was relayed (RFC 3461 5.2.2).
* A kept connection found closed before the body was sent has cost nothing: the copy goes over another one.
"""

from collections import deque
from typing import TYPE_CHECKING

from posthouse.dialogue.client_event import RecipientResult, TransactionDone, WantBody
from posthouse.dialogue.stuffing import Stuffer, on_wire, wire_size
from posthouse.dialogue.transaction import ClientPhase, Transaction
from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.host_finder import is_routed
from posthouse.relay.channels.next_system import NEEDS_UTF8
from posthouse.relay.channels.seven_bit import Survey, survey
from posthouse.relay.channels.smtp_connection import SmtpConnection
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.open_copy import OpenCopy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from posthouse.dialogue.smtp_client import Opening
    from posthouse.mail.envelope import Recipient
    from posthouse.relay.channels.lmtp_host import Waiting
    from posthouse.relay.channels.smtp_host import Hop, SmtpHost

TRANSACTION_SECONDS = 3600.0
_CUT_OFF = Status(451, "4.4.2", "connection lost before this recipient's turn")


class SmtpSession(SmtpConnection):
    """A session of one host."""

    def __init__(self, host: "SmtpHost", hop: "Hop", opening: "Opening") -> None:
        super().__init__(host, hop, opening)
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
        self._found: Survey | None = None

    # what the host asks of it

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return self._job is not None

    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""
        opened = self.host.open(job)
        if opened is None:
            return False
        self._opened, self._job, self._body_sent, self._taken = opened, job, False, 0
        self._lost, self._put_off, self._sent = [], [], []
        self._attempt = Attempt(self.host.shop, job.lease, opened)
        self._attempt.reached(self.hop.host, self.where, self._banner, self._modifiers())
        self._attempt.success = None if self._system.notifies else Kind.RELAYED
        self._until = self._loop.time() + TRANSACTION_SECONDS
        self._found = None
        if self._system.needs_survey(opened.envelope):
            self._wait(TRANSACTION_SECONDS)
            looking = self._loop.run_in_executor(None, survey, opened.parts())
            looking.add_done_callback(self._looked_through)
            return True
        if not self._start():
            self._conclude()
            return False
        self._flush()
        return True

    def _looked_through(self, done: "asyncio.Future[Survey]") -> None:
        """What the message has outside ASCII is known; meanwhile the connection may have gone."""
        job, attempt, opened = self._job, self._attempt, self._opened
        assert job is not None
        assert attempt is not None
        assert opened is not None
        error = done.exception()
        if error is None:
            self._found = done.result()
        else:
            self.host.shop.alarm(f"a message cannot be converted: {error!r}")
            self._lost = [(recipient, Status(451, "4.3.0", "cannot be converted")) for recipient in opened.recipients]
        if error is None and self._client.phase is ClientPhase.IDLE and self._start():
            self._flush()
            return
        if self._client.phase is not ClientPhase.IDLE and not job.stale and attempt.untouched:
            self._job = self._attempt = self._opened = None
            opened.close()
            self.host.again(job, stale=True)
        else:
            self._conclude()
        self.host.finished(self)

    def _start(self) -> bool:
        """The first transaction of the copy; False: there is nobody to send it to."""
        assert self._opened is not None
        assert self._attempt is not None
        self._waiting = deque(self._sendable(self._opened, self._attempt))
        return self._begin()

    # transactions

    def _sendable(self, opened: OpenCopy, attempt: Attempt) -> "Iterator[Recipient]":
        """The recipients this server can be told of; the others have their result."""
        refusal = self._system.refusal(opened.envelope, self._found)
        for recipient in opened.recipients:
            if refusal is not None:
                attempt.refuse(recipient, refusal)
            elif not self._system.wide and not self.host.wires.of(recipient.address).isascii():
                attempt.refuse(recipient, NEEDS_UTF8)
            else:
                yield recipient

    def _begin(self) -> bool:
        """The next transaction of the copy, if there are recipients left that can be sent."""
        opened, attempt = self._opened, self._attempt
        assert opened is not None
        assert attempt is not None
        envelope, system = opened.envelope, self._system
        while self._waiting:
            most = min(system.most_recipients, len(self._waiting))
            self._sent = [self._waiting.popleft() for _ in range(most)]
            arguments = tuple(system.rcpt_argument(self.host.wires.of(each.address), each) for each in self._sent)
            sender = envelope.sender.encode("utf-8", "surrogateescape")
            size = wire_size(envelope.size, envelope.wire_growth) if self._found is None else -1
            try:
                self._client.begin(Transaction(sender, size, arguments, system.mail_parameters(envelope, arguments)))
            except ValueError as error:  # an operator's edit of the queue file: it must neither bounce nor stop the others
                for recipient in self._sent:
                    attempt.refuse(recipient, Status(451, "4.1.3", f"cannot be sent: {error}"))
                continue
            self._taken, self._put_off = 0, []
            return True
        self._sent = []
        return False

    # replies

    def _go_on(self, event: RecipientResult | WantBody | TransactionDone) -> None:
        if isinstance(event, RecipientResult):
            self._hear(event)
        elif isinstance(event, WantBody):
            self._send_body()
        else:
            self._transaction_done()

    def _hear(self, event: RecipientResult) -> None:
        assert self._attempt is not None
        recipient, status = self._sent[event.index], event.status
        if not event.final:
            self._lost.append((recipient, status))
            return
        if not self._body_sent and (self.host.smtp.fixed or is_routed(recipient.address)):
            status = self.host.without_own_fault(status)
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
            going_out.send(self._transport, on_wire(b"".join(self._system.body(self._opened.parts(), self._found))))
            self._body_done()
            return
        going_out.send_all()
        self._body, self._stuffer = self._system.body(self._opened.parts(), self._found), Stuffer()
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
