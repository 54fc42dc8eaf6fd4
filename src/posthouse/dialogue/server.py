"""The server's side of SMTP and LMTP: feed octets, take events, give answers, send what is queued.

    server.feed(octets)
    while (event := server.next_event()) is not None: ...   # Mail, Rcpt: accept() or answer(); Message(End): answer_data()
    transport.write(server.to_send()); if server.closing: transport.close()

Command lines end at LF and must end in CRLF: a line with a bare LF, a CR elsewhere, or a NUL is refused (500 5.5.2) and read
no further, as is one over `max_command_line`; none of them is tried as a command. While an answer is owed, or after the
connection is to be closed, `next_event` returns None; octets fed meanwhile wait.

SMTP and 354: whatever arrived before the output with 354 was taken by `to_send` came too early (RFC 2920 3.1). Whole lines that
are commands are dropped; anything else would be a message with its beginning cut off, so instead of 354 goes `554 5.5.0` and the
connection closes. LMTP takes a body pipelined behind DATA.

STARTTLS: anything that arrived behind it before the output with 220 was taken is refused with 554 and the connection closes, so
that nothing typed in clear is obeyed under TLS (RFC 3207 4.2). After `handshaking` comes `tls_started(policy)`, or the end.

Memory: the unread octets of one `feed`, one command line, and a body of at most `Policy.spill`.
"""

import re
from collections.abc import Sequence
from enum import Enum

from posthouse.dialogue.body import Body
from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.event import BadCommand, Event, Fault, Message, MessageEnd, MessageRefused, Oversize
from posthouse.dialogue.policy import BareLineEnds, Policy
from posthouse.dialogue.reply import render
from posthouse.dialogue.verbs.auth import ANSWER_TOO_LONG, MAX_ANSWER, answered
from posthouse.dialogue.verbs.bdat import OVER_LIMIT, TOO_BIG
from posthouse.dialogue.verbs.mail import sender
from posthouse.dialogue.verbs.rcpt import recipient
from posthouse.dialogue.verbs.table import VERBS
from posthouse.mail.status import Status

_PLAIN = re.compile(rb"(?:(MAIL FROM)|RCPT TO):(<([!#-;=?-\[\]-~]*)>)(?: ([ -~]+))?\r\n").match
"""the two commands as nearly every client writes them, taken without looking at the line again and again"""
_EARLY_LIMIT = 4096
_CR = 0x0D
_LINE_TOO_LONG = Status(500, "5.5.2", "command line too long")
_BAD_LINE = Status(500, "5.5.2", "command line must end in CRLF and hold no other control octet of these: CR LF NUL")
_TOO_EARLY = Status(554, "5.5.0", "message data sent before the 354 reply")
_BARE = Status(550, "5.6.11", "bare CR or LF in message data")
_BEHIND_TLS = Status(554, "5.5.0", "nothing may be sent behind STARTTLS before its reply")
_START_TLS = Status(220, "2.5.0", "Go ahead with TLS negotiation.")
_BARE_FAULTS = frozenset({Fault.BARE_LF, Fault.BARE_CR})

# looked up once: a member of an enum costs a tenth of a microsecond each time
_NOTHING, _MAIL_OWED, _RCPT_OWED, _DATA_OWED = Owed.NOTHING, Owed.MAIL, Owed.RCPT, Owed.DATA
_TLS_OWED = Owed.TLS
_COMMAND, _GO, _DATA, _SASL, _DISCARD = Reading.COMMAND, Reading.GO, Reading.DATA, Reading.SASL, Reading.DISCARD


class Phase(Enum):
    """What a connection is doing: the session chooses its deadline by it."""

    COMMAND = "waiting for a command"
    BODY = "waiting for message data"
    ANSWER = "waiting for the session's answer"
    CLOSING = "to be closed when the output is written"


_CLOSING, _ANSWER, _AT_COMMAND, _IN_BODY = Phase.CLOSING, Phase.ANSWER, Phase.COMMAND, Phase.BODY


