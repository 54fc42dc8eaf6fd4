"""The server's side of SMTP and LMTP: feed octets, take events, give answers, send what is queued.

    server.feed(octets)
    while (event := server.next_event()) is not None: ...   # Mail, Rcpt: accept() or answer(); Message(End): answer_data()
    transport.write(server.to_send()); if server.closing: transport.close()

`answers.py` has what the session says, `command.py` what a command line must be, `mail_data.py` what becomes of a body,
`go_ahead.py` what may not come before 354 and before 220 to STARTTLS. A line over `max_command_line` is refused (500 5.5.2) and
read no further. While an answer is owed, or after the connection is to be closed, `next_event` returns None; octets fed meanwhile
wait. After `begin_tls` comes `tls_started(policy)`, or the end.

`commands_left` is how many commands `next_event` still obeys: a session beside which others are served sets it for each turn.

Memory: the unread octets of one `feed`, one command line, and a body of at most `Policy.spill`.
"""

import sys
from enum import Enum

from posthouse.dialogue.answers import Answers
from posthouse.dialogue.command import obey
from posthouse.dialogue.conversation import Owed, Reading
from posthouse.dialogue.event import BadCommand, Event
from posthouse.dialogue.go_ahead import EARLY_LIMIT, go_data, go_tls
from posthouse.dialogue.mail_data import after_octets, read_chunk
from posthouse.dialogue.policy import Policy
from posthouse.dialogue.verbs.auth import ANSWER_TOO_LONG, MAX_ANSWER, answered
from posthouse.mail.status import Status

_LINE_TOO_LONG = Status(500, "5.5.2", "command line too long")

# looked up once: a member of an enum costs a tenth of a microsecond each time
_NOTHING, _TLS_OWED = Owed.NOTHING, Owed.TLS
_COMMAND, _GO, _DATA, _SASL = Reading.COMMAND, Reading.GO, Reading.DATA, Reading.SASL


class Phase(Enum):
    """What a connection is doing: the session chooses its deadline by it."""

    COMMAND = "waiting for a command"
    BODY = "waiting for message data"
    ANSWER = "waiting for the session's answer"
    CLOSING = "to be closed when the output is written"


_CLOSING, _ANSWER, _AT_COMMAND, _IN_BODY = Phase.CLOSING, Phase.ANSWER, Phase.COMMAND, Phase.BODY


