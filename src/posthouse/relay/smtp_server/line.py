"""One client's connection below the decisions: octets into the dialogue, its output back, memory, deadlines.

* Who waits for whom, and STARTTLS: `dispatcher.client_connection`.
* The worker's account of unanswered mail is over its limit: bodies are not read (DURABILITY 4.12).
* A refusal that ends the connection is followed by our end of file and a moment of listening: closing at once
  over unread octets would take the reply from the client.

Deadlines, by `COMMAND_RECEIVE_TIME` and the others of the channel's options (job-controller-cnf.md 7); all end with 421:

    a command      from our last reply to its line end, however the octets trickle
    a body         from one octet to the next; on the whole as much and a second for each KiB
    a transaction  from MAIL to the final dot twelve times the longer of the two, whatever is sent
    our replies    STATUS_TRANSMIT_TIME until the client reads again, then the connection is cut
    a handshake    60 seconds, then the connection is cut
"""

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Callable

from posthouse.dialogue.event import Event
from posthouse.dialogue.policy import BUSY, SILENT, Policy
from posthouse.dialogue.server import Phase
from posthouse.dispatcher.client_connection import COMMANDS_IN_A_TURN, READ_AHEAD, ClientConnection
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.handshake import HANDSHAKE_SECONDS
from posthouse.mail.status import Status
from posthouse.relay.smtp_server.host import LineHost

LEAST_RATE = 1024
"""octets a second that a body has to bring after a while"""
_LINGER = 2.0
_NEVER = float("inf")
_FAULT = Status(421, "4.3.0", "internal error; try again later")
_COMMAND, _ANSWER, _BODY, _CLOSING = Phase.COMMAND, Phase.ANSWER, Phase.BODY, Phase.CLOSING


