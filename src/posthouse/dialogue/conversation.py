"""What a server's dialogue remembers between commands, and the few moves every verb makes.

    transaction   begins with an accepted MAIL, ends with the final replies, RSET, a hello or a refused body
    chunking      a BDAT was taken: only BDAT, RSET, NOOP and QUIT are in place until the last chunk

A verb is a function of this state, the argument and the whole line; it answers here and returns the event to show, if any.
"""

from collections import deque
from enum import Enum

from posthouse.dialogue.body import Allowance, Body
from posthouse.dialogue.event import BadCommand, Event
from posthouse.dialogue.policy import BARE_WORDS, Policy, Role, Words
from posthouse.dialogue.reply import render
from posthouse.mail.status import Status

_LAST_LINE_END = 2
"""clients such as smtplib announce a text without the line end they then add"""


class Owed(Enum):
    """Which answer the session owes."""

    NOTHING = 0
    MAIL = 1
    RCPT = 2
    DATA = 3
    TLS = 4
    """the handshake; nothing is read before it is over"""
    LOGIN = 5


class Reading(Enum):
    """What the next octets are."""

    COMMAND = 0
    GO = 1
    """SMTP: nothing is welcome until 354 has left"""
    DATA = 2
    CHUNK = 3
    DISCARD = 4
    """the octets of a refused BDAT"""
    SASL = 5
    """the next line is an answer to 334 (RFC 4954 4)"""


class Conversation:
    """The state of one connection. Verbs write it, `Server` moves it on."""

    __slots__ = (
        "accepted",
        "announced",
        "authenticated",
        "bare",
        "body",
        "chunk_last",
        "chunk_left",
        "chunk_refusal",
        "chunk_size",
        "chunking",
        "closing",
        "errors",
        "events",
        "extended",
        "hello",
        "idle",
        "is_lmtp",
        "ok_data",
        "ok_mail",
        "ok_rcpt",
        "open",
        "out",
        "owed",
        "policy",
        "reading",
        "sasl",
        "sender_known",
        "utf8",
        "words",
    )

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.speak(policy.words)
        self.is_lmtp = policy.role is Role.LMTP
        self.out: list[bytes] = []
        self.events: deque[Event] = deque()
        self.owed = Owed.NOTHING
        self.reading = Reading.COMMAND
        self.closing = False
        self.hello = ""
        """the verb of the last hello, empty before it"""
        self.open = False
        """a hello was heard and MAIL is in its place"""
        self.bare = False
        """LMTP: the chapter's dialect was chosen by LHLO without a domain"""
        self.extended = False
        """whether the extension list was sent"""
        self.errors = 0
        self.idle = 0
        self.chunk_left = 0
        self.chunk_last = False
        self.chunk_refusal: BadCommand | None = None
        self.authenticated = False
        self.sasl: tuple[str, ...] = ()
        """mechanism of the login under way, and what was answered so far"""
        self.body: Body | None = None
        self.forget()

    def speak(self, words: Words) -> None:
        """Use these words; what every message needs is rendered once."""
        self.words = words
        self.ok_mail, self.ok_rcpt, self.ok_data = render(words.mail), render(words.rcpt), render(words.data)

    def forget(self) -> None:
        """No transaction is open any more."""
        self.sender_known = False
        self.announced: int | None = None
        self.utf8 = False
        self.accepted = 0
        self.chunking = False
        self.chunk_size = 0
        self.body = None

    def say(self, status: Status) -> None:
        """Queue one reply."""
        self.out.append(render(status))

    def close_with(self, status: Status) -> None:
        """Queue the last reply of the connection."""
        self.say(status)
        self.closing = True

    def start_again(self, policy: Policy) -> None:
        """TLS is on: what was said in clear is forgotten, the counts of errors are not (RFC 3207 4.2)."""
        self.policy = policy
        self.forget()
        self.hello, self.open, self.bare, self.extended, self.authenticated = "", False, False, False, False

    def bad(self, line: bytes, status: Status) -> BadCommand:
        """Refuse a command; the one too many ends the connection. Of AUTH only the mechanism is shown."""
        if line.lstrip()[:4].upper() == b"AUTH":
            line = b" ".join(line.split(None, 2)[:2])
        self.say(status)
        self.errors += 1
        if self.errors >= self.policy.max_errors:
            self.close_with(Status(421, "4.7.0", "too many errors"))
        return BadCommand(line, status)

    def unmoved(self) -> None:
        """Count a command that moves nothing; the one too many ends the connection."""
        self.idle += 1
        if self.idle >= self.policy.max_idle_commands:
            self.close_with(Status(421, "4.7.0", "too many commands without a message"))

    def greet(self, verb: str, *, bare: bool, extended: bool) -> None:
        """A hello was heard: everything of a transaction is forgotten."""
        self.forget()
        self.hello = verb
        self.open = self.barred is None
        self.bare = bare
        self.extended = extended
        self.speak(BARE_WORDS if bare else self.policy.words)

    @property
    def barred(self) -> Status | None:
        """What MAIL is told now, unless it is in its place."""
        return None if self.authenticated else self.policy.barred

    def allowance(self) -> Allowance:
        """What the body of this transaction may have.

        After a bare LHLO the client is held to its word exactly, on the wire (LMTP chapter 16.5). After LHLO with a domain
        doubled dots do not count (RFC 1870 3), nor the last line end (smtplib adds it), nor one octet in 256 (Postfix folds
        lines over 998 octets after counting). SMTP accepts "somewhat larger" (RFC 1870 6.4): clients count LF line ends.
        """
        announced, largest = self.announced, self.policy.max_size
        if not self.is_lmtp:
            slack = 0 if announced is None else announced + announced // 8 + 1024
            limit = min(slack, largest) if slack and largest else slack or largest
            return Allowance(limit, on_wire=False, keep=0)
        if announced is None:
            return Allowance(largest, on_wire=False, keep=largest)
        if self.bare:
            return Allowance(max(announced, 1), on_wire=True, keep=largest)
        return Allowance(announced + announced // 256 + _LAST_LINE_END, on_wire=False, keep=largest)

    def begin_body(self, *, dotted: bool) -> Body:
        """The body of this transaction starts."""
        self.body = Body(self.policy.spill, self.allowance(), dotted=dotted)
        return self.body