class Server(Answers):
    """One connection's dialogue. The greeting is queued at once."""

    __slots__ = ("_buffer", "_early", "_longest", "_position", "_skipping", "commands_left")

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._buffer = b""
        self._position = 0
        self._early = bytearray()
        self._longest = policy.max_command_line
        self._skipping = False
        self.commands_left = sys.maxsize
        """how many commands may still be obeyed; none: `next_event` returns None"""
        self._talk.say(Status(220, "", policy.greeting or f"{policy.hostname} {policy.role.value}"))

    # octets

    @property
    def phase(self) -> Phase:
        """What the connection is doing."""
        talk = self._talk
        if talk.closing:
            return _CLOSING
        if talk.owed is not _NOTHING:
            return _ANSWER
        return _AT_COMMAND if talk.reading is _COMMAND else _IN_BODY

    def feed(self, data: bytes | bytearray | memoryview) -> bool:
        """Take octets from the client.

        Returns:
            Whether there may be an event now: no answer is owed.
        """
        talk = self._talk
        if talk.closing:
            return True
        if talk.reading is _GO:
            self._take_early(bytes(data))
        elif self._buffer:
            self._buffer = self._buffer[self._position :] + data
            self._position = 0
        else:
            self._buffer = bytes(data)
        return talk.owed is _NOTHING

    def to_send(self) -> bytes:
        """All output queued so far; it is the session's now."""
        return self.turn()[0]

    def turn(self) -> tuple[bytes, Phase]:
        """`to_send`, and the phase then: what a session wants to know when there is no event any more."""
        talk = self._talk
        if talk.reading is _GO:
            self._go()
        out = talk.out
        if out:
            output = out.pop() if len(out) == 1 else b"".join(out)
            out.clear()
        else:
            output = b""
        return output, self.phase

    def next_event(self) -> Event | None:
        """The next event; None when more input or an answer is needed, or the connection is to be closed."""
        talk = self._talk
        while True:
            if talk.events:
                return talk.events.popleft()
            if talk.owed is not _NOTHING or talk.closing:
                return None
            if self._shed is not None and not talk.sender_known and talk.reading is _COMMAND:
                talk.close_with(self._shed)
                return None
            reading = talk.reading
            if reading is _COMMAND:
                buffer = self._buffer
                if not buffer:
                    return None
                position = self._position
                end = buffer.find(b"\n", position)
                if 0 <= end <= position + self._longest and not self._skipping:
                    if not self.commands_left:
                        return None
                    self.commands_left -= 1
                    if end + 1 < len(buffer):
                        self._position = end + 1
                    else:
                        self._buffer, self._position = b"", 0  # an idle connection holds nothing
                    event = obey(talk, buffer, position, end)
                    if event is not None:
                        return event
                    continue
                if position >= len(buffer):
                    self._buffer, self._position = b"", 0
                    return None
                event, moved = self._read_unfinished(end)
            elif reading is _DATA:
                event, moved = self._read_data()
            elif reading is _GO:
                return None
            elif reading is _SASL:
                event, moved = self._read_answer()
            else:
                event, moved = self._read_chunk()
            if event is not None:
                return event
            if not moved:
                return None

    # TLS

    @property
    def handshaking(self) -> bool:
        """220 to STARTTLS was taken."""
        talk = self._talk
        return talk.owed is _TLS_OWED and talk.reading is _COMMAND and not talk.closing

    def begin_tls(self) -> bool:
        """Whether 220 to STARTTLS was taken: what came in clear is forgotten now, and whatever is fed from here on came by TLS.

        Asyncio hands over what came with the end of the handshake before it says that it has ended.
        """
        if self.handshaking:
            self._buffer, self._position = b"", 0
        return self.handshaking

    def tls_started(self, policy: Policy) -> None:
        """The handshake is done: the client begins again, under this policy.

        Raises:
            ValueError: none was agreed upon.
        """
        talk = self._talk
        if talk.closing:
            return
        if not self.handshaking:
            raise ValueError("no handshake was agreed upon")
        self._longest = policy.max_command_line
        talk.owed = _NOTHING
        talk.start_again(policy)
        self._shed_if_quiet()

    # what came before 354 or 220

    def _take_early(self, data: bytes) -> None:
        """Keep what came before 354, as much as is needed to judge it."""
        early = self._early
        early += self._buffer[self._position :][: EARLY_LIMIT + 1 - len(early)]
        early += data[: EARLY_LIMIT + 1 - len(early)]
        self._buffer = b""
        self._position = 0

    def _go(self) -> None:
        """354 leaves now, or 220 to STARTTLS; or what came before it is judged."""
        talk = self._talk
        if not self._early and not self._buffer and talk.owed is not _TLS_OWED:
            talk.out.append(talk.ok_data)
            talk.reading = _DATA
            return
        self._take_early(b"")
        early, self._early = bytes(self._early), bytearray()
        if talk.owed is _TLS_OWED:
            go_tls(talk, early)
        else:
            go_data(talk, early)

    # reading

    def _read_answer(self) -> tuple[Event | None, bool]:
        """A line of the exchange that AUTH began (RFC 4954 4)."""
        buffer, position, talk = self._buffer, self._position, self._talk
        end = buffer.find(b"\n", position)
        if end < 0 and len(buffer) - position <= MAX_ANSWER:
            return None, False
        talk.reading = _COMMAND
        if end < 0 or end - position > MAX_ANSWER:
            talk.close_with(ANSWER_TOO_LONG)
            return BadCommand(b"AUTH", ANSWER_TOO_LONG), True
        self._position = end + 1
        return answered(talk, buffer[position : end + 1]), True

    def _read_unfinished(self, end: int) -> tuple[Event | None, bool]:
        """A command line that is too long, or is not complete: its event, and whether more may follow."""
        if end >= 0:
            return self._skip(end + 1, ended=True), True
        if self._skipping or len(self._buffer) - self._position > self._longest:
            return self._skip(len(self._buffer), ended=False), False
        return None, False

    def _skip(self, position: int, *, ended: bool) -> Event | None:
        """Drop the octets of a line that is too long; refuse it once, where it is found out."""
        first = not self._skipping
        line = self._buffer[self._position : self._position + self._longest]
        self._position = position
        self._skipping = not ended
        return self._talk.bad(line, _LINE_TOO_LONG) if first else None

    def _read_data(self) -> tuple[Event | None, bool]:
        """Octets of DATA."""
        body = self._talk.body
        assert body is not None
        if self._position >= len(self._buffer):
            return None, False
        self._position, ended = body.take(self._buffer, self._position)
        if self._position >= len(self._buffer):
            self._buffer, self._position = b"", 0
        return after_octets(self._talk, ended=ended)

    def _read_chunk(self) -> tuple[Event | None, bool]:
        """Octets of BDAT."""
        self._position, event, moved = read_chunk(self._talk, self._buffer, self._position)
        return event, moved
