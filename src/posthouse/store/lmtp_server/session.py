"""One LMTP connection: octets into the dialogue, its events into transactions, results back as replies.

RCPT checks only the form of XQUOTA and XDFLG; who the recipient is shows in the final replies (LMTP chapter 16.5). Who waits for
whom, and STARTTLS: `dispatcher.client_connection`. A client that has named an XQID hears what is said of MAIL and RCPT then
together with the final replies: it waits for no other; those of one message never wait for the next message. A silent client is
told 421 4.4.2 at its deadline; when others need the connection, after ten seconds, in the middle of a message too. When the
connection is lost the transaction that was complete is delivered all the same: its sender will try again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from posthouse.dialogue.event import (
    BodyPart,
    Event,
    Hello,
    Mail,
    Message,
    MessageEnd,
    MessageRefused,
    Oversize,
    Rcpt,
    Reset,
    StartTls,
)
from posthouse.dialogue.policy import BUSY, PATIENCE, SILENT
from posthouse.dialogue.server import Phase
from posthouse.dispatcher.client_connection import COMMANDS_IN_A_TURN, READ_AHEAD, ClientConnection
from posthouse.dispatcher.handshake import HANDSHAKE_SECONDS
from posthouse.mail.status import Status
from posthouse.store.delivery import transaction as delivered
from posthouse.store.delivery.stored_form import return_path, to_lf
from posthouse.store.delivery.transaction import OVER_QUOTA, Addressee, Transaction
from posthouse.store.lmtp_server.status_table import message_fault
from posthouse.store.lmtp_server.transaction_log import message_id
from posthouse.store.quota.limits import GivenLimits, parse_limits

if TYPE_CHECKING:
    from posthouse.dispatcher.handoff import Connection
    from posthouse.store.lmtp_server.host import SessionHost, Streaming

_LEAST_RATE = 1000
"""octets in a second, asked of a body that takes long"""
_BAD_PARAMETER = "5.5.4"
# looked up once: a member of an enum costs a tenth of a microsecond each time
_COMMAND, _ANSWER, _CLOSING = Phase.COMMAND, Phase.ANSWER, Phase.CLOSING


class LmtpSession(ClientConnection):
    """The protocol object of one connection."""

    def __init__(self, program: "SessionHost", connection: "Connection", closed: Callable[[], None]) -> None:
        settings = program.settings
        super().__init__(program, connection, closed, settings.secured if connection.tls else settings.policy, program.log)
        self._program = program
        self._sender = b""
        self._addressees: list[Addressee] = []
        self._large: Streaming | None = None
        self._transaction: Transaction | None = None
        self._pumping = self._wanted = self._patient = self._finished = False
        self._octets = 0
        self._turn = -1
        self._now = program.loop.time
        self._idle = self._since = self._last = 0.0
        self._message_id = b""
        local, peer = connection.local, connection.peer
        self.transport_name = f"TCP|{local[0]}|{local[1]}|{peer[0]}|{peer[1]}"

    def begun(self) -> None:
        """From now on it may be idle."""
        self._idle = self._now()

    def data_received(self, data: bytes) -> None:
        """Octets came; while an answer is owed they wait, and beyond one buffer the socket does."""
        server = self.server
        server.feed(data)
        self._octets += len(data)
        if not (server.awaiting or self._deaf or self._resting):
            self.pump()
            return
        self._ahead += len(data)
        if self._ahead > READ_AHEAD:
            self._set_reading()

    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open, or since when the one that is open has stood still.

        None for a connection that closes: it makes no more room than it does already.
        """
        if self._transaction is not None or self.transport is None or self.transport.is_closing():
            return None
        if not (self.server.in_transaction or self._deaf):
            return self._idle
        return self._since if self._stands_still() else None

    def _stands_still(self) -> bool:
        """Whether the client leaves its transaction waiting: no whole command, or less of the body than the least rate."""
        waited = self._now() - self._since
        slow = self._deaf or self.server.phase is not Phase.BODY or self._octets < waited * _LEAST_RATE
        return slow and waited > PATIENCE

    def shed(self) -> None:
        """421 at the next quiet point, which is now for a transaction that stands still; who reads no reply hears none."""
        if self._deaf and self.transport is not None and self._stands_still():
            self.transport.abort()
        elif self.server.in_transaction and not self.server.awaiting and self._stands_still():
            self.server.hang_up(BUSY)
        else:
            self.server.shed(BUSY)
            self._wanted = True
        self.pump()

    def expire(self) -> None:
        """The deadline has passed: 421 now, whatever is open; a client that does not read is cut off."""
        transport = self.transport
        if transport is not None and (self._handshake is not None or self._deaf or transport.is_closing()):
            transport.abort()
        elif self.transport is not None and not self.server.awaiting:
            self._program.round.send(self.transport, self.server.to_send() + f"{SILENT}\r\n".encode())
            self._close(self.transport)

    def _close(self, transport: asyncio.Transport) -> None:
        """Close behind what is still to be sent."""
        self._program.round.send_all()
        transport.close()

    def pump(self) -> None:
        """Handle all events the input allows, write what is to be said, set the next deadline."""
        transport, server = self.transport, self.server
        if transport is None or self._pumping or self._deaf:
            return
        self._pumping = True
        moved = False
        server.commands_left = COMMANDS_IN_A_TURN
        try:
            while (event := server.next_event()) is not None:
                moved = True
                if (handler := self._handlers.get(type(event))) is not None:
                    handler(self, event)
        except Exception:
            self._program.log.exception("session failed")
            self._program.round.send(transport, b"421 4.3.0 internal error; try again later\r\n")
            self._close(transport)
            return
        finally:
            self._pumping = False
        if self._patient and self._transaction is not None:
            return
        output, phase = server.turn()
        self._finished = False
        if output:
            self._program.round.send(transport, output)
            moved = True
        if phase is not _ANSWER:
            self._ahead = 0
        if not server.commands_left and not self._resting and phase is _COMMAND:
            self._resting = True
            self._program.loop.call_soon(self._rested)
            self._set_reading()
        if phase is _CLOSING or (self._ended and self._transaction is None and not self._resting):
            self._close(transport)
            return
        self._last = self._now()
        if moved:
            self._since, self._octets = self._last, 0

    @property
    def deadline(self) -> float:
        """The loop's time at which the client is told that it is too slow.

        A command has its time from the last reply on; a body its time of silence, and a least rate after a while; neither when
        others want the connection and the transaction stands still.
        """
        settings = self._program.settings
        if self._handshake is not None:
            return self._since + HANDSHAKE_SECONDS
        if self._wanted and (self.server.in_transaction or self._deaf) and self._stands_still():
            return 0.0
        if self.server.phase is not Phase.BODY:
            return self._since + settings.command_seconds
        least = self._since + 2 * settings.data_seconds + self._octets / _LEAST_RATE
        return min(self._last + settings.data_seconds, least)

    def _mail(self, event: Mail) -> None:
        self._sender = event.sender
        self._addressees = []
        if self._turn < 0:
            self._turn = self._program.delivery.expect()
        self.server.accept()

    def _not_coming(self) -> None:
        """Nothing is under way that delivery would wait for."""
        if self._turn >= 0:
            self._program.delivery.expect_no_more(self._turn)
            self._turn = -1

    def _rcpt(self, event: Rcpt) -> None:
        params = event.params
        given: GivenLimits | None = None
        flags, xqid, imap_flags = 0, b"", ""
        if params:
            xqid = params.get("XQID") or b""
            if "XFLAGS" in params:
                imap_flags = (params["XFLAGS"] or b"").decode("ascii")
            try:
                given, flags = _parameters(params)
            except ValueError as error:
                self.server.answer(Status(501, _BAD_PARAMETER, str(error)))
                return
        self._addressees.append(Addressee(event.raw, self._program.target(event.raw), given, flags, xqid, imap_flags))
        self.server.accept()

    def _message(self, event: Message) -> None:
        data, program = event.data, self._program
        transaction = self._begin()
        transaction.message_id = message_id(data, event.header_end)
        body = event.lf if event.lf is not None else to_lf(data)
        head = return_path(transaction.sender)
        size = len(head) + len(body)
        message = delivered.Message(head + body, size, len(head) + 1 + len(data))
        program.delivery.deliver(transaction, message, message_fault(event.faults, lenient=program.settings.lenient))

    def _begin(self) -> Transaction:
        self._not_coming()
        transaction = self._transaction = Transaction(self._sender, self._addressees, self)
        # else RFC 2920 3.2: nothing is kept back once all input is read; a final reply never is
        self._patient = bool(self._addressees[0].xqid) and not self._finished
        self._addressees = []
        return transaction

    def _part(self, event: BodyPart) -> None:
        data = event.data
        if self._large is None:
            probe = Transaction(self._sender, self._addressees)
            self._large = self._program.large(probe)
            self._message_id = message_id(data, len(data))
        self._large.write(data, event.lf)

    def _end(self, event: MessageEnd) -> None:
        program, large = self._program, self._large
        self._large = None
        if large is None:
            large = program.large(Transaction(self._sender, self._addressees))
        message = large.end()
        fault = message_fault(event.faults, lenient=program.settings.lenient)
        if fault is None and not all(isinstance(each.target, Exception) for each in self._addressees):
            fault = large.fault
        transaction = self._begin()
        transaction.message_id = self._message_id
        program.delivery.deliver(transaction, message, fault)

    def gone(self) -> None:
        """Forget what was not complete."""
        self._forget()

    def _forget(self, event: Event | None = None) -> None:  # noqa: ARG002 - also a handler
        self._not_coming()
        self._addressees = []
        if self._large is not None:
            self._large.abort()
            self._large = None

    def _start_tls(self, event: StartTls) -> None:
        del event
        context = self._program.tls()
        assert context is not None  # else it would not have been offered
        self._since = self._now()
        self.start_tls(context)

    def begun_tls(self) -> None:
        """It begins again."""
        self.server.tls_started(self._program.settings.secured)

    def handshaken(self) -> None:
        """It has its time for a command."""
        self._since = self._now()

    def finish(self, replies: Sequence[Status | bytes]) -> None:
        """The transaction's final replies, one for each recipient in order."""
        self._transaction = None
        if self.transport is None:
            return
        self._idle = self._now()
        self.server.answer_data(replies)
        self._finished = True
        self._go_on()

    _handlers: ClassVar[dict[type[Event], Callable[["LmtpSession", Any], None]]] = {
        Mail: _mail,
        Rcpt: _rcpt,
        Message: _message,
        BodyPart: _part,
        MessageEnd: _end,
        StartTls: _start_tls,
        **dict.fromkeys((Oversize, MessageRefused, Reset, Hello), _forget),
    }
    """DataStart, Quit and BadCommand need nothing: the dialogue has answered"""


def _parameters(params: Mapping[str, bytes | None]) -> tuple[GivenLimits | None, int]:
    """XQUOTA and XDFLG of a RCPT line; others mean nothing to delivery.

    Raises:
        ValueError: one of them is malformed; the text is fit for a 501 reply.
    """
    given: GivenLimits | None = None
    flags = 0
    quota = params.get("XQUOTA", b"")
    if quota:
        given = parse_limits(quota.decode("ascii", "replace"))
    elif quota is None:
        raise ValueError("XQUOTA needs a value")
    text = params.get("XDFLG", b"0")
    if text != b"0":
        if not text or not text.isdigit() or len(text) > 18:
            raise ValueError("XDFLG needs a number")
        flags = int(text)
    if "IGNOREQUOTA" in params:
        flags |= OVER_QUOTA
    return given, flags
