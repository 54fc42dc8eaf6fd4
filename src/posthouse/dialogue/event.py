"""What a server's dialogue tells its session.

    connection   Hello* StartTls? Login* ( Mail Rcpt* DataStart body )* Quit?    Reset and BadCommand anywhere between commands
    body         Message | BodyPart+ MessageEnd | BodyPart* ( Oversize | MessageRefused )

`Mail` and `Rcpt` wait for `Server.accept()` or `Server.answer(status)`; `Message` and `MessageEnd` for
`Server.answer_data(...)`; `StartTls` for `Server.tls_started(...)`, `Login` for `Server.answer_login(...)`. The others only
inform: the dialogue has answered already. `Hello` and `Reset` end a
transaction without a message; so do `Oversize` and `MessageRefused`, after which parts already handed over are
to be thrown away.

The events are the same for every way of cutting the input, except that the octets of one streamed body may be
cut into parts elsewhere.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import msgspec

from posthouse.mail.status import Status


class Fault(Enum):
    """What a body breaks, in the order in which it is reported (LMTP reference 5)."""

    NUL = "message contains null"
    BARE_LF = "message contains nl"
    BARE_CR = "message contains a bare carriage return"
    BAD_HEADER = "message has bad header"
    NO_BLANK_LINE = "message has no blank line"
    TOO_LARGE = "message is larger than the server's limit"
    """only LMTP, when the client announced a size above the limit and kept its word: the body is cut at the limit"""


NO_FAULTS: frozenset[Fault] = frozenset()


class Hello(msgspec.Struct, frozen=True, gc=False):
    """EHLO, HELO or LHLO was answered."""

    verb: str
    name: bytes
    """the argument as given, empty for a bare LHLO"""


class StartTls(msgspec.Struct, frozen=True, gc=False):
    """STARTTLS was heard; 220 goes out with the next `to_send` unless something came behind the verb."""


class Login(msgspec.Struct, frozen=True, gc=False):
    """AUTH: a client has said who it is, by a mechanism that sends the password. Wants an answer."""

    mechanism: str
    user: bytes
    """UTF-8"""
    password: bytes
    """not empty"""
    acts_for: bytes
    """the identity asked for (RFC 4616 2), empty for the user's own"""


class Mail(msgspec.Struct, frozen=True, gc=False):
    """MAIL FROM, well formed and in its place. Wants an answer."""

    sender: bytes
    """the path without its brackets, every octet as given; empty for the null sender"""
    params: Mapping[str, bytes | None]
    """names in capitals; None where there was no `=`"""
    raw: bytes
    """the path as typed, with `<>` if typed"""


class Rcpt(msgspec.Struct, frozen=True, gc=False):
    """RCPT TO, well formed and in its place. Wants an answer."""

    recipient: bytes
    params: Mapping[str, bytes | None]
    raw: bytes


class DataStart(msgspec.Struct, frozen=True, gc=False):
    """The body begins: 354 was sent, or the first BDAT heard."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A whole body of at most `Policy.spill` octets on the wire. Wants the final replies."""

    data: bytes
    """dots removed, line ends as sent"""
    growth: int
    """octets dot-stuffing adds to it on the wire"""
    faults: frozenset[Fault]
    header_end: int
    """octets of the header fields, the empty line not counted"""
    lf: bytes | None = None
    """the data with LF for each CRLF, a by-product of the check; None when it has a NUL or a bare CR or LF"""


class BodyPart(msgspec.Struct, frozen=True, gc=False):
    """The next octets of a body larger than `Policy.spill`."""

    data: bytes
    lf: bytes | None = None
    """as in `Message`"""


class MessageEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a body that came in parts. Wants the final replies."""

    size: int
    """octets of the body, dots removed"""
    growth: int
    faults: frozenset[Fault]
    header_end: int


class Oversize(msgspec.Struct, frozen=True, gc=False):
    """The body exceeds what was announced or allowed: LMTP closes at once, SMTP reads on to the end and refuses."""


class MessageRefused(msgspec.Struct, frozen=True, gc=False):
    """The dialogue itself refused the body, with this reply; the transaction is over."""

    reply: Status


class Reset(msgspec.Struct, frozen=True, gc=False):
    """RSET: the transaction, if there was one, is forgotten."""


class Quit(msgspec.Struct, frozen=True, gc=False):
    """QUIT: the connection closes when the output is written."""


class BadCommand(msgspec.Struct, frozen=True, gc=False):
    """A command line was refused, with this reply."""

    line: bytes
    """at most `Policy.max_command_line` octets, line end removed"""
    reply: Status


Event: TypeAlias = (
    Hello
    | StartTls
    | Login
    | Mail
    | Rcpt
    | DataStart
    | Message
    | BodyPart
    | MessageEnd
    | Oversize
    | MessageRefused
    | Reset
    | Quit
    | BadCommand
)
