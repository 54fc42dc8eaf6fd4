"""What the clients' sides of LMTP and SMTP have in common: one connection, one transaction after the other.

    client.feed(octets); client.eof()
    while (event := client.next_event()) is not None: ...     # Ready: begin() or quit(); WantBody: write it, body_sent()
    transport.write(client.to_send()); if client.closed: transport.close()

Guarantee: a recipient is settled (`RecipientResult.final`) only by a reply that is its own: to its RCPT, the one in its place
after the body, or one that was for all. Wherever the replies break off, exactly the others are unsettled.

MAIL, the RCPTs and DATA go in one write where PIPELINING is listed, else one by one. A transaction that ended before its body
leaves a RSET to be sent ahead of the next. 421 at any time: the server leaves, the rest is unsettled; 221 after the body is the
same, and nobody's success. Protocol errors: no reply line, more replies than asked for, 354 missing, a code no server may use
there, a success that came before the message's end (what came together with the 354 did): the server cannot have the message;
and a reply that was there before its command was sent, a second greeting too: each later one would be taken for its neighbour's.
Limits: those of `reply.py`.

The next transaction begins when the last reply of the one before is heard, though RFC 2920 3.1 lets it begin behind the body: a
server that forgets its reply to a body would be believed by what it says to the next MAIL.
"""

from abc import ABC, abstractmethod
from collections import deque

from posthouse.dialogue.client_event import (
    Bye,
    ClientEvent,
    ProtocolError,
    Ready,
    RecipientResult,
    Refused,
    TransactionDone,
    WantBody,
)
from posthouse.dialogue.reply import MalformedReplyError, ReplyReader
from posthouse.dialogue.transaction import ClientPhase, Step, Transaction
from posthouse.mail.status import Status

CUT_OFF = Status(451, "4.4.2", "connection closed before the reply")
TIMED_OUT = Status(451, "4.4.2", "timed out waiting for the reply")
_BROKEN = Status(451, "4.5.0", "the server broke the protocol")

# looked up once: a member of an enum costs a tenth of a microsecond each time
_IDLE = ClientPhase.IDLE
_ENVELOPE = ClientPhase.ENVELOPE
_BODY = ClientPhase.BODY
_FINAL = ClientPhase.FINAL
_LEAVING = ClientPhase.LEAVING
_CLOSED = ClientPhase.CLOSED
_RSET, _MAIL, _RCPT, _DATA = Step.RSET, Step.MAIL, Step.RCPT, Step.DATA
_FIRST, _LAST = (_MAIL, 0), (_DATA, 0)
_IN_TRANSACTION = (_ENVELOPE, _BODY, _FINAL)
_BEFORE_READY = (ClientPhase.GREETING, ClientPhase.HELLO, ClientPhase.STARTTLS, ClientPhase.HANDSHAKE, ClientPhase.AUTH)