class Line(ClientConnection):
    """The protocol object of one connection; what its events mean is the subclass's.

    Args:
        relay: what all sessions share.
        connection: the hand-off's facts.
        closed: to be called once the connection is gone.
        policy: what the dialogue allows.
    """

    def __init__(self, relay: LineHost, connection: Connection, closed: Callable[[], None], policy: Policy) -> None:
        super().__init__(relay, connection, closed, policy, relay.process_log)
        self.relay = relay
        self.deadline = _NEVER
        """the loop's time at which the client has been too slow, as of the last look"""
        self.receiving_since: float | None = None
        """the loop's time at which the body began that is being received"""
        self.transaction_ends = _NEVER
        """the loop's time at which the transaction has to be over; infinite outside one"""
        self._moved = False
        """something was said since the last look: the client has its time for a command anew"""
        self._octets = 0
        self.held = 0
        """octets kept for its message, as the memory counts them"""
        self.abrupt = False
        """the client has nothing more to say: closing may be at once"""

    # --- what the subclass does ---------------------------------------------------------------------------------

    @abstractmethod
    def handle(self, event: Event) -> None:
        """Obey one event of the dialogue."""

    @abstractmethod
    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open, None while one is."""

    @abstractmethod
    def over(self) -> None:
        """The connection is gone, or about to be cut: forget the transaction. May be called more than once."""

    @abstractmethod
    def lost(self) -> None:
        """The connection is gone."""

    # --- what the loop calls ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        if self._leaving:
            return
        wanted = self.server.feed(data)
        if self.receiving_since is not None:
            self._octets += len(data)
            if self.transaction_ends != _NEVER:  # else the body is refused already and only passes by
                self.hold(self.held + len(data))
        if wanted and not self._resting:
            self.pump()
            return
        self._ahead += len(data)
        if self._ahead > READ_AHEAD:
            self._set_reading()

    def pause_writing(self) -> None:
        """It has its time to read again."""
        self.deadline = self.relay.loop.time() + self.relay.limits.reply_seconds
        super().pause_writing()

    def gone(self) -> None:
        """A message whose answer is owed stays accepted once it is durable; everything else is forgotten."""
        try:
            self.over()
            self.hold(0)
            self.lost()
        except Exception:
            self.relay.report("a session did not end cleanly")

    # --- what the worker asks -----------------------------------------------------------------------------------

    def shed(self) -> None:
        """421 at the next quiet point."""
        self.abrupt = True
        self.server.shed(BUSY)
        self.pump()

    def expire(self) -> None:
        """The deadline has passed: 421 now, whatever is open; a client that hears nothing is cut off."""
        if self.transport is not None and (self._deaf or self._leaving or self._handshake is not None):
            self.transport.abort()
        elif not self.server.awaiting and not self._stalled:
            self.hang_up(SILENT)

    def hang_up(self, status: Status = BUSY) -> None:
        """Close with this reply, in the middle of whatever is going on."""
        self.abrupt = True
        self.over()
        self.hold(0)
        if self._handshake is not None and self.transport is not None:
            self.transport.abort()
        self.server.hang_up(status)
        self.pump()

    # --- the dialogue -------------------------------------------------------------------------------------------

    def go_on(self, then: Callable[..., None], *arguments: object) -> None:
        """What was waited for is there: say it, and read on."""
        if self.transport is None:
            return
        try:
            then(*arguments)
        except Exception:
            self._fail()
        self.pump()

    def pump(self) -> None:
        """Handle all events the input allows, write what is to be said, set the next deadline."""
        transport, server = self.transport, self.server
        if transport is None or self._deaf or self._leaving:
            return
        server.commands_left = COMMANDS_IN_A_TURN
        try:
            while (event := server.next_event()) is not None:
                self.handle(event)
            out, phase = server.turn()
            if phase is _CLOSING and (event := server.next_event()) is not None:
                self.handle(event)
        except Exception:
            self._fail()
            out, phase = server.turn()
        relay = self.relay
        if out:
            relay.round.send(transport, out)
            self._moved = True
        if not server.commands_left and phase is _COMMAND and not self._resting:
            self._resting = True
            relay.loop.call_soon(self._rested)
            self._set_reading()
        if phase is _CLOSING or (self._ended and phase is not _ANSWER and not self._resting):
            self._leave(transport)
            return
        if phase is _BODY:
            self._set_body_deadline()
        else:
            self.receiving_since = None
        if phase is not _ANSWER:
            self._ahead = 0
        memory = relay.memory
        if self._paused or memory.held > memory.limit:
            self._set_reading()

    def _fail(self) -> None:
        """Something of ours is wrong: this connection ends, the others go on."""
        self.relay.report("a session failed")
        self.over()
        self.server.hang_up(_FAULT)

    def look(self, now: float) -> bool:
        """Whether the client has been too slow. A command's time begins with the look that follows our last reply."""
        if self._moved and not self._deaf and not self._leaving:
            self._moved = False
            if self.receiving_since is None:
                self.deadline = min(now + self.relay.limits.command_seconds, self.transaction_ends)
        return self.deadline < now

    def _set_body_deadline(self) -> None:
        limits, now = self.relay.limits, self.relay.loop.time()
        self._moved = False
        if self.receiving_since is None:
            self.receiving_since = now
            self._octets = 0
        total = self.receiving_since + limits.data_seconds + self._octets / LEAST_RATE
        self.deadline = min(now + limits.data_seconds, total, self.transaction_ends)

    def _set_reading(self) -> None:
        """Read, or let the socket wait: a body also while there is no room for it."""
        memory = self.relay.memory
        if memory.is_full and self.receiving_since is not None and not (self._stalled or self._leaving or self.transport is None):
            self._stalled = True
            memory.wait(self.unstall)
        super()._set_reading()

    def stall(self) -> None:
        """Read no more of the body until `unstall`: something has to be known first."""
        self._stalled = True
        self._set_reading()

    def unstall(self) -> None:
        """Read on."""
        self._stalled = False
        if self.receiving_since is not None:  # it was we who were slow
            self.receiving_since = None
            if self.server.phase is _BODY:
                self._set_body_deadline()
            self._moved = True
        self._set_reading()

    def hold(self, octets: int) -> None:
        """So many octets are now kept for this line's message."""
        change = octets - self.held
        if change:
            self.held = octets
            self.relay.memory.change(change)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS was heard."""
        super().start_tls(context)
        self.deadline = self.relay.loop.time() + HANDSHAKE_SECONDS
        self._moved = False

    def handshaken(self) -> None:
        """It has its time for a command."""
        self._moved = True

    def _leave(self, transport: asyncio.Transport) -> None:
        """Close, when the client was refused in the middle of what it sends, only after listening for a moment."""
        self._leaving = True
        self.relay.round.send_all()
        if not self._deaf:
            self.deadline = self.relay.loop.time() + _LINGER
        if self.abrupt or self._ended or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        if self._paused:
            self._paused = False
            transport.resume_reading()