class Server:
    """One connection's dialogue. The greeting is queued at once."""

    __slots__ = ("_buffer", "_early", "_longest", "_position", "_shed", "_skipping", "_talk")

    def __init__(self, policy: Policy) -> None:
        self._talk = Conversation(policy)
        self._buffer = b""
        self._position = 0
        self._early = bytearray()
        self._longest = policy.max_command_line
        self._skipping = False
        self._shed: Status | None = None
        self._talk.say(Status(220, "", policy.greeting or f"{policy.hostname} {policy.role.value}"))

    # what the session reads

    @property
    def awaiting(self) -> bool:
        """Whether the session owes an answer."""
        return self._talk.owed is not _NOTHING

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed once `to_send` is written."""
        return self._talk.closing

    @property
    def in_transaction(self) -> bool:
        """From MAIL (even unanswered) to the final replies."""
        return self._talk.sender_known or self._talk.owed is not _NOTHING

    @property
    def accepted(self) -> int:
        """Recipients accepted in this transaction."""
        return self._talk.accepted

    @property
    def bare(self) -> bool:
        """LMTP: LHLO came without a domain, so the chapter's own dialect is spoken."""
        return self._talk.bare

    @property
    def phase(self) -> Phase:
        """What the connection is doing."""
        talk = self._talk
        if talk.closing:
            return _CLOSING
        if talk.owed is not _NOTHING:
            return _ANSWER
        return _AT_COMMAND if talk.reading is _COMMAND else _IN_BODY

    # octets

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
                    if end + 1 < len(buffer):
                        self._position = end + 1
                    else:
                        self._buffer, self._position = b"", 0  # an idle connection holds nothing
                    event = self._obey(buffer, position, end)
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

    # answers

    def accept(self) -> None:
        """Answer `Mail` or `Rcpt` with the dialogue's own OK."""
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is _RCPT_OWED:
            talk.accepted += 1
            talk.out.append(talk.ok_rcpt)
        elif talk.owed is _MAIL_OWED:
            talk.sender_known = True
            talk.out.append(talk.ok_mail)
        else:
            raise ValueError("no answer to MAIL or RCPT is owed")
        talk.owed = _NOTHING
        if self._shed is not None:
            self._shed_if_quiet()

    def answer(self, status: Status) -> None:
        """Answer `Mail` or `Rcpt`; 2yz accepts it into the transaction. Ignored when the connection is to be closed.

        Raises:
            ValueError: no such answer is owed.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is _MAIL_OWED:
            talk.sender_known = status.is_success
        elif talk.owed is _RCPT_OWED:
            talk.accepted += status.is_success
        else:
            raise ValueError("no answer to MAIL or RCPT is owed")
        talk.owed = _NOTHING
        talk.say(status)
        if self._shed is not None:
            self._shed_if_quiet()

    def answer_data(self, replies: Sequence[Status | bytes]) -> None:
        """Give the final replies: LMTP one for each accepted recipient in their order, SMTP one. The transaction is over.

        Ignored when the connection is to be closed.

        Args:
            replies: statuses, or ready-made reply lines whose CRLF is added where it is missing.

        Raises:
            ValueError: none is owed, or their number is wrong.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is not _DATA_OWED:
            raise ValueError("no final replies are owed")
        if len(replies) != (talk.accepted if talk.is_lmtp else 1):
            raise ValueError(f"{len(replies)} final replies, wanted {talk.accepted if talk.is_lmtp else 1}")
        for reply in replies:
            if isinstance(reply, Status):
                talk.out.append(render(reply))
            else:
                talk.out.append(reply if reply.endswith(b"\r\n") else reply + b"\r\n")
        talk.owed = _NOTHING
        talk.errors = talk.idle = 0
        talk.forget()
        if self._shed is not None:
            self._shed_if_quiet()

    @property
    def handshaking(self) -> bool:
        """220 to STARTTLS was taken: whatever comes now belongs to TLS."""
        talk = self._talk
        return talk.owed is _TLS_OWED and talk.reading is _COMMAND and not talk.closing

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
        self._buffer, self._position, self._longest = b"", 0, policy.max_command_line
        talk.owed = _NOTHING
        talk.start_again(policy)
        self._shed_if_quiet()

    def answer_login(self, status: Status) -> None:
        """Answer `Login`; 235 makes the client one that has logged in.

        Raises:
            ValueError: no such answer is owed.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is not Owed.LOGIN:
            raise ValueError("no answer to AUTH is owed")
        talk.owed = _NOTHING
        if status.is_success:
            talk.authenticated = talk.open = True
            talk.say(status)
        else:
            talk.bad(b"", status)
        self._shed_if_quiet()

    def shed(self, status: Status) -> None:
        """Close with this 421 at the next quiet point: now outside a transaction, else after its replies."""
        if self._talk.closing:
            return
        self._shed = status
        self._shed_if_quiet()

    def hang_up(self, status: Status) -> None:
        """Close with this reply now, whatever the connection is doing: for deadlines. An answer still owed is dropped."""
        talk = self._talk
        if talk.closing:
            return
        talk.owed = _NOTHING
        talk.reading = _COMMAND
        talk.events.clear()
        talk.forget()
        talk.close_with(status)

    def _shed_if_quiet(self) -> None:
        talk = self._talk
        if self._shed is None or talk.closing or self.in_transaction or talk.events or talk.reading is not _COMMAND:
            return
        talk.close_with(self._shed)

    # SMTP between DATA and 354

    def _take_early(self, data: bytes) -> None:
        """Keep what came before 354, as much as is needed to judge it."""
        early = self._early
        early += self._buffer[self._position :][: _EARLY_LIMIT + 1 - len(early)]
        early += data[: _EARLY_LIMIT + 1 - len(early)]
        self._buffer = b""
        self._position = 0

    def _go(self) -> None:
        """354 leaves now, unless something came before it that was no command."""
        talk = self._talk
        if not self._early and not self._buffer and talk.owed is not _TLS_OWED:
            talk.out.append(talk.ok_data)
            talk.reading = _DATA
            return
        self._take_early(b"")
        if talk.owed is _TLS_OWED:
            self._go_tls()
            return
        early, self._early = bytes(self._early), bytearray()
        lines = early.split(b"\r\n")
        if not lines.pop() and len(early) <= _EARLY_LIMIT and all(line.partition(b" ")[0].upper() in VERBS for line in lines):
            talk.out.append(talk.ok_data)
            talk.reading = _DATA
            return
        talk.forget()
        talk.reading = _COMMAND
        talk.events.append(MessageRefused(_TOO_EARLY))
        talk.close_with(_TOO_EARLY)

    def _go_tls(self) -> None:
        """220 leaves now, unless something came behind STARTTLS."""
        talk = self._talk
        talk.reading = _COMMAND
        if not self._early:
            talk.say(_START_TLS)
            return
        self._early.clear()
        talk.owed = _NOTHING
        talk.events.append(BadCommand(b"STARTTLS", _BEHIND_TLS))
        talk.close_with(_BEHIND_TLS)

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

    def _obey(self, buffer: bytes, position: int, end: int) -> Event | None:
        """Carry out the command line that ends with the LF at `end`."""
        talk = self._talk
        line = buffer[position : end - 1]
        plain = _PLAIN(buffer, position)
        if plain is not None and not talk.chunking:
            is_mail, raw, address, rest = plain.groups(b"")
            if is_mail:
                if talk.open and not talk.sender_known:
                    return sender(talk, address, raw, rest, line)
            elif talk.sender_known:
                return recipient(talk, address, raw, rest, line)
        if end == position or buffer[end - 1] != _CR or b"\r" in line or b"\0" in line:
            return talk.bad(buffer[position:end].rstrip(b"\r"), _BAD_LINE)
        word, _, argument = line.partition(b" ")
        verb = VERBS.get(word) or VERBS.get(word.upper())
        if verb is None:
            shown = word[:40].decode("ascii", "backslashreplace")
            return talk.bad(line, Status(500, "5.5.1", f'Unknown command "{shown}" specified'))
        return verb(talk, argument.strip(b" \t"), line)

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
        talk = self._talk
        body = talk.body
        assert body is not None
        if self._position >= len(self._buffer):
            return None, False
        self._position, ended = body.take(self._buffer, self._position)
        if self._position >= len(self._buffer):
            self._buffer = b""
            self._position = 0
        return self._after_octets(ended=ended)

    def _read_chunk(self) -> tuple[Event | None, bool]:
        talk = self._talk
        before = self._position
        if talk.reading is _DISCARD:
            self._position = min(len(self._buffer), before + talk.chunk_left)
            talk.chunk_left -= self._position - before
            if talk.chunk_left:
                return None, False
            talk.reading = _COMMAND
            refusal = talk.chunk_refusal
            assert refusal is not None
            return talk.bad(refusal.line, refusal.reply), True
        body = talk.body
        assert body is not None
        self._position = body.take_chunk(self._buffer, before, talk.chunk_left)
        talk.chunk_left -= self._position - before
        ended = not talk.chunk_left and talk.chunk_last
        if ended:
            body.finish_chunks()
        elif not talk.chunk_left:
            talk.reading = _COMMAND
            words = talk.words.chunk
            talk.say(Status(words.code, words.enhanced, f"{talk.chunk_size} octets received"))
        event, moved = self._after_octets(ended=ended)
        return event, moved or not talk.chunk_left

    def _after_octets(self, *, ended: bool) -> tuple[Event | None, bool]:
        """What the body made of the octets it took."""
        talk = self._talk
        body = talk.body
        assert body is not None
        if body.exceeded:
            return self._exceeded(body, ended=ended), ended
        parts = body.take_parts()
        if not ended:
            talk.events.extend(parts)
            return None, bool(parts)
        result = body.result
        assert result is not None
        talk.reading = _COMMAND
        talk.body = None
        closing = self._outcome(result)
        if not parts:
            return closing, True
        talk.events.extend(parts)
        talk.events.append(closing)
        return None, True

    def _outcome(self, result: Message | MessageEnd) -> Event:
        """Hand a whole body over, unless its line ends are refused here."""
        talk = self._talk
        if result.faults and talk.policy.bare_line_ends is BareLineEnds.REFUSE and not _BARE_FAULTS.isdisjoint(result.faults):
            talk.forget()
            talk.close_with(_BARE)
            return MessageRefused(_BARE)
        talk.owed = _DATA_OWED
        return result

    def _exceeded(self, body: Body, *, ended: bool) -> Event | None:
        """The body is too large: LMTP leaves at once (LMTP chapter 16.5), SMTP when the end was read."""
        talk = self._talk
        first, body.reported = not body.reported, True
        if talk.is_lmtp:
            talk.reading = _COMMAND
            talk.forget()
            talk.close_with(TOO_BIG)
        elif ended:
            talk.reading = _COMMAND
            talk.forget()
            talk.say(OVER_LIMIT)
        elif body.swallowed > talk.policy.max_swallow:
            talk.close_with(OVER_LIMIT)
        return Oversize() if first else None