class Exchange(ABC):
    """One connection's dialogue.

    Args:
        hello: our name.
    """

    def __init__(self, hello: str) -> None:
        self._hello = hello.encode("utf-8", "surrogateescape")
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._events: deque[ClientEvent] = deque()
        self._phase = ClientPhase.GREETING
        self._extensions: dict[str, str] = {}
        self._sends_size = False
        self._pipelining = False
        self._needs_reset = False
        self._commands: deque[bytes] = deque()
        self._steps: deque[tuple[Step, int]] = deque()
        self._unsettled: list[bool] = []
        self._accepted: deque[int] = deque()
        self._mail_refusal: Status | None = None
        self._early: list[Status] = []
        self._stray = False

    @property
    def phase(self) -> ClientPhase:
        """What the connection waits for."""
        return self._phase

    @property
    def closed(self) -> bool:
        """Whether the connection is to be closed once `to_send` is written."""
        return self._phase is _CLOSED

    @property
    def in_transaction(self) -> bool:
        """Whether recipients wait for their results."""
        return self._phase in _IN_TRANSACTION

    # octets and events

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the server."""
        if self._phase is not _CLOSED:
            self._reader.feed(data)

    def to_send(self) -> bytes:
        """All commands queued so far; they are the session's now."""
        if not self._out:
            return b""
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    def next_event(self) -> ClientEvent | None:
        """The next event, or None when more input or a move of the session is needed."""
        while not self._events:
            if self._reader.empty or self._phase is _CLOSED or not self._take_reply():
                return None
        return self._events.popleft()

    def eof(self, reason: Status = CUT_OFF) -> None:
        """The server closed the connection, or is not waited for any longer. Replies it sent before are still taken."""
        while self._phase is not _CLOSED and self._take_reply():
            pass
        if self._phase in _BEFORE_READY:
            self._phase = _CLOSED
            self._events.append(Refused(reason))
        elif self._phase is not _CLOSED:
            self._leave(reason)

    def _take_reply(self) -> bool:
        """Act on the next whole reply, if there is one."""
        if (self._phase is _ENVELOPE or self._phase is _FINAL) and (known := self._reader.next_known()):
            if self._hear_yes([status for status, _ in known]):
                return True
            self._reader.put_back()
        try:
            reply = self._reader.next_reply()
        except MalformedReplyError as error:
            self._break(str(error))
            return True
        if reply is None:
            return False
        self._hear(*reply)
        return True

    # moves of the session

    def begin(self, transaction: Transaction) -> None:
        """Start a transaction.

        Raises:
            ValueError: not now, no recipients, or an address or parameter with a line end or NUL.
        """
        if self._phase is not _IDLE:
            raise ValueError(f"a transaction cannot begin while waiting for {self._phase.value}")
        commands, steps = transaction.commands(size=self._sends_size, reset=self._needs_reset)
        self._needs_reset = False
        self._steps.extend(steps)
        self._unsettled = [True] * len(transaction.recipients)
        self._accepted.clear()
        self._mail_refusal = None
        self._stray = self._reader.pending
        self._phase = _ENVELOPE
        if self._pipelining:
            self._out += commands
        else:
            self._commands.extend(commands)
            self._send()

    def body_sent(self) -> None:
        """The stuffed body and its end were written.

        Raises:
            ValueError: no body was wanted.
        """
        if self._phase is _CLOSED:
            return
        if self._phase is not _BODY:
            raise ValueError(f"no body was wanted while waiting for {self._phase.value}")
        if self._reader.pending:
            self._break("part of a reply before the end of the body")
            return
        self._phase = _FINAL
        early, self._early = self._early, []
        for status in early:
            self._hear_final(status)

    def quit(self) -> None:
        """Leave: QUIT is queued, `Bye` follows.

        Raises:
            ValueError: inside a transaction.
        """
        if self.in_transaction:
            raise ValueError("QUIT inside a transaction")
        if self._phase is not _CLOSED:
            self._phase = _LEAVING
            self._out.append(b"QUIT\r\n")

    # replies

    def _hear(self, status: Status, texts: list[bytes]) -> None:
        phase, code = self._phase, status.code
        if self._stray and code != 421:
            self._break(f"reply without a command: {status}")
            return
        if code == 421 and phase not in _BEFORE_READY:
            self._leave(status)
        elif code == 221 and phase is _FINAL:
            self._leave(CUT_OFF)
        elif phase is _ENVELOPE:
            self._hear_step(status)
        elif phase is _FINAL:
            self._hear_final(status)
        elif phase is _BODY:
            self._hear_early(status)
        elif phase is _LEAVING:
            self._leave(status)
        elif code == 220 and phase is ClientPhase.HELLO:
            self._break(f"a second greeting: {status}")
        elif phase in _BEFORE_READY:
            self._hear_opening(status, texts)
        else:
            self._break(f"reply without a command: {status}")

    def _hear_yes(self, said: list[Status]) -> bool:
        """All replies that are there at once, where they say yes to all that was asked; False: they are heard one by one."""
        steps = self._steps
        if self._phase is not _ENVELOPE or len(said) != len(steps) or self._commands or self._stray:
            return False
        if steps[0] != _FIRST or steps[-1] != _LAST:
            return False
        *envelope, last = said
        if last.code != 354 or max([status.code for status in envelope]) >= 300:
            return False
        self._accepted.extend(range(len(steps) - 2))
        steps.clear()
        self._phase = _BODY
        self._events.append(WantBody())
        return True

    @abstractmethod
    def _hear_opening(self, status: Status, texts: list[bytes]) -> None:
        """A reply before transactions may begin."""

    @abstractmethod
    def _hear_early(self, status: Status) -> None:
        """A reply while the body is still being written."""

    @abstractmethod
    def _hear_final(self, status: Status) -> None:
        """A reply to the body."""

    def _be_ready(self, extensions: dict[str, str], *, bare: bool = False) -> None:
        """Transactions may begin."""
        self._extensions = extensions
        self._sends_size = bare or "SIZE" in extensions
        self._pipelining = "PIPELINING" in extensions
        self._phase = _IDLE
        self._events.append(Ready(extensions, bare))

    def _hear_step(self, status: Status) -> None:
        """A reply to RSET, MAIL, RCPT or DATA."""
        step, index = self._steps.popleft()
        if step is not _DATA and 300 <= status.code < 400:
            self._break(f"unexpected reply to {step.name}: {status}")
        elif step is _RSET:
            if not status.is_success:
                self._break(f"RSET was refused: {status}")
        elif step is _MAIL:
            if not status.is_success:
                self._refuse_sender(status)
        elif step is _RCPT:
            if self._mail_refusal is not None:
                pass
            elif status.is_success:
                self._accepted.append(index)
            else:
                self._settle(index, status)
        else:
            self._hear_data(status)
        if self._commands and self._phase is _ENVELOPE:
            self._send()

    def _refuse_sender(self, status: Status) -> None:
        """MAIL was refused: that is every recipient's result, and what was not sent yet is not sent."""
        self._mail_refusal = status
        self._settle_rest(status)
        if self._commands:
            self._commands.clear()
            self._steps.clear()
            self._done()

    def _hear_data(self, status: Status) -> None:
        if status.code == 354:
            if not self._accepted:
                self._hear_unwanted_go()
                return
            self._phase = _BODY
            if self._reader.pending:
                self._hear_before_body()
            if self._phase is _BODY:
                self._events.append(WantBody())
        elif status.is_success or status.code < 400:
            self._break(f"unexpected reply to DATA: {status}")
        else:
            self._needs_reset = self._mail_refusal is None
            self._settle_rest(status)
            self._done()

    def _hear_before_body(self) -> None:
        """Octets came together with the 354: replies to a message that has not been sent."""
        while self._phase is _BODY and self._take_reply():
            pass
        if self._phase is _BODY and self._reader.pending:
            self._break("part of a reply before the body")

    def _hear_unwanted_go(self) -> None:
        """354 though every recipient was refused."""
        self._break("354 without an accepted recipient")

    # results

    def _send(self) -> None:
        """Queue the next command, for a server that takes them one by one."""
        if len(self._commands) == len(self._steps) and self._commands:
            if len(self._commands) == 1 and not self._accepted:
                self._commands.clear()
                self._steps.clear()
                self._needs_reset = True
                self._done()
                return
            self._say(self._commands.popleft())

    def _say(self, command: bytes) -> None:
        """Queue a command for which all that went before is answered: what is there already is no reply to it."""
        self._stray = self._stray or self._reader.pending
        self._out.append(command)

    def _settle(self, index: int, status: Status) -> None:
        self._unsettled[index] = False
        self._events.append(RecipientResult(index, status, final=True))

    def _settle_rest(self, status: Status) -> None:
        """A reply for all recipients that have none."""
        for index, waiting in enumerate(self._unsettled):
            if waiting:
                self._settle(index, status)

    def _done(self) -> None:
        """The transaction is over. What the server said beyond it is judged before another can begin."""
        self._phase = _IDLE
        self._events.append(TransactionDone())
        while not self._reader.empty and self._phase is _IDLE and self._take_reply():
            pass

    def _give_up(self, status: Status) -> None:
        """The recipients without a reply of their own are unsettled."""
        if not self.in_transaction:
            return
        for index, waiting in enumerate(self._unsettled):
            if waiting:
                self._unsettled[index] = False
                self._events.append(RecipientResult(index, status, final=False))
        self._phase = _CLOSED
        self._events.append(TransactionDone())

    def _leave(self, status: Status) -> None:
        """The connection is over."""
        self._give_up(status)
        self._phase = _CLOSED
        self._events.append(Bye(status))

    def _refuse(self, status: Status) -> None:
        """The server does not want to talk. A 2yz or 3yz that is out of place is no refusal, and nobody's delivery."""
        if status.code < 400:
            self._break(f"a reply out of place: {status}")
            return
        self._phase = _CLOSED
        self._out.append(b"QUIT\r\n")
        self._events.append(Refused(status))

    def _break(self, text: str) -> None:
        """The server broke the protocol."""
        if self._phase is _CLOSED:
            return
        self._give_up(_BROKEN)
        self._phase = _CLOSED
        self._events.append(ProtocolError(text))
